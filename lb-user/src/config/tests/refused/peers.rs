//! What is refused about peers.

use super::super::peers::PEERS;
use super::super::vrrp::{ROUTER, SEED};
use super::nat::nat;
use super::{Case, after_node, check};

/// `[peers]` in lines 4 to 6 with other words in place of these.
fn instead(old: &str, new: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    assert!(PEERS.contains(old));
    after_node(
        &format!("name = \"lb1\"\n{}", PEERS.replace(old, new)),
        place,
        message,
        hint,
    )
}

#[test]
fn peers() {
    let first = "lb1 = \"10.0.0.2:8473\"";
    let second = "lb2 = \"10.0.0.3:8473\"";
    let nodes = format!("nodes = {{ {first}, {second} }}\n");
    check(vec![
        after_node("peers = 1\n", (3, 1), "unknown key `peers` in [node]", ""),
        after_node(
            "[[peers]]\n",
            (3, 1),
            "`peers` must be a table, not a list",
            "write [peers]",
        ),
        after_node("[peers]\n", (3, 1), "`nodes` is missing in [peers]", "nodes = { lb1 ="),
        instead(
            "key-file",
            "key",
            (6, 1),
            "unknown key `key` in [peers]",
            "[peers] takes: nodes, key-file",
        ),
        instead(
            "key-file = \"/etc/fulcrum/peers.key\"\n",
            "",
            (4, 1),
            "`key-file` is missing in [peers]",
            "/etc/fulcrum/peers.key",
        ),
        instead("\"/etc", "\"etc", (6, 12), "`key-file` must be an absolute path", ""),
        instead(
            &nodes,
            "nodes = [\"10.0.0.2:8473\"]\n",
            (5, 9),
            "`nodes` must be a table, not a list",
            "write nodes = { lb1 = \"10.0.0.2:8473\"",
        ),
        instead(
            first,
            "lb3 = \"10.0.0.2:8473\"",
            (5, 9),
            "this node, \"lb1\", is not among its peers",
            "another name in [node]",
        ),
        instead(
            &format!(", {second}"),
            "",
            (5, 9),
            "there is no node but this one",
            "name the others too, or remove [peers]",
        ),
        instead(
            "10.0.0.3:8473",
            "10.0.0.2:8474",
            (5, 34),
            "two nodes have the address 10.0.0.2",
            "",
        ),
        instead(
            "10.0.0.3:8473",
            "10.0.0.3",
            (5, 40),
            "the port of 10.0.0.3 is missing",
            "write \"10.0.0.3:8473\"",
        ),
        instead(
            "10.0.0.3:8473",
            "127.0.0.1:8473",
            (5, 40),
            "127.0.0.1 is a loopback address",
            "other nodes reach",
        ),
        instead(
            "10.0.0.3:8473",
            "[2001:db8::3]:8473",
            (5, 40),
            "[2001:db8::3]:8473 and this node's 10.0.0.2:8473 are of two families",
            "one family",
        ),
        instead("\"10.0.0.3:8473\"", "3", (5, 40), "`nodes` must be a string, not 3", ""),
    ]);
}

#[test]
fn where_nodes_are_told_is_nothing_elses() {
    let peers = format!("name = \"lb1\"\n{PEERS}");
    check(vec![
        after_node(
            &format!(
                "{peers}[[service]]\nname = \"web\"\naddress = \"10.0.0.3:8000-9000\"\nmode = \"dsr\"\n\
                 [[service.backend]]\naddress = \"10.0.0.9:8000\"\n"
            ),
            (9, 11),
            "VIP 10.0.0.3:8000-9000/tcp is where `[peers] nodes` wants to be reached",
            "another port",
        ),
        after_node(
            &format!("{peers}{}[service.nat]\nports = \"8400-8500\"\n", nat()),
            (5, 17),
            "`[peers] nodes` 10.0.0.2:8473 lies in the ports 8400-8500 that nat of \"web\" takes",
            "`nodes` in [peers]",
        ),
    ]);
}

#[test]
fn who_is_master_is_no_node() {
    let text = format!(
        "name = \"lb1\"\n{SEED}{ROUTER}{}",
        PEERS.replace("10.0.0.3", "192.0.2.10")
    );
    check(vec![after_node(
        &text,
        (12, 40),
        "the node 192.0.2.10 is an address of a virtual router",
        "the address that the node itself has",
    )]);
}
