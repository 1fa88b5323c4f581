//! What is refused about virtual routers: their own keys, what is tracked, and what they contradict.
//!
//! Past 500 lines: one table, as its parent.

use super::super::vrrp::{ROUTER, SEED};
use super::{Case, NODE, SERVICE, after_node, check, file};

/// Lines 10 and on, inside a good virtual router.
fn in_router(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    after_node(&format!("{SEED}{ROUTER}{text}"), place, message, hint)
}

/// Lines 10 and on: `[[vrrp.track]]` and what follows.
fn in_track(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_router(&format!("[[vrrp.track]]\n{text}"), place, message, hint)
}

/// A virtual router in lines 4 to 9 with other words in place of these.
fn instead(old: &str, new: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    assert!(ROUTER.contains(old));
    after_node(&format!("{SEED}{}", ROUTER.replace(old, new)), place, message, hint)
}

/// Its addresses, in line 9.
fn addresses(list: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    instead("[\"192.0.2.10\"]", list, place, message, hint)
}

/// Its priority, in line 8.
fn priority(value: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    instead("priority = 100", &format!("priority = {value}"), place, message, hint)
}

/// Another virtual router, whose keys are told apart by these words.
fn other(words: [(&str, &str); 3]) -> String {
    words
        .iter()
        .fold(ROUTER.to_owned(), |text, (old, new)| text.replace(old, new))
}

#[test]
fn keys() {
    check(vec![
        after_node(
            "[vrrp]\nname = \"VI_1\"\n",
            (3, 1),
            "`vrrp` must be a list of tables",
            "write [[vrrp]] in double brackets",
        ),
        after_node(
            "[[vrrp.track]]\nfile = \"/x\"\n",
            (3, 3),
            "`vrrp` must be a list of tables",
            "before its [[vrrp.track]] tables",
        ),
        after_node("[[vrrp]]\n", (3, 1), "`name` is missing in [[vrrp]]", "name = \"VI_1\""),
        instead(
            "router-id = 41\n",
            "",
            (4, 1),
            "`router-id` is missing in [[vrrp]]",
            "41",
        ),
        instead(
            "priority = 100\n",
            "",
            (4, 1),
            "`priority` is missing in [[vrrp]]",
            "lb1 = 110",
        ),
        instead(
            "interface = \"eth0\"\n",
            "",
            (4, 1),
            "`interface` is missing in [[vrrp]]",
            "interface = \"eth0\"",
        ),
        instead(
            "addresses = [\"192.0.2.10\"]\n",
            "",
            (4, 1),
            "`addresses` is missing in [[vrrp]]",
            "192.0.2.10",
        ),
        in_router(
            "virtual-router-id = 41\n",
            (10, 1),
            "unknown key `virtual-router-id` in [[vrrp]]",
            "router-id",
        ),
        in_router(
            "adresses = []\n",
            (10, 1),
            "unknown key `adresses` in [[vrrp]]",
            "did you mean `addresses`?",
        ),
        instead("VI_1", "VI 1", (5, 8), "the name contains ' '", "letters, digits"),
        instead(
            "eth0",
            "eth 0",
            (6, 13),
            "\"eth 0\" cannot be the name of an interface",
            "1 to 15 bytes",
        ),
        instead(
            "= 41",
            "= 0",
            (7, 13),
            "`router-id` must be a whole number from 1 to 255, not 0",
            "",
        ),
        instead(
            "= 41",
            "= 256",
            (7, 13),
            "`router-id` must be a whole number from 1 to 255, not 256",
            "",
        ),
        in_router(
            "version = 1\n",
            (10, 11),
            "`version` must be a whole number from 2 to 3, not 1",
            "",
        ),
        in_router(
            "preempt = \"no\"\n",
            (10, 11),
            "`preempt` must be true or false, not \"no\"",
            "",
        ),
        in_router(
            "preempt-delay = \"1001s\"\n",
            (10, 17),
            "`preempt-delay` must be from 0s to 16m40s",
            "",
        ),
        in_router(
            "start-delay = 5\n",
            (10, 15),
            "`start-delay` must be a duration in quotes, not 5",
            "\"5s\"",
        ),
        in_router("sync-group = \"\"\n", (10, 14), "the name is empty", "letters, digits"),
    ]);
}

