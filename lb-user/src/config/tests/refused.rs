//! Every refusal: its place, its message, its hint. Long, as it is one table: a case says more than a rule about cases.

mod backends;
mod bgp;
mod many_ports;
mod nat;
mod peers;
mod probes;
mod protection;
mod proxy;
mod proxy_http;
mod proxy_tls;
mod routes;
mod services;
mod tunnel;
mod vrrp;

use super::{NODE, SERVICE, read};

/// A file that is refused at `place` (line and column), with these words.
struct Case {
    text: String,
    place: (usize, usize),
    message: &'static str,
    hint: &'static str,
}

/// A whole file.
fn file(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    let text = text.to_owned();
    Case {
        text,
        place,
        message,
        hint,
    }
}

/// What follows line 2, after a good `[node]`.
fn after_node(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    file(&format!("{NODE}{text}"), place, message, hint)
}

/// What follows line 6, inside a good service.
fn in_service(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    file(&format!("{NODE}{SERVICE}{text}"), place, message, hint)
}

/// What follows line 6, inside a good service of the proxy.
fn in_proxy(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    after_node(
        &format!("{}{text}", SERVICE.replace("dsr", "proxy")),
        place,
        message,
        hint,
    )
}

/// Lines 7 and on: `[service.health]` and what follows.
fn in_health(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_service(&format!("[service.health]\n{text}"), place, message, hint)
}

/// Lines 7 and on: a backend and what follows.
fn in_backend(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_service(
        &format!("[[service.backend]]\naddress = \"10.0.0.6:80\"\n{text}"),
        place,
        message,
        hint,
    )
}

/// A service whose address is in line 5 is this.
fn vip(address: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    let text = format!("[[service]]\nname = \"web\"\nmode = \"dsr\"\naddress = {address}\n");
    after_node(&text, place, message, hint)
}

/// A backend whose address, in line 8, is this.
fn backend(address: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_service(
        &format!("[[service.backend]]\naddress = {address}\n"),
        place,
        message,
        hint,
    )
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let Case {
            text,
            place,
            message,
            hint,
        } = case;
        let error = read(&text).map(|parsed| parsed.config).expect_err(&text);
        let shown = error.to_string();
        assert_eq!(error.message(), message, "\n{shown}");
        assert_eq!(
            (error.line(), error.column()),
            (Some(place.0), Some(place.1)),
            "\n{shown}"
        );
        assert!(error.hint().unwrap_or("").contains(hint), "no {hint:?} in\n{shown}");
        assert!(shown.contains(&format!("test.toml:{}:{}", place.0, place.1)), "{shown}");
    }
}

#[test]
fn what_is_not_toml() {
    check(vec![
        file("", (1, 1), "the file says nothing", "[[service.backend]]"),
        file("# later\n\n", (1, 1), "the file says nothing", "interfaces = "),
        file("[node\n", (1, 6), "not valid TOML: unclosed table, expected `]`", ""),
        file(
            "[node]\nname: lb1\n",
            (2, 7),
            "not valid TOML: key with no value, expected `=`",
            "key = \"value\"",
        ),
        file(
            "[node]\nxdp-mode = auto\n",
            (2, 12),
            "not valid TOML: string values must be quoted, expected literal string",
            "\"auto\"",
        ),
        file(
            "[node]\nname =\n",
            (2, 7),
            "not valid TOML: string values must be quoted, expected literal string",
            "missing after `=`",
        ),
        file(
            "[node]\nname = \"a\"\nname = \"b\"\n",
            (3, 1),
            "not valid TOML: duplicate key",
            "once",
        ),
        file(
            "[node]\n[admin]\n[node]\n",
            (3, 2),
            "not valid TOML: duplicate key",
            "double brackets",
        ),
        // Syntax comes before everything else that is wrong.
        file(
            "[nodes]\nname = ]\n",
            (2, 8),
            "not valid TOML: missing array opening, expected `[`",
            "",
        ),
    ]);
}

#[test]
fn unknown_keys() {
    check(vec![
        in_service(
            "tabel-size = 64\n",
            (7, 1),
            "unknown key `tabel-size` in [[service]]",
            "did you mean `table-size`?",
        ),
        in_service(
            "table_size = 64\n",
            (7, 1),
            "unknown key `table_size` in [[service]]",
            "did you mean `table-size`?",
        ),
        in_service(
            "colour = 3\n",
            (7, 1),
            "unknown key `colour` in [[service]]",
            "[[service]] takes: name, address,",
        ),
        in_health(
            "table-size = 64\n",
            (8, 1),
            "unknown key `table-size` in [service.health]",
            "belongs into [[service]]",
        ),
        in_backend(
            "wieght = 3\n",
            (9, 1),
            "unknown key `wieght` in [[service.backend]]",
            "did you mean `weight`?",
        ),
        after_node(
            "[nod]\n",
            (3, 2),
            "unknown key `nod` in the file",
            "did you mean `node`?",
        ),
        after_node(
            "[[services]]\n",
            (3, 3),
            "unknown key `services` in the file",
            "did you mean `service`?",
        ),
        file(
            "[node]\ninterface = \"eth0\"\n",
            (2, 1),
            "unknown key `interface` in [node]",
            "did you mean `interfaces`?",
        ),
        // The first one in the file, not in the alphabet.
        file("[node]\nzzz = 1\naaa = 2\n", (2, 1), "unknown key `zzz` in [node]", ""),
        in_service(
            "\"a\\u0000\\n\" = 1\n",
            (7, 1),
            "unknown key `a\\0\\n` in [[service]]",
            "",
        ),
    ]);
}

