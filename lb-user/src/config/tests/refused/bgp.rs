//! What is refused about VIPs that are announced.

use super::super::vrrp::{ROUTER, SEED};
use super::{Case, NODE, SERVICE, after_node, check, file};

/// `announce`, in line 9, after a node with a seed and a service at 192.0.2.10.
fn announce(value: &str, place: (usize, usize), message: &'static str, hint: &'static str) -> Case {
    let text = format!("{SEED}{SERVICE}[bgp]\nannounce = {value}\n");
    after_node(&text, place, message, hint)
}

#[test]
fn announcements() {
    let form = "write announce = \"all\", or a list of VIPs";
    check(vec![
        after_node(
            &format!("{SERVICE}[bgp]\nannounce = \"all\"\n"),
            (7, 1),
            "`[bgp]` needs `hash-seed-file` in [node]",
            "one seed",
        ),
        after_node(
            &format!("{SEED}{SERVICE}[bgp]\n"),
            (8, 1),
            "`announce` is missing in [bgp]",
            "\"all\"",
        ),
        after_node(
            &format!("{SEED}{SERVICE}[[bgp]]\nannounce = \"all\"\n"),
            (8, 1),
            "`bgp` must be a table, not a list",
            "[bgp]",
        ),
        after_node(
            &format!("{SEED}{SERVICE}[bgp]\nanounce = \"all\"\n"),
            (9, 1),
            "unknown key `anounce` in [bgp]",
            "did you mean `announce`?",
        ),
        announce(
            "\"none\"",
            (9, 12),
            "`announce` must be \"all\" or a list of addresses, not \"none\"",
            form,
        ),
        announce("true", (9, 12), "`announce` must be a list of strings, not true", form),
        announce(
            "[\"192.0.2.10/32\"]",
            (9, 13),
            "\"192.0.2.10/32\" is not an address alone",
            "write \"192.0.2.10\"",
        ),
        announce(
            "[\"192.0.2.11\"]",
            (9, 13),
            "192.0.2.11 is no VIP, so nothing tells whether it is to be announced",
            "name an address of a [[service]]",
        ),
        announce(
            "[\"192.0.2.10\", \"192.0.2.10\"]",
            (9, 27),
            "192.0.2.10 stands here twice",
            "",
        ),
        after_node(
            &format!("{SEED}{SERVICE}{ROUTER}[bgp]\nannounce = [\"192.0.2.10\"]\n"),
            (15, 13),
            "192.0.2.10 is an address of a virtual router, which nobody announces",
            "one node holds it, or several announce it",
        ),
        file(
            &format!("{NODE}{SEED}[admin]\nlisten = \"192.0.2.10:9465\"\n{SERVICE}[bgp]\nannounce = \"all\"\n"),
            (5, 10),
            "`[admin] listen` is on 192.0.2.10, which the node has only while it is announced",
            "name the node's own address",
        ),
    ]);
}
