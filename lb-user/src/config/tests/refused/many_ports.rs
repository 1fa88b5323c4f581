//! What is refused about VIPs with many ports.

use super::super::{NODE, read};
use super::{Case, SERVICE, after_node, check, vip};

/// A service whose VIP, in line 5, is this, in a mode, and what follows line 6.
fn ranged(mode: &str, address: &str, rest: &str) -> String {
    SERVICE.replace("dsr", mode).replace("192.0.2.10:80", address) + rest
}

/// Another service in dsr, with this VIP.
fn other(address: &str) -> String {
    ranged("dsr", address, "").replace("web", "other")
}

/// Two services in dsr: the VIP of the second one, in line 9, is refused.
fn both(first: &str, second: &str, message: &'static str, hint: &'static str) -> Case {
    let text = ranged("dsr", first, "") + &other(second);
    after_node(&text, (9, 11), message, hint)
}

#[test]
fn how_they_are_written() {
    check(vec![
        vip(
            "\"192.0.2.10:\"",
            (6, 11),
            "\"192.0.2.10:\" is not an IP address with a port",
            "write",
        ),
        vip(
            "\"192.0.2.10:8000-\"",
            (6, 11),
            "\"8000-\" is not a range of ports",
            "FIRST-LAST in quotes, as in \"192.0.2.10:20000-29999\"",
        ),
        vip("\"192.0.2.10:0-9\"", (6, 11), "port 0 is not a port", "1 to 65535"),
        vip(
            "\"[2001:db8::10]:1-65536\"",
            (6, 11),
            "port 65536 is not a port",
            "1 to 65535",
        ),
        vip(
            "\"[2001:db8::10]:8999-8000\"",
            (6, 11),
            "the range 8999-8000 ends before it begins",
            "write \"[2001:db8::10]:8000-8999\"",
        ),
        vip(
            "\"192.0.2.10:**\"",
            (6, 11),
            "\"192.0.2.10:**\" is not an IP address with a port",
            "write",
        ),
        vip(
            "\"2001:db8::10:*\"",
            (6, 11),
            "\"2001:db8::10:*\" is not an IP address with a port",
            "\"[2001:db8::10]:80\"",
        ),
        vip(
            "\"eth0:8000-8999\"",
            (6, 11),
            "\"eth0:8000-8999\" is not an IP address with a port",
            "write",
        ),
        vip("\"127.0.0.1:*\"", (6, 11), "127.0.0.1 is a loopback address", "unicast"),
        vip(
            "\"[::ffff:192.0.2.10]:1-9\"",
            (6, 11),
            "::ffff:192.0.2.10 is an IPv4 address in IPv6 clothes",
            "\"192.0.2.10:1-9\"",
        ),
        vip(
            "\"[fe80::1%2]:*\"",
            (6, 11),
            "an address with a zone is not available in this version",
            "\"[fe80::1]:*\"",
        ),
    ]);
}

#[test]
fn what_backends_must_agree_with() {
    let backends = |mode: &str, address: &str, backends: &[&str]| {
        let backend = |address: &&str| format!("[[service.backend]]\naddress = \"{address}\"\n");
        ranged(mode, address, &backends.iter().map(backend).collect::<String>())
    };
    check(vec![
        vip(
            "[\"192.0.2.10:80\", \"192.0.2.11:8000-8999\"]",
            (6, 29),
            "one VIP of this service has a single port and another has many, 80 and 8000-8999",
            "two services",
        ),
        vip(
            "[\"192.0.2.10:*\", \"192.0.2.11:80\"]",
            (6, 28),
            "one VIP of this service has a single port and another has many, * and 80",
            "two services",
        ),
        after_node(
            &backends("nat", "192.0.2.10:8000-8999", &["10.0.0.6:80"]),
            (8, 11),
            "the backend's port 80 is none of the service's ports",
            "write \"10.0.0.6:8000\"",
        ),
        after_node(
            &backends("tunnel", "192.0.2.10:8000-8999", &["[2001:db8::6]:9000"]),
            (8, 11),
            "the backend's port 9000 is none of the service's ports",
            "write \"[2001:db8::6]:8000\"",
        ),
        after_node(
            &backends("dsr", "192.0.2.10:*", &["10.0.0.6:80", "10.0.0.6:81"]),
            (10, 11),
            "two backends of this service are on 10.0.0.6",
            "where it is probed",
        ),
    ]);
}