#[test]
fn priorities() {
    check(vec![
        priority(
            "0",
            (8, 12),
            "`priority` must be a whole number from 1 to 255, not 0",
            "",
        ),
        priority(
            "\"100\"",
            (8, 12),
            "`priority` must be a whole number from 1 to 255, not \"100\"",
            "priority = 100",
        ),
        priority(
            "{ host = 110, lb2 = 256 }",
            (8, 32),
            "`priority` must be a whole number from 1 to 255, not 256",
            "",
        ),
        priority(
            "{ lb1 = 110, lb2 = 100 }",
            (8, 12),
            "this node, \"host\", has no priority here",
            "add host = 100",
        ),
        priority("{}", (8, 12), "this node, \"host\", has no priority here", ""),
        file(
            &format!(
                "{NODE}name = \"lb1.example\"\n{SEED}{}",
                ROUTER.replace("= 100", "= { lb1 = 1 }")
            ),
            (9, 12),
            "this node, \"lb1.example\", has no priority here",
            "add \"lb1.example\" = 100",
        ),
        priority(
            "{ host.example = 110 }",
            (8, 14),
            "`priority` must be a whole number from 1 to 255, not a table",
            "\"lb1.example\" = 110",
        ),
    ]);
}

#[test]
fn intervals() {
    let v2 = |interval: &str, message| {
        let text = format!("version = 2\nadvertisement-interval = \"{interval}\"\n");
        in_router(&text, (11, 26), message, "")
    };
    let v3 = |interval: &str, message| {
        in_router(
            &format!("advertisement-interval = \"{interval}\"\n"),
            (10, 26),
            message,
            "",
        )
    };
    check(vec![
        v3("9ms", "`advertisement-interval` must be from 10ms to 40s950ms"),
        v3("41s", "`advertisement-interval` must be from 10ms to 40s950ms"),
        v3("1s5ms", "`advertisement-interval` must be a multiple of 10ms"),
        v2("500ms", "`advertisement-interval` must be from 1s to 4m15s"),
        v2("256s", "`advertisement-interval` must be from 1s to 4m15s"),
        v2(
            "1s500ms",
            "`advertisement-interval` must be whole seconds, in version 2",
        ),
    ]);
}