#[test]
fn wrong_types() {
    check(vec![
        file("node = 1\n", (1, 8), "`node` must be a table, not 1", "write [node]"),
        file(
            "[[node]]\n",
            (1, 1),
            "`node` must be a table, not a list",
            "write [node]",
        ),
        file(
            "[node]\nname = 5\n",
            (2, 8),
            "`name` must be a string, not 5",
            "name = \"5\"",
        ),
        file(
            "[node]\ninterfaces = \"eth0\"\n",
            (2, 14),
            "`interfaces` must be a list of strings, not \"eth0\"",
            "interfaces = [\"eth0\"]",
        ),
        file(
            "[node]\ninterfaces = [\"eth0\", 1]\n",
            (2, 23),
            "`interfaces` must be a string, not 1",
            "",
        ),
        after_node(
            "[service]\nname = \"web\"\n",
            (3, 1),
            "`service` must be a list of tables",
            "[[service]] in double",
        ),
        after_node(
            "[[service.backend]]\n",
            (3, 3),
            "`service` must be a list of tables",
            "comes before",
        ),
        in_service(
            "[service.backend]\n",
            (7, 1),
            "`backend` must be a list of tables",
            "[[service.backend]] in double",
        ),
        in_service("backend = [1]\n", (7, 11), "`backend` must be a list of tables", ""),
        in_service(
            "health = \"tcp\"\n",
            (7, 10),
            "`health` must be a table, not \"tcp\"",
            "[service.health]",
        ),
        vip(
            "80",
            (6, 11),
            "`address` must be a string or a list of strings, not 80",
            "",
        ),
        in_health(
            "interval = 2\n",
            (8, 12),
            "`interval` must be a duration in quotes, not 2",
            "interval = \"2s\"",
        ),
        in_health(
            "interval = true\n",
            (8, 12),
            "`interval` must be a duration, not true",
            "\"250ms\"",
        ),
        in_backend(
            "weight = \"5\"\n",
            (9, 10),
            "`weight` must be a whole number from 0 to 65535, not \"5\"",
            "weight = 5",
        ),
        in_backend("state = false\n", (9, 9), "`state` must be a string, not false", ""),
        in_service(
            "track = \"false\"\n",
            (7, 9),
            "`track` must be true or false, not \"false\"",
            "track = false",
        ),
        in_service("track = 0\n", (7, 9), "`track` must be true or false, not 0", ""),
    ]);
}

