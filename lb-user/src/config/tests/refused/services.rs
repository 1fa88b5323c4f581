//! What is refused about services and their VIPs.

use super::super::SERVICE;
use super::{after_node, check, in_service, vip};

#[test]
fn services() {
    let long = "n".repeat(65);
    check(vec![
        after_node(
            "[[service]]\n",
            (3, 1),
            "`name` is missing in [[service]]",
            "name = \"web\"",
        ),
        after_node(
            "[[service]]\nname = \"web\"\n",
            (3, 1),
            "`mode` is missing in [[service]]",
            "mode = \"dsr\"",
        ),
        after_node(
            "[[service]]\nname = \"web\"\nmode = \"dsr\"\n",
            (3, 1),
            "`address` is missing in [[service]]",
            "address = \"192.0.2.10:80\"",
        ),
        after_node("[[service]]\nname = \"\"\n", (4, 8), "the name is empty", "letters"),
        after_node(
            "[[service]]\nname = \"a/b\"\n",
            (4, 8),
            "the name contains '/'",
            "letters",
        ),
        after_node(
            "[[service]]\nname = \"-x\"\n",
            (4, 8),
            "the name begins with '.' or '-'",
            "letters",
        ),
        after_node(
            &format!("[[service]]\nname = \"{long}\"\n"),
            (4, 8),
            "the name is longer than 64 characters",
            "64",
        ),
        in_service(
            "protocol = \"sctp\"\n",
            (7, 12),
            "\"sctp\" is not a value of `protocol`",
            "\"tcp\" or \"udp\"",
        ),
        in_service(
            "undeclared = \"no\"\n",
            (7, 14),
            "\"no\" is not a value of `undeclared`",
            "\"drop\" or \"pass\"",
        ),
        in_service(
            "table-size = 1000\n",
            (7, 14),
            "`table-size` must be a power of two, 1000 is not",
            "512 and 1024",
        ),
        in_service(
            "table-size = 32\n",
            (7, 14),
            "`table-size` must be a whole number from 64 to 1048576, not 32",
            "power of two",
        ),
        in_service(
            "table-size = 2_097_152\n",
            (7, 14),
            "`table-size` must be a whole number from 64 to 1048576, not 2097152",
            "power of two",
        ),
        in_service(
            "idle-timeout = \"4s999ms\"\n",
            (7, 16),
            "`idle-timeout` must be from 5s to 720h",
            "",
        ),
        in_service(
            "idle-timeout = \"720h1ms\"\n",
            (7, 16),
            "`idle-timeout` must be from 5s to 720h",
            "",
        ),
        in_service(
            "idle-timeout = 120\n",
            (7, 16),
            "`idle-timeout` must be a duration in quotes, not 120",
            "idle-timeout = \"120s\"",
        ),
        in_service(
            "drain-timeout = \"999ms\"\n",
            (7, 17),
            "`drain-timeout` must be from 1s to 720h",
            "",
        ),
        in_service(
            "drain-timeout = \"Never\"\n",
            (7, 17),
            "\"Never\" is not a duration",
            "\"never\"",
        ),
        in_service(
            "track = false\n",
            (7, 9),
            "`track` is for UDP services",
            "always keep their backend",
        ),
        in_service(
            "protocol = \"tcp\"\ntrack = true\n",
            (8, 9),
            "`track` is for UDP services",
            "remove it",
        ),
        in_service(
            "protocol = \"udp\"\nbalance = \"round-robin\"\ntrack = false\n",
            (9, 9),
            "round-robin keeps track of every flow",
            "\"source-hash\"",
        ),
        in_service(
            "protocol = \"udp\"\nbalance = \"least-connections\"\ntrack = false\n",
            (9, 9),
            "least-connections keeps track of every flow",
            "remove `track`",
        ),
        in_service(
            "balance = \"source-hsah\"\n",
            (7, 11),
            "\"source-hsah\" is not a value of `balance`",
            "did you mean \"source-hash\"?",
        ),
        in_service(
            &format!("name2 = 1\n{SERVICE}"),
            (7, 1),
            "unknown key `name2` in [[service]]",
            "did you mean `name`?",
        ),
        in_service(
            &SERVICE.replace(".10:80", ".11:80"),
            (8, 8),
            "two services are called \"web\"",
            "",
        ),
    ]);
}