#[test]
fn virtual_addresses() {
    let many: String = (0..78).map(|i| format!("\"10.1.0.{i}\",")).collect();
    let of = "\"192.0.2.10";
    check(vec![
        addresses(
            "\"192.0.2.10\"",
            (9, 13),
            "`addresses` must be a list of strings, not \"192.0.2.10\"",
            "[\"192",
        ),
        addresses("[]", (9, 13), "a virtual router has 1 to 77 addresses", ""),
        addresses(
            &format!("[{many}]"),
            (9, 13),
            "a virtual router has 1 to 77 addresses",
            "",
        ),
        addresses(
            &format!("[{of}:80\"]"),
            (9, 14),
            "\"192.0.2.10:80\" is not an address alone",
            "\"192.0.2.10\"",
        ),
        addresses("[\"vip\"]", (9, 14), "\"vip\" is not an IP address", ""),
        addresses(
            "[\"10.0.0.300/24\"]",
            (9, 14),
            "\"10.0.0.300\" is not an IP address",
            "",
        ),
        addresses(
            "[\"127.0.0.1/8\"]",
            (9, 14),
            "127.0.0.1 is a loopback address",
            "unicast",
        ),
        addresses("[\"ff02::12\"]", (9, 14), "ff02::12 is a multicast address", "unicast"),
        addresses(
            "[\"::ffff:10.0.0.1\"]",
            (9, 14),
            "::ffff:10.0.0.1 is an IPv4 address in IPv6 clothes",
            "\"10.0",
        ),
        addresses(
            &format!("[{of}/33\"]"),
            (9, 14),
            "\"192.0.2.10/33\" is not a prefix",
            "\"192.0.2.10/32\"",
        ),
        addresses(
            &format!("[{of}/0\"]"),
            (9, 14),
            "\"192.0.2.10/0\" is not a prefix",
            "\"192.0.2.10\"",
        ),
        addresses(&format!("[{of}/\"]"), (9, 14), "\"192.0.2.10/\" is not a prefix", ""),
        addresses(
            &format!("[{of}/+24\"]"),
            (9, 14),
            "\"192.0.2.10/+24\" is not a prefix",
            "",
        ),
        addresses(
            &format!("[{of}/24/\"]"),
            (9, 14),
            "\"192.0.2.10/24/\" is not a prefix",
            "",
        ),
        addresses(
            "[\"2001:db8::1/129\"]",
            (9, 14),
            "\"2001:db8::1/129\" is not a prefix",
            "\"2001:db8::1/128\"",
        ),
        addresses(
            &format!("[{of}\", {of}/24\"]"),
            (9, 28),
            "192.0.2.10 stands here twice",
            "",
        ),
        addresses(
            &format!("[{of}\", \"2001:db8::10\"]"),
            (9, 28),
            "192.0.2.10 and 2001:db8::10 cannot be of one virtual router: it has one family",
            "same sync-group",
        ),
        addresses(
            "[\"2001:db8::10\"]\nversion = 2",
            (9, 14),
            "version 2 has no IPv6",
            "version = 3",
        ),
    ]);
}

#[test]
fn addresses_of_nodes() {
    check(vec![
        in_router(
            "peers = \"10.0.0.2\"\n",
            (10, 9),
            "`peers` must be a list of strings, not \"10.0.0.2\"",
            "[",
        ),
        in_router(
            "peers = [\"10.0.0.2/24\"]\n",
            (10, 10),
            "\"10.0.0.2/24\" is not an address alone",
            "\"10.0.0.2\"",
        ),
        in_router("peers = [\"lb2\"]\n", (10, 10), "\"lb2\" is not an IP address", ""),
        in_router(
            "peers = [\"224.0.0.18\"]\n",
            (10, 10),
            "224.0.0.18 is a multicast address",
            "unicast",
        ),
        in_router(
            "peers = [\"10.0.0.2\", \"10.0.0.2\"]\n",
            (10, 22),
            "10.0.0.2 stands here twice",
            "",
        ),
        in_router(
            "peers = [\"2001:db8::2\"]\n",
            (10, 10),
            "a peer is IPv6, and the virtual router IPv4",
            "an address of IPv4",
        ),
        in_router(
            "source-address = \"2001:db8::2\"\n",
            (10, 18),
            "`source-address` is IPv6, and the virtual router IPv4",
            "an address of IPv4",
        ),
        addresses(
            "[\"2001:db8::10\"]\nsource-address = \"10.0.0.2\"",
            (10, 18),
            "`source-address` is IPv4, and the virtual router IPv6",
            "an address of IPv6",
        ),
        in_router(
            "source-address = 1\n",
            (10, 18),
            "`source-address` must be a string, not 1",
            "",
        ),
        in_router(
            "source-address = \"eth0\"\n",
            (10, 18),
            "\"eth0\" is not an IP address",
            "",
        ),
        in_router(
            "peers = [\"10.0.0.2\", \"192.0.2.10\"]\n",
            (10, 22),
            "the peer 192.0.2.10 is an address of a virtual router",
            "that the node itself has",
        ),
        in_router(
            "source-address = \"192.0.2.10\"\n",
            (10, 18),
            "the source-address 192.0.2.10 is an address of a virtual router",
            "that the node itself has",
        ),
        // Of another one, which comes later.
        in_router(
            &format!(
                "peers = [\"10.0.0.9\"]\n{}",
                other([("VI_1", "b"), ("41", "42"), ("192.0.2.10", "10.0.0.9")])
            ),
            (10, 10),
            "the peer 10.0.0.9 is an address of a virtual router",
            "",
        ),
    ]);
}

