//! What is refused about protection: its tables, its lists, its limits. Files of prefixes are in the tests of protection itself.

use super::{Case, SERVICE, after_node, check, in_proxy, in_service};

/// Lines 4 and on: inside a good `[protection]`.
fn of_node(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    after_node(&format!("[protection]\n{text}"), place, message, hint)
}

/// Lines 8 and on: inside a good `[service.protection]`.
fn of_service(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_service(&format!("[service.protection]\n{text}"), place, message, hint)
}

#[test]
fn tables() {
    check(vec![
        after_node(
            "[[protection]]\n",
            (3, 1),
            "`protection` must be a table, not a list",
            "write [protection]",
        ),
        in_service(
            "protection = true\n",
            (7, 14),
            "`protection` must be a table, not true",
            "write [service.protection]",
        ),
        of_node(
            "alow = []\n",
            (4, 1),
            "unknown key `alow` in [protection]",
            "did you mean `allow`? [protection] takes: enforcement, malformed, bogons, allow, deny",
        ),
        of_service(
            "malformed = true\n",
            (8, 1),
            "unknown key `malformed` in [service.protection]",
            "`malformed` belongs into [protection]",
        ),
        of_service(
            "icmp-per-second = { limit = 1 }\n",
            (8, 1),
            "unknown key `icmp-per-second` in [service.protection]",
            "did you mean `packets-per-second`? [service.protection] takes: enforcement, allow",
        ),
        after_node(
            "[[pool]]\nname = \"api\"\n[pool.protection]\n",
            (5, 7),
            "unknown key `protection` in [[pool]]",
            "[[pool]] takes: name, balance",
        ),
        of_node(
            "enforcement = \"drop\"\n",
            (4, 15),
            "\"drop\" is not a value of `enforcement`",
            "enforcement is \"enforce\" or \"observe\"",
        ),
        of_service(
            "enforcement = false\n",
            (8, 15),
            "`enforcement` must be a string, not false",
            "",
        ),
        of_node(
            "malformed = \"true\"\n",
            (4, 13),
            "`malformed` must be true or false, not \"true\"",
            "without quotes",
        ),
        of_node("bogons = 1\n", (4, 10), "`bogons` must be true or false, not 1", ""),
    ]);
}

#[test]
fn lists() {
    let paths = "write \"file:/etc/fulcrum/list.txt\"";
    check(vec![
        of_node(
            "deny = 1\n",
            (4, 8),
            "`deny` must be a string or a list of strings, not 1",
            "",
        ),
        of_node("deny = [\"all\", 1]\n", (4, 16), "`deny` must be a string, not 1", ""),
        of_node(
            "deny = [\"everybody\"]\n",
            (4, 9),
            "\"everybody\" is not a prefix",
            "\"all\" is everybody, and \"file:/PATH\" is who is in a file",
        ),
        of_service("exempt = [\"\"]\n", (8, 11), "\"\" is not a prefix", "10.0.0.7"),
        of_node(
            "allow = [\"10.0.0.0/33\"]\n",
            (4, 10),
            "\"10.0.0.0/33\" is not a prefix",
            "32 at most",
        ),
        of_node(
            "allow = [\"10.0.0.0/+8\"]\n",
            (4, 10),
            "\"10.0.0.0/+8\" is not a prefix",
            "write a prefix",
        ),
        of_node(
            "allow = [\"10.0.0.1-9\"]\n",
            (4, 10),
            "\"10.0.0.1-9\" is not a prefix",
            "write a prefix",
        ),
        of_node(
            "allow = [\"fe80::1%eth0\"]\n",
            (4, 10),
            "\"fe80::1%eth0\" is not a prefix",
            "",
        ),
        of_node(
            "allow = [\"::ffff:10.0.0.1\"]\n",
            (4, 10),
            "::ffff:10.0.0.1 is an IPv4 address in IPv6 clothes",
            "such as 10.0.0.1",
        ),
        of_node(
            "deny = [\"/etc/fulcrum/deny.txt\"]\n",
            (4, 9),
            "\"/etc/fulcrum/deny.txt\" is not a prefix",
            "write \"file:/etc/fulcrum/deny.txt\"",
        ),
        of_node(
            "deny = [\"file:deny.txt\"]\n",
            (4, 9),
            "`file:` must be followed by an absolute path",
            paths,
        ),
        of_node(
            "deny = [\"file:\"]\n",
            (4, 9),
            "`file:` must be followed by an absolute path",
            paths,
        ),
        of_node(
            "deny = [\"file:/a\\nb\"]\n",
            (4, 9),
            "the path contains a control character",
            "",
        ),
    ]);
}