#[test]
fn the_node() {
    check(vec![
        file("[admin]\n", (1, 1), "`[node]` is missing", "interfaces ="),
        file(
            "[node]\n",
            (1, 1),
            "`interfaces` is missing in [node]",
            "interfaces = [\"eth0\"]",
        ),
        file("[node]\ninterfaces = []\n", (2, 14), "no interface is named", "eth0"),
        file(
            "[node]\ninterfaces = [\"a\", \"b\", \"a\"]\n",
            (2, 25),
            "interface \"a\" stands here twice",
            "",
        ),
        file(
            "[node]\ninterfaces = [\"\"]\n",
            (2, 15),
            "\"\" cannot be the name of an interface",
            "1 to 15 bytes",
        ),
        file(
            "[node]\ninterfaces = [\"eth 0\"]\n",
            (2, 15),
            "\"eth 0\" cannot be the name of an interface",
            "blanks",
        ),
        file(
            "[node]\ninterfaces = [\"a/b\"]\n",
            (2, 15),
            "\"a/b\" cannot be the name of an interface",
            "'/'",
        ),
        file(
            "[node]\ninterfaces = [\"sixteen-bytes-16\"]\n",
            (2, 15),
            "\"sixteen-bytes-16\" cannot be the name of an interface",
            "15",
        ),
        file(
            "[node]\nname = \"a b\"\n",
            (2, 8),
            "the name contains ' '",
            "letters, digits",
        ),
        after_node(
            "xdp-mode = \"natve\"\n",
            (3, 12),
            "\"natve\" is not a value of `xdp-mode`",
            "did you mean \"native\"?",
        ),
        after_node(
            "xdp-mode = \"skb\"\n",
            (3, 12),
            "\"skb\" is not a value of `xdp-mode`",
            "\"auto\" or \"native\"",
        ),
        after_node(
            "state-dir = \"var\"\n",
            (3, 13),
            "`state-dir` must be an absolute path",
            "slash",
        ),
        after_node(
            "pin-dir = \"\"\n",
            (3, 11),
            "`pin-dir` must be an absolute path",
            "slash",
        ),
        after_node(
            "hash-seed-file = \"./s\"\n",
            (3, 18),
            "`hash-seed-file` must be an absolute path",
            "slash",
        ),
        after_node(
            "pin-dir = \"/a\\u0000b\"\n",
            (3, 11),
            "`pin-dir` contains a control character",
            "",
        ),
        after_node(
            "flow-table-size = 1023\n",
            (3, 19),
            "`flow-table-size` must be a whole number from 1024 to 16777216, not 1023",
            "",
        ),
        after_node(
            "flow-table-size = 16777217\n",
            (3, 19),
            "`flow-table-size` must be a whole number from 1024 to 16777216, not 16777217",
            "",
        ),
        after_node(
            "[admin]\nsocket = \"fulcrum.sock\"\n",
            (4, 10),
            "`socket` must be an absolute path",
            "slash",
        ),
        after_node(
            &format!("[admin]\nsocket = \"/{}\"\n", "x".repeat(107)),
            (4, 10),
            "the path of a Unix socket has at most 107 bytes, this one 108",
            "/run/fulcrum",
        ),
        after_node(
            "[admin]\nlisten = 9465\n",
            (4, 10),
            "`listen` must be a string, not 9465",
            "in quotes",
        ),
        after_node(
            "[admin]\nlisten = \"127.0.0.1\"\n",
            (4, 10),
            "the port of 127.0.0.1 is missing",
            "127.0.0.1:9465",
        ),
        after_node(
            "[admin]\nlisten = \"localhost:9465\"\n",
            (4, 10),
            "\"localhost:9465\": a host name is not available in this version",
            "127.0.0.1:9465",
        ),
        after_node(
            "[admin]\nlisten = \":9465\"\n",
            (4, 10),
            "\":9465\" is not an IP address with a port",
            "\"\" for none",
        ),
        after_node(
            "[admin]\nlisten = \"127.0.0.1:0\"\n",
            (4, 10),
            "port 0 is not a port",
            "1 to 65535",
        ),
        after_node(
            "[admin]\nlisten = \"224.0.0.1:9465\"\n",
            (4, 10),
            "224.0.0.1 is a multicast address",
            "of this machine",
        ),
        after_node(
            "[admin]\nlisten = \"192.0.2.10:80\"\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\nmode = \"dsr\"\n",
            (7, 11),
            "VIP 192.0.2.10:80/tcp is where `[admin] listen` wants to be reached",
            "another port",
        ),
    ]);
}

#[test]
fn what_does_not_fit() {
    let backends = |n: u32| -> String {
        let backend = |i| format!("[[service.backend]]\naddress = \"10.{}.{}.1:80\"\n", i / 256, i % 256);
        (0..n).map(backend).collect()
    };
    let services = |n: u32, rest: &str| -> String {
        let service = |i| {
            format!(
                "[[service]]\nname = \"s{i}\"\nmode = \"dsr\"\naddress = \"192.0.2.10:{}\"\n{rest}",
                i + 1
            )
        };
        (0..n).map(service).collect()
    };
    // 16,384 backends: with the place that nobody has, more than a quarter of all.
    let wide = |port: u32| -> String {
        let backend = |i: u32| format!("{{ address = \"10.0.{}.{}:{port}\" }},", i / 256, i % 256);
        let backends: String = (0..16_384).map(backend).collect();
        services(1, &format!("backend = [{backends}]\n"))
            .replace("s0", &format!("w{port}"))
            .replace(":1\"", &format!(":{port}\""))
    };
    check(vec![
        in_service(
            &format!("table-size = 64\n{}", backends(65)),
            (7, 14),
            "65 backends cannot share 64 slots",
            "table-size = 128",
        ),
        in_service(
            &backends(65_535),
            (7 + 2 * 65_534, 1),
            "a service has at most 65534 backends",
            "split",
        ),
        after_node(
            &services(17, "table-size = 1048576\n"),
            (2 + 5 * 17, 14),
            "from this service on, the rings need more than 16777216 slots in all",
            "smaller table-size",
        ),
        after_node(
            &[wide(1), wide(2), wide(3)].concat(),
            (13, 1),
            "from this service on, the backends need more than 65536 places in all",
            "power of two",
        ),
    ]);
}