#[test]
fn vips() {
    check(vec![
        vip("[]", (6, 11), "no address is given", "at least one VIP"),
        vip(
            "\"192.0.2.10\"",
            (6, 11),
            "the port of 192.0.2.10 is missing",
            "\"192.0.2.10:80\"",
        ),
        vip(
            "\"2001:db8::10\"",
            (6, 11),
            "the port of 2001:db8::10 is missing",
            "\"[2001:db8::10]:80\"",
        ),
        vip(
            "\"[2001:db8::10]\"",
            (6, 11),
            "the port of 2001:db8::10 is missing",
            "\"[2001:db8::10]:80\"",
        ),
        vip("\"192.0.2.10:0\"", (6, 11), "port 0 is not a port", "1 to 65535"),
        vip(
            "\"192.0.2.10:65536\"",
            (6, 11),
            "port 65536 is not a port",
            "1 to 65535",
        ),
        vip(
            "\"192.0.2.256:80\"",
            (6, 11),
            "\"192.0.2.256:80\" is not an IP address with a port",
            "write",
        ),
        vip(
            "\"192.0.2.10:http\"",
            (6, 11),
            "\"192.0.2.10:http\" is not an IP address with a port",
            "write",
        ),
        vip("\"\"", (6, 11), "\"\" is not an IP address with a port", "write"),
        vip(
            "\"eth0:443\"",
            (6, 11),
            "\"eth0:443\": an interface's own address is not available in this version",
            "",
        ),
        vip(
            "\"0.0.0.0:80\"",
            (6, 11),
            "0.0.0.0 is the unspecified address",
            "unicast",
        ),
        vip(
            "\"127.0.0.1:80\"",
            (6, 11),
            "127.0.0.1 is a loopback address",
            "unicast",
        ),
        vip(
            "\"224.0.0.18:80\"",
            (6, 11),
            "224.0.0.18 is a multicast address",
            "unicast",
        ),
        vip(
            "\"255.255.255.255:80\"",
            (6, 11),
            "255.255.255.255 is the broadcast address",
            "unicast",
        ),
        vip("\"[::]:80\"", (6, 11), ":: is the unspecified address", "unicast"),
        vip("\"[::1]:80\"", (6, 11), "::1 is a loopback address", "unicast"),
        vip(
            "\"[ff02::12]:80\"",
            (6, 11),
            "ff02::12 is a multicast address",
            "unicast",
        ),
        vip(
            "\"[fe80::1]:80\"",
            (6, 11),
            "fe80::1 is a link-local address",
            "unicast",
        ),
        vip(
            "\"[fe80::1%2]:80\"",
            (6, 11),
            "an address with a zone is not available in this version",
            "[fe80::1]:80",
        ),
        vip(
            "\"[::ffff:192.0.2.10]:80\"",
            (6, 11),
            "::ffff:192.0.2.10 is an IPv4 address in IPv6 clothes",
            "\"192.0.2.10:80\"",
        ),
        vip(
            "[\"192.0.2.10:80\", \"192.0.2.10:81\"]",
            (6, 29),
            "the VIPs of this service have different ports, 80 and 81",
            "two services",
        ),
        vip(
            "[\"192.0.2.10:80\", \"192.0.2.10:80\"]",
            (6, 29),
            "VIP 192.0.2.10:80/tcp is used twice",
            "one service",
        ),
        in_service(
            &SERVICE.replace("web", "other"),
            (9, 11),
            "VIP 192.0.2.10:80/tcp is used twice",
            "one service",
        ),
        in_service(
            &format!(
                "undeclared = \"drop\"\n{}undeclared = \"pass\"\n",
                SERVICE.replace("web", "b").replace(":80", ":81")
            ),
            (12, 14),
            "two services contradict each other about undeclared ports of 192.0.2.10",
            "whole address",
        ),
    ]);
}