#[test]
fn twice() {
    check(vec![
        of_node(
            "deny = [\"10.0.0.0/8\", \"192.0.2.1\", \"10.1.2.3/8\"]\n",
            (4, 36),
            "10.0.0.0/8 stands twice in `deny`",
            "",
        ),
        of_node(
            "deny = [\"all\", \"0.0.0.0/0\"]\n",
            (4, 16),
            "0.0.0.0/0 stands twice in `deny`",
            "",
        ),
        of_service(
            "exempt = [\"2001:db8::1\", \"2001:DB8:0::1/128\"]\n",
            (8, 26),
            "2001:db8::1/128 stands twice in `exempt`",
            "",
        ),
        of_node(
            "deny = [\"file:/a\", \"file:/a\"]\n",
            (4, 20),
            "\"file:/a\" stands twice in `deny`",
            "",
        ),
        of_node(
            "allow = [\"10.0.0.0/8\"]\ndeny = [\"192.0.2.0/24\", \"10.0.0.1/8\"]\n",
            (5, 25),
            "10.0.0.0/8 is both allowed and denied",
            "take it out of one list",
        ),
        of_service(
            "deny = [\"all\"]\nallow = [\"::/0\"]\n",
            (8, 9),
            "::/0 is both allowed and denied",
            "the longest prefix decides",
        ),
    ]);
}

#[test]
fn limits() {
    let limit = |text: &str, column, message, hint| {
        of_node(&format!("packets-per-second = {text}\n"), (4, column), message, hint)
    };
    check(vec![
        limit(
            "50000",
            22,
            "`packets-per-second` must be a table, not 50000",
            "write packets-per-second = { limit = 50000 }",
        ),
        limit("\"1/s\"", 22, "`packets-per-second` must be a table, not \"1/s\"", ""),
        limit(
            "{}",
            22,
            "`limit` is missing in [protection.packets-per-second]",
            "add: limit = 1000",
        ),
        limit(
            "{ limit = 1, brust = 1 }",
            35,
            "unknown key `brust` in [protection.packets-per-second]",
            "did you mean `burst`?",
        ),
        limit(
            "{ limit = 0 }",
            32,
            "`limit` must be a whole number from 1 to 10000000, not 0",
            "for no limit remove it",
        ),
        limit(
            "{ limit = 10000001 }",
            32,
            "`limit` must be a whole number from 1 to 10000000, not 10000001",
            "",
        ),
        limit(
            "{ limit = 1.5 }",
            32,
            "`limit` must be a whole number from 1 to 10000000, not 1.5",
            "",
        ),
        limit(
            "{ limit = 1, burst = 0 }",
            43,
            "`burst` must be a whole number from 1 to 10000000, not 0",
            "what holds nothing lets nothing through",
        ),
        limit(
            "{ limit = 1, burst = -1 }",
            43,
            "`burst` must be a whole number from 1 to 10000000, not -1",
            "",
        ),
        limit(
            "{ limit = 1, per = \"/33\" }",
            41,
            "\"/33\" is not a value of `per`",
            "down to \"/0\"",
        ),
        limit(
            "{ limit = 1, per = \"24\" }",
            41,
            "\"24\" is not a value of `per`",
            "write \"/32\"",
        ),
        limit(
            "{ limit = 1, per = \"/+8\" }",
            41,
            "\"/+8\" is not a value of `per`",
            "",
        ),
        limit("{ limit = 1, per = \"/\" }", 41, "\"/\" is not a value of `per`", ""),
        limit(
            "{ limit = 1, per = 24 }",
            41,
            "`per` must be the length of a prefix, in quotes, not 24",
            "write \"/32\"",
        ),
        limit(
            "{ limit = 1, per-ipv6 = \"/65\" }",
            46,
            "\"/65\" is not a value of `per-ipv6`",
            "or \"/128\"",
        ),
        limit(
            "{ limit = 1, per-ipv6 = \"/127\" }",
            46,
            "\"/127\" is not a value of `per-ipv6`",
            "",
        ),
        of_service(
            "connections-per-second = { limit = 1, per = 1 }\n",
            (8, 45),
            "`per` must be the length of a prefix, in quotes, not 1",
            "",
        ),
        of_service(
            "connections-per-second = { burst = 1 }\n",
            (8, 26),
            "`limit` is missing in [service.protection.connections-per-second]",
            "",
        ),
        in_service(
            "protocol = \"udp\"\n[service.protection]\nconnections-per-second = { limit = 1 }\n",
            (9, 26),
            "`connections-per-second` counts SYNs of TCP, and this is UDP",
            "limit `packets-per-second`",
        ),
    ]);
}

#[test]
fn cookies() {
    let mode = |mode: &str, hint| {
        let text = format!(
            "{}[service.protection]\nsyn-cookies = {{ above = 1 }}\n",
            SERVICE.replace("dsr", mode)
        );
        after_node(&text, (8, 15), "`syn-cookies` is for mode = \"proxy\"", hint)
    };
    check(vec![
        mode("dsr", "may have cookies of their own"),
        mode("tunnel", "may have cookies of their own"),
        mode("nat", "limit `connections-per-second`"),
        in_proxy(
            "[service.protection]\nsyn-cookies = {}\n",
            (8, 15),
            "`above` is missing in [service.protection.syn-cookies]",
            "add: above = 1000",
        ),
        of_node(
            "syn-cookies = 1000\n",
            (4, 15),
            "`syn-cookies` must be a table, not 1000",
            "write syn-cookies = { above = 1000 }",
        ),
        of_node(
            "syn-cookies = true\n",
            (4, 15),
            "`syn-cookies` must be a table, not true",
            "",
        ),
        of_node(
            "syn-cookies = { above = -1 }\n",
            (4, 25),
            "`above` must be a whole number from 0 to 10000000, not -1",
            "",
        ),
    ]);
}