#[test]
fn what_services_contradict_in_each_other() {
    check(vec![
        both(
            "192.0.2.10:8000-8999",
            "192.0.2.10:8999-9010",
            "VIP 192.0.2.10:8999-9010/tcp overlaps with the ports 8000-8999",
            "a single port of another may lie in a range",
        ),
        both(
            "192.0.2.10:8500-8500",
            "192.0.2.10:8000-8999",
            "VIP 192.0.2.10:8000-8999/tcp overlaps with the ports 8500-8500",
            "one service",
        ),
        both(
            "192.0.2.10:*",
            "192.0.2.10:*",
            "VIP 192.0.2.10:*/tcp is used twice",
            "one service",
        ),
        vip(
            "[\"192.0.2.10:1-9\", \"192.0.2.10:5-10\"]",
            (6, 30),
            "VIP 192.0.2.10:5-10/tcp overlaps with the ports 1-9",
            "one service",
        ),
        after_node(
            &[
                ranged("dsr", "192.0.2.10:80-81", ""),
                other("192.0.2.10:80"),
                other("192.0.2.10:81").replace("other", "c"),
            ]
            .concat(),
            (5, 11),
            "every port of VIP 192.0.2.10:80-81/tcp belongs to another service",
            "nothing is left",
        ),
        after_node(
            &format!(
                "[admin]\nlisten = \"192.0.2.10:80\"\n{}",
                ranged("dsr", "192.0.2.10:*", "")
            ),
            (7, 11),
            "VIP 192.0.2.10:*/tcp is where `[admin] listen` wants to be reached",
            "another port",
        ),
        // The ports that nat takes.
        after_node(
            &ranged("nat", "192.0.2.10:19000-20000", ""),
            (5, 11),
            "VIP 192.0.2.10:19000-20000/tcp has some of the ports 20000-29999 that nat of \"web\" takes",
            "choose other `ports`",
        ),
        after_node(
            &ranged("nat", "192.0.2.10:*", ""),
            (5, 11),
            "VIP 192.0.2.10:*/tcp has some of the ports 20000-29999 that nat of \"web\" takes",
            "set `source` in [service.nat]",
        ),
        // Of three ranges the one in the middle, whose taker is another service's.
        after_node(
            &[
                ranged(
                    "nat",
                    "192.0.2.20:80",
                    "protocol = \"udp\"\n[service.nat]\nports = \"100-199\"\n",
                ),
                ranged("nat", "192.0.2.20:81", "[service.nat]\nports = \"200-299\"\n").replace("web", "b"),
                ranged(
                    "nat",
                    "192.0.2.20:82",
                    "protocol = \"udp\"\n[service.nat]\nports = \"300-399\"\n",
                )
                .replace("web", "c"),
                other("192.0.2.10:150-350"),
            ]
            .concat(),
            (25, 11),
            "VIP 192.0.2.10:150-350/tcp has some of the ports 200-299 that nat of \"b\" takes",
            "choose other `ports`",
        ),
    ]);
}

#[test]
fn what_may_stand_side_by_side() {
    let backend = |address: &str| format!("[[service.backend]]\naddress = \"{address}\"\n");
    for text in [
        // A port of its own within a range, within all ports.
        [
            ranged("dsr", "192.0.2.10:*", &backend("10.0.0.6:1")),
            ranged("dsr", "192.0.2.10:8000-8999", "").replace("web", "b"),
            ranged("nat", "192.0.2.10:8080", &backend("10.0.0.6:80")).replace("web", "c"),
            ranged("dsr", "192.0.2.10:*", "protocol = \"udp\"\n").replace("web", "d"),
            ranged("dsr", "192.0.2.10:9000-9000", "").replace("web", "e"),
        ]
        .concat()
        // The pool of "c" lies in the wildcard's ports, where a source of its own spares it.
        .replacen(
            "mode = \"nat\"\n",
            "mode = \"nat\"\nnat = { source = \"10.0.0.250\" }\n",
            1,
        ),
        // Several ranges of one service: packets keep their ports, so each backend serves all.
        ranged("tunnel", "192.0.2.10:1-9", &backend("10.0.0.6:25")).replace(
            "\"192.0.2.10:1-9\"",
            "[\"192.0.2.10:1-9\", \"192.0.2.10:20-29\", \"[2001:db8::10]:20-29\"]",
        ),
        // One server, two services.
        ranged("dsr", "192.0.2.10:1-9", &backend("10.0.0.6:1")) + &other("192.0.2.10:20-29") + &backend("10.0.0.6:20"),
    ] {
        read(&format!("{NODE}{text}")).unwrap_or_else(|error| panic!("{error}"));
    }
}