#[test]
fn programs() {
    let notify = |value: &str, place, message, hint| in_router(&format!("notify = {value}\n"), place, message, hint);
    check(vec![
        notify(
            "\"/x\"",
            (10, 10),
            "`notify` must be a table, not \"/x\"",
            "notify = { master =",
        ),
        notify(
            "{ mastre = \"/x\" }",
            (10, 12),
            "unknown key `mastre` in notify",
            "master, backup, fault, stop",
        ),
        notify(
            "{ stop = 1 }",
            (10, 19),
            "`notify` must be a string or a list of strings, not 1",
            "",
        ),
        notify("{ stop = [1] }", (10, 20), "`notify` must be a string, not 1", ""),
        notify("{ stop = \" \" }", (10, 19), "no program is named", "pidof"),
        notify("{ stop = [] }", (10, 19), "no program is named", "pidof"),
        notify("{ stop = [\"\", \"x\"] }", (10, 19), "no program is named", "pidof"),
        notify(
            "{ stop = [\"x\", \"a\\u0000\"] }",
            (10, 25),
            "a word of a command contains a zero byte",
            "",
        ),
        notify(
            "{ stop = \"bin/x y\" }",
            (10, 19),
            "the path of a program must be absolute",
            "a slash",
        ),
        notify(
            "{ stop = [\"./x\"] }",
            (10, 20),
            "the path of a program must be absolute",
            "a slash",
        ),
        notify(
            "{ stop = \"x | y\" }",
            (10, 19),
            "no shell reads this line, and `|` is for shells",
            "/bin/sh",
        ),
        notify(
            "{ stop = \"x 'a b'\" }",
            (10, 19),
            "no shell reads this line, and `'` is for shells",
            "a list",
        ),
        in_track(
            "script = \"test $X\"\n",
            (11, 10),
            "no shell reads this line, and `$` is for shells",
            "a list",
        ),
        in_track("script = \"\"\n", (11, 10), "no program is named", "pidof"),
        in_track(
            "script = 1\n",
            (11, 10),
            "`script` must be a string or a list of strings, not 1",
            "",
        ),
    ]);
}

#[test]
fn tracks() {
    let script = |text: &str, place, message, hint| in_track(&format!("script = \"x\"\n{text}"), place, message, hint);
    check(vec![
        in_router(
            "track = \"eth0\"\n",
            (10, 9),
            "`track` must be a list of tables",
            "[[vrrp.track]] in double",
        ),
        in_track(
            "",
            (10, 1),
            "[[vrrp.track]] does not say what is tracked",
            "script, interface, service, file",
        ),
        in_track(
            "weight = -10\nservice = \"web\"\nfile = \"/x\"\n",
            (13, 8),
            "`service` and `file` stand in one [[vrrp.track]]",
            "for each",
        ),
        in_track(
            "scrpit = \"x\"\n",
            (11, 1),
            "unknown key `scrpit` in [[vrrp.track]]",
            "did you mean `script`?",
        ),
        in_track(
            "interface = \"eth1\"\nfall = 2\nrise = 2\n",
            (12, 8),
            "`fall` is for `script`, and this tracks `interface`",
            "remove it",
        ),
        in_track(
            "file = \"/x\"\ninterval = \"5s\"\n",
            (12, 12),
            "`interval` is for `script`, and this tracks `file`",
            "remove it",
        ),
        in_track("file = \"x\"\n", (11, 8), "`file` must be an absolute path", "slash"),
        in_track(
            "interface = \"\"\n",
            (11, 13),
            "\"\" cannot be the name of an interface",
            "1 to 15 bytes",
        ),
        in_track("service = \"a b\"\n", (11, 11), "the name contains ' '", ""),
        script(
            "weight = 254\n",
            (12, 10),
            "`weight` must be a whole number from -253 to 253, not 254",
            "",
        ),
        script(
            "weight = -254\n",
            (12, 10),
            "`weight` must be a whole number from -253 to 253, not -254",
            "",
        ),
        script(
            "weight = 0.5\n",
            (12, 10),
            "`weight` must be a whole number from -253 to 253, not 0.5",
            "",
        ),
        script(
            "interval = \"99ms\"\n",
            (12, 12),
            "`interval` must be from 100ms to 24h",
            "",
        ),
        script(
            "timeout = \"25h\"\n",
            (12, 11),
            "`timeout` must be from 100ms to 24h",
            "",
        ),
        script(
            "timeout = \"6s\"\n",
            (12, 11),
            "`timeout` must not be longer than `interval`",
            "",
        ),
        script(
            "rise = 0\n",
            (12, 8),
            "`rise` must be a whole number from 1 to 1000, not 0",
            "",
        ),
        script(
            "fall = 1001\n",
            (12, 8),
            "`fall` must be a whole number from 1 to 1000, not 1001",
            "",
        ),
    ]);
}

