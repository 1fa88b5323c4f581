//! What is refused about `tunnel`: its own table, its rules.

use super::{Case, SERVICE, after_node, check, in_service};

/// `source` is this, in line 8; in dsr, since the table is read in every mode.
fn source(text: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    in_service(&format!("[service.tunnel]\nsource = {text}\n"), place, message, hint)
}

#[test]
fn sources() {
    check(vec![
        in_service(
            "tunnel = \"172.16.0.0/16\"\n",
            (7, 10),
            "`tunnel` must be a table, not \"172.16.0.0/16\"",
            "write [service.tunnel]",
        ),
        in_service(
            "[service.tunnel]\nsorce = \"172.16.0.0/16\"\n",
            (8, 1),
            "unknown key `sorce` in [service.tunnel]",
            "did you mean `source`?",
        ),
        source(
            "16",
            (8, 10),
            "`source` must be a string or a list of strings, not 16",
            "a prefix, or one of each family",
        ),
        source("[]", (8, 10), "no prefix is given", "one of each family"),
        source("\"auto\"", (8, 10), "\"auto\" is not a prefix", "172.16.0.0/16"),
        source(
            "\"10.0.0.7\"",
            (8, 10),
            "\"10.0.0.7\" is not a prefix",
            "write \"10.0.0.7/32\"",
        ),
        source(
            "\"2001:db8::7\"",
            (8, 10),
            "\"2001:db8::7\" is not a prefix",
            "write \"2001:db8::7/128\"",
        ),
        source("\"10.0.0/8\"", (8, 10), "\"10.0.0/8\" is not a prefix", "one of each"),
        source("\"10.0.0.0/\"", (8, 10), "\"10.0.0.0/\" is not a prefix", "at most 32"),
        source(
            "\"10.0.0.0/+8\"",
            (8, 10),
            "\"10.0.0.0/+8\" is not a prefix",
            "at most 32",
        ),
        source(
            "\"10.0.0.0/33\"",
            (8, 10),
            "\"10.0.0.0/33\" is not a prefix",
            "an IPv4 prefix is at most 32",
        ),
        source(
            "\"2001:db8::/129\"",
            (8, 10),
            "\"2001:db8::/129\" is not a prefix",
            "an IPv6 prefix is at most 128",
        ),
        source(
            "\"172.16.0.1/16\"",
            (8, 10),
            "172.16.0.1/16 has bits behind its prefix",
            "\"172.16.0.0/16\", or \"172.16.0.1/32\" for this address alone",
        ),
        source(
            "[\"172.16.0.0/16\", \"2001:db8::/64\"]",
            (8, 28),
            "2001:db8::/64 leaves 64 bits to the flow, and at most 32 vary",
            "\"2001:db8::/96\"",
        ),
        source(
            "[\"172.16.0.0/16\", \"100::/96\", \"10.0.0.0/8\"]",
            (8, 40),
            "two IPv4 prefixes in `source`",
            "one of each family",
        ),
        source(
            "\"0.0.0.0/0\"",
            (8, 10),
            "0.0.0.0/0 contains 0.0.0.0, the unspecified address",
            "unicast",
        ),
        source(
            "\"64.0.0.0/2\"",
            (8, 10),
            "64.0.0.0/2 contains 127.255.255.255, a loopback address",
            "unicast",
        ),
        source(
            "\"128.0.0.0/1\"",
            (8, 10),
            "128.0.0.0/1 contains 255.255.255.255, the broadcast address",
            "unicast",
        ),
        source(
            "\"ff02::/96\"",
            (8, 10),
            "ff02::/96 contains ff02::, a multicast address",
            "unicast",
        ),
        source(
            "\"::ffff:0.0.0.0/96\"",
            (8, 10),
            "::ffff:0.0.0.0/96 contains ::ffff:0.0.0.0, an IPv4 address in IPv6 clothes",
            "unicast",
        ),
    ]);
}

#[test]
fn ports() {
    let tunnel = SERVICE.replace("dsr", "tunnel");
    check(vec![
        after_node(
            &format!("{tunnel}[[service.backend]]\naddress = \"[2001:db8::6]:8080\"\n"),
            (8, 11),
            "the backend's port 8080 is not the VIP's port 80",
            "tunnel does not change ports: write \"[2001:db8::6]:80\"",
        ),
        after_node(
            &tunnel.replace("\"192.0.2.10:80\"", "[\"192.0.2.10:80\", \"[2001:db8::10]:81\"]"),
            (5, 29),
            "the VIPs of this service have different ports, 80 and 81",
            "tunnel does not change ports",
        ),
    ]);
}
