//! What is refused about `nat`: its own table, its rules, and what services contradict in each other.

use super::{Case, SERVICE, after_node, check, in_service};

/// Lines 7 and on: `[service.nat]` and what follows, in dsr.
fn in_nat(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_service(&format!("[service.nat]\n{text}"), place, message, hint)
}

/// What follows line 6, inside a good service in nat.
fn translated(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    after_node(&format!("{}{text}", nat()), place, message, hint)
}

pub(super) fn nat() -> String {
    SERVICE.replace("dsr", "nat")
}

/// Four lines: another service in nat, with this VIP.
fn other(vip: &str) -> String {
    nat().replace("web", "other").replace("192.0.2.10:80", vip)
}

#[test]
fn sources() {
    check(vec![
        in_service(
            "nat = \"auto\"\n",
            (7, 7),
            "`nat` must be a table, not \"auto\"",
            "write [service.nat]",
        ),
        in_nat(
            "sources = \"auto\"\n",
            (8, 1),
            "unknown key `sources` in [service.nat]",
            "did you mean `source`?",
        ),
        in_nat(
            "source = \"atuo\"\n",
            (8, 10),
            "\"atuo\" is not a value of `source`",
            "source is \"auto\", \"client\", or addresses",
        ),
        in_nat(
            "source = 10\n",
            (8, 10),
            "`source` must be a string or a list of strings, not 10",
            "[\"10.0.0.250\"]",
        ),
        in_nat("source = []\n", (8, 10), "no address is given", "\"auto\""),
        in_nat(
            "source = [\"10.0.0.250\", \"client\"]\n",
            (8, 25),
            "\"client\" does not stand in a list",
            "source = \"client\"",
        ),
        in_nat(
            "source = \"10.0.0.250:80\"\n",
            (8, 10),
            "\"10.0.0.250:80\" is not an address alone",
            "write \"10.0.0.250\"",
        ),
        in_nat(
            "source = [\"10.0.0.250/24\"]\n",
            (8, 11),
            "\"10.0.0.250/24\" is not an address alone",
            "write \"10.0.0.250\"",
        ),
        in_nat(
            "source = [\"[2001:db8::250]\"]\n",
            (8, 11),
            "\"[2001:db8::250]\" is not an address alone",
            "write \"2001:db8::250\"",
        ),
        in_nat(
            "source = [\"10.0.0.256\"]\n",
            (8, 11),
            "\"10.0.0.256\" is not an IP address",
            "write \"10.0.0.250\"",
        ),
        in_nat(
            "source = \"fe80::1\"\n",
            (8, 10),
            "fe80::1 is a link-local address",
            "unicast",
        ),
        in_nat(
            "source = \"0.0.0.0\"\n",
            (8, 10),
            "0.0.0.0 is the unspecified address",
            "unicast",
        ),
        in_nat("source = \"::1\"\n", (8, 10), "::1 is a loopback address", "unicast"),
        in_nat(
            "source = \"::ffff:10.0.0.250\"\n",
            (8, 10),
            "::ffff:10.0.0.250 is an IPv4 address in IPv6 clothes",
            "\"10.0.0.250\"",
        ),
        in_nat(
            "source = [\"10.0.0.250\", \"10.0.0.250\"]\n",
            (8, 25),
            "10.0.0.250 stands here twice",
            "one of each family",
        ),
        in_nat(
            "source = [\"10.0.0.250\", \"2001:db8::1\", \"10.0.0.251\"]\n",
            (8, 40),
            "two IPv4 addresses in `source`, 10.0.0.250 and 10.0.0.251",
            "one of each family",
        ),
    ]);
}