#[test]
fn contradictions() {
    let tracked = |name: &str, place, message, hint| {
        let pool = "[[pool]]\nname = \"api\"\n";
        let text = format!("{SEED}{SERVICE}{pool}{ROUTER}[[vrrp.track]]\nservice = \"{name}\"\n");
        after_node(&text, place, message, hint)
    };
    check(vec![
        after_node(
            &format!("{SERVICE}{ROUTER}"),
            (7, 1),
            "`[[vrrp]]` needs `hash-seed-file` in [node]",
            "head -c 16 /dev/urandom",
        ),
        in_router(
            &other([("VI_1", "VI_1"), ("41", "42"), ("2.10", "2.11")]),
            (11, 8),
            "two virtual routers are called \"VI_1\"",
            "",
        ),
        in_router(
            &other([("VI_1", "VI_2"), ("41", "41"), ("2.10", "2.11")]),
            (13, 13),
            "router-id 41 is used twice on eth0",
            "of a family",
        ),
        instead(
            ROUTER,
            &[ROUTER, &other([("VI_1", "b"), ("41", "41"), ("2.10", "2.11")])]
                .concat()
                .replace("eth0", "\\u007f"),
            (13, 13),
            "router-id 41 is used twice on \\u{7f}",
            "",
        ),
        in_router(
            &other([("VI_1", "VI_2"), ("41", "42"), ("\"192.0", "\"10.0.0.1\", \"192.0")]),
            (15, 26),
            "192.0.2.10 belongs to two virtual routers",
            "",
        ),
        after_node(
            &format!(
                "{SEED}{SERVICE}[[service.backend]]\naddress = \"192.0.2.99:80\"\n{}",
                ROUTER.replace("2.10", "2.99")
            ),
            (9, 11),
            "backend 192.0.2.99:80 has an address of a virtual router",
            "backend's own",
        ),
        after_node(
            &format!("{SEED}[admin]\nlisten = \"192.0.2.10:9465\"\n{ROUTER}"),
            (5, 10),
            "`[admin] listen` is on 192.0.2.10, which only the master of \"VI_1\" holds",
            "\"0.0.0.0:9465\"",
        ),
        after_node(
            &format!(
                "{SEED}[admin]\nlisten = \"[2001:db8::10]:80\"\n{}",
                ROUTER.replace("192.0.2.10", "2001:db8::10")
            ),
            (5, 10),
            "`[admin] listen` is on 2001:db8::10, which only the master of \"VI_1\" holds",
            "\"[::]:80\"",
        ),
        tracked(
            "wbe",
            (17, 11),
            "\"VI_1\" tracks \"wbe\", and there is no service of this name",
            "[[service]]",
        ),
        tracked(
            "api",
            (17, 11),
            "\"VI_1\" tracks \"api\", and there is no service of this name",
            "[[service]]",
        ),
    ]);
}