#[test]
fn ports() {
    let not_a_range = |text: &str, message| in_nat(&format!("ports = \"{text}\"\n"), (8, 9), message, "FIRST-LAST");
    check(vec![
        in_nat(
            "ports = 20000\n",
            (8, 9),
            "`ports` must be a string, not 20000",
            "\"20000-29999\"",
        ),
        in_nat(
            "ports = []\n",
            (8, 9),
            "`ports` must be a string, not a list",
            "in quotes",
        ),
        not_a_range("", "\"\" is not a range of ports"),
        not_a_range("20000", "\"20000\" is not a range of ports"),
        not_a_range("20000-", "\"20000-\" is not a range of ports"),
        not_a_range("20000 - 29999", "\"20000 - 29999\" is not a range of ports"),
        not_a_range("+1-9", "\"+1-9\" is not a range of ports"),
        not_a_range("1-2-3", "\"1-2-3\" is not a range of ports"),
        in_nat("ports = \"0-9\"\n", (8, 9), "port 0 is not a port", "1 to 65535"),
        in_nat(
            "ports = \"60000-65536\"\n",
            (8, 9),
            "port 65536 is not a port",
            "1 to 65535",
        ),
        in_nat(
            "ports = \"29999-20000\"\n",
            (8, 9),
            "the range 29999-20000 ends before it begins",
            "write \"20000-29999\"",
        ),
    ]);
}

#[test]
fn families() {
    check(vec![
        after_node(
            "[[service]]\nname = \"web\"\nmode = \"nat\"\naddress = [\"192.0.2.10:80\", \"[2001:db8::10]:80\"]\n",
            (6, 29),
            "the VIPs of this service have different families, IPv4 and IPv6",
            "two services",
        ),
        translated(
            "[[service.backend]]\naddress = \"[2001:db8::6]:80\"\n",
            (8, 11),
            "an IPv6 backend behind IPv4 VIPs only",
            "nat translates within a family: give its IPv4 address",
        ),
        translated(
            "[service.nat]\nsource = \"2001:db8::250\"\n",
            (8, 10),
            "`source` has no IPv4 address, and this service is IPv4",
            "source = \"auto\"",
        ),
    ]);
}

#[test]
fn what_services_contradict_in_each_other() {
    check(vec![
        // Of three ranges the one between two others, which one of them reaches into.
        translated(
            &[
                "[service.nat]\nports = \"100-199\"\n",
                &other("192.0.2.10:81"),
                "[service.nat]\nports = \"300-399\"\n",
                &other("192.0.2.10:82").replace("other", "third"),
                "[service.nat]\nports = \"200-300\"\n",
            ]
            .concat(),
            (20, 9),
            "the ports 200-300 of \"third\" overlap with the ports 300-399 of \"other\"",
            "where all name the same",
        ),
        translated(
            &format!("{}[service.nat]\nports = \"20001-20001\"\n", other("192.0.2.10:81")),
            (12, 9),
            "the ports 20001-20001 of \"other\" overlap with the ports 20000-29999 of \"web\"",
            "`ports` in [service.nat]",
        ),
        // The service's own VIP, then another's in dsr.
        after_node(
            &nat().replace(":80", ":20000"),
            (5, 11),
            "VIP 192.0.2.10:20000/tcp lies in the ports 20000-29999 that nat of \"web\" takes",
            "choose other `ports`",
        ),
        translated(
            &SERVICE.replace("web", "other").replace(".10:80", ".11:29999"),
            (9, 11),
            "VIP 192.0.2.11:29999/tcp lies in the ports 20000-29999 that nat of \"web\" takes",
            "choose other `ports`",
        ),
        translated(
            &format!(
                "[service.nat]\nsource = \"192.0.2.11\"\n{}",
                SERVICE.replace("web", "other").replace(".10:80", ".11:20000")
            ),
            (11, 11),
            "VIP 192.0.2.11:20000/tcp lies in the ports 20000-29999 that nat of \"web\" takes",
            "answers of backends",
        ),
        translated(
            "[service.nat]\nsource = \"10.0.0.6\"\n[[service.backend]]\naddress = \"10.0.0.6:80\"\n",
            (10, 11),
            "backend 10.0.0.6:80 has the address of a nat source",
            "another machine",
        ),
        after_node(
            &format!("[admin]\nlisten = \"0.0.0.0:20000\"\n{}", nat()),
            (4, 10),
            "`[admin] listen` 0.0.0.0:20000 lies in the ports 20000-29999 that nat of \"web\" takes",
            "`listen` in [admin]",
        ),
        after_node(
            &format!(
                "[admin]\nlisten = \"192.0.2.250:100\"\n{}[service.nat]\nsource = \"192.0.2.250\"\nports = \"100-100\"\n",
                nat()
            ),
            (4, 10),
            "`[admin] listen` 192.0.2.250:100 lies in the ports 100-100 that nat of \"web\" takes",
            "`ports` in [service.nat]",
        ),
    ]);
}
