//! Every warning: its place and its message.

use super::vrrp::{ROUTER, SEED};
use super::{NODE, SERVICE, read};

const BACKEND: &str = "[[service.backend]]\naddress = \"10.0.0.6:80\"\n";

fn warnings(text: &str) -> Vec<(usize, usize, String)> {
    let parsed = read(text).unwrap_or_else(|error| panic!("{error}"));
    let place = |w: &super::super::Warning| (w.line().unwrap(), w.column().unwrap(), w.message().to_owned());
    parsed.warnings.iter().map(place).collect()
}

#[track_caller]
fn one(text: &str, line: usize, column: usize, message: &str) {
    assert_eq!(warnings(text), [(line, column, message.to_owned())]);
}

#[test]
fn a_good_file_has_none() {
    assert_eq!(warnings(&format!("{NODE}{SERVICE}{BACKEND}")), []);
}

#[test]
fn nobody_to_serve() {
    one(NODE, 1, 1, "no `[[service]]`: every packet passes");
    let none = "this service has no backends: its packets are dropped";
    one(&format!("{NODE}{SERVICE}"), 3, 1, none);
    let off = "every backend of this service is draining, disabled or has weight 0: its packets are dropped";
    one(&format!("{NODE}{SERVICE}{BACKEND}weight = 0\n"), 3, 1, off);
    one(&format!("{NODE}{SERVICE}{BACKEND}state = \"disabled\"\n"), 3, 1, off);
}

#[test]
fn a_quorum_that_is_never_there() {
    let text = |quorum: u32| format!("{NODE}{SERVICE}[service.health]\nquorum = {quorum}\n{BACKEND}");
    let message = "this service never counts as healthy: it has 1 backend, and its quorum is 2";
    one(&text(2), 3, 1, message);
    assert_eq!(warnings(&text(1)), []);
}

#[test]
fn draining_cuts_nobody() {
    for mode in ["dsr", "tunnel", "nat"] {
        let text = format!(
            "{NODE}{}{BACKEND}{}state = \"drain\"\n",
            SERVICE.replace("dsr", mode),
            BACKEND.replace(".6", ".7")
        );
        assert_eq!(warnings(&text), []);
    }
}

#[test]
fn ports_of_servers() {
    let service = |nat: &str| format!("{NODE}{}[service.nat]\n{nat}{BACKEND}", SERVICE.replace("dsr", "nat"));
    let low = "ports = \"1023-1999\"\n";
    let message = "ports below 1024 are those of services of the node itself, and 1023-1999 has some";
    one(&service(low), 8, 9, message);
    assert_eq!(warnings(&service(&low.replace("1023", "1024"))), []);
    // No port of the node's.
    assert_eq!(warnings(&service(&format!("source = \"client\"\n{low}"))), []);
    assert_eq!(warnings(&service(low).replace("\"nat\"", "\"dsr\"")), []);
}

#[test]
fn a_small_ring() {
    let text = format!("{NODE}{SERVICE}table-size = 64\n{BACKEND}");
    one(&text, 7, 14, "64 slots for 1 backends make shares coarse");
    assert!(
        read(&text).unwrap().warnings[0]
            .hint()
            .unwrap()
            .contains("table-size = 128")
    );
    assert_eq!(warnings(&text.replace("64", "128")), []);
}

#[test]
fn undeclared_ports() {
    let text = format!("{NODE}{SERVICE}undeclared = \"pass\"\n{BACKEND}");
    one(
        &text,
        7,
        14,
        "packets for this VIP to undeclared ports reach the node itself",
    );
    let message = "packets for this VIP to undeclared ports are dropped, even where the node's own services answer";
    one(&text.replace("pass", "drop"), 7, 14, message);
}

#[test]
fn probes_of_udp() {
    let udp = format!("{NODE}{SERVICE}protocol = \"udp\"\n");
    let unprobed = "the backends of this UDP service are not probed: one that dies keeps its share";
    one(&format!("{udp}{BACKEND}"), 3, 1, unprobed);
    one(&format!("{udp}[service.health]\nrise = 1\n{BACKEND}"), 8, 1, unprobed);
    assert_eq!(
        warnings(&format!("{udp}[service.health]\nkind = \"none\"\n{BACKEND}")),
        []
    );
    let over_tcp = "a UDP service is probed over TCP here";
    one(
        &format!("{udp}[service.health]\nkind = \"tcp\"\n{BACKEND}"),
        9,
        8,
        over_tcp,
    );
    one(
        &format!("{udp}[service.health]\nkind = \"http\"\n{BACKEND}"),
        9,
        8,
        over_tcp,
    );
}

#[test]
fn probes_over_another_protocol() {
    let udp = format!("{NODE}{SERVICE}protocol = \"udp\"\n[service.health]\nkind = ");
    let tcp = format!("{NODE}{SERVICE}[service.health]\nkind = ");
    for kind in ["\"https\"", "\"tls\"", "\"mysql\""] {
        one(
            &format!("{udp}{kind}\n{BACKEND}"),
            9,
            8,
            "a UDP service is probed over TCP here",
        );
        assert_eq!(warnings(&format!("{tcp}{kind}\n{BACKEND}")), []);
    }
    for kind in ["\"udp\"\npayload = \"x\"", "\"dns\"\nname = \".\""] {
        one(
            &format!("{tcp}{kind}\n{BACKEND}"),
            8,
            8,
            "a TCP service is probed over UDP here",
        );
        assert_eq!(warnings(&format!("{udp}{kind}\n{BACKEND}")), []);
    }
    for start in [tcp, udp] {
        assert_eq!(
            warnings(&format!("{start}\"script\"\ncommand = [\"/x\"]\n{BACKEND}")),
            []
        );
    }
}

#[test]
fn virtual_routers() {
    let start = format!("{NODE}{SEED}{SERVICE}{BACKEND}");
    let router = |text: &str| format!("{start}{ROUTER}{text}");
    assert_eq!(warnings(&router("preempt-delay = \"5s\"\n")), []);
    one(
        &router("preempt = false\npreempt-delay = \"5s\"\n"),
        17,
        17,
        "`preempt-delay` has no effect: this node never preempts",
    );
    let lonely = "nobody else is in the sync-group \"edge\"";
    one(&router("sync-group = \"edge\"\n"), 16, 14, lonely);
    let other = ROUTER
        .replace("VI_1", "VI_2")
        .replace("41", "42")
        .replace("2.10", "2.11");
    let both = router(&format!("sync-group = \"edge\"\n{other}sync-group = \"edge\"\n"));
    assert_eq!(warnings(&both), []);
    let two: Vec<usize> = warnings(&both.replacen("edge", "core", 1))
        .iter()
        .map(|w| w.0)
        .collect();
    assert_eq!(two, [16, 23]);
    // Once for an address, and not where there is no virtual router at all.
    let same = SERVICE.replace("web", "other").replace("2.10:80", "2.20:81") + &BACKEND.replace(":80", ":81");
    let vips = start.replace("\"192.0.2.10:80\"", "[\"192.0.2.10:80\", \"192.0.2.20:80\"]") + &same;
    one(
        &format!("{vips}{ROUTER}"),
        6,
        29,
        "192.0.2.20 is in no [[vrrp]]: every node with this file holds it",
    );
    assert_eq!(warnings(&vips), []);
}

#[test]
fn answers_that_come_to_another_node() {
    let nat = format!("{SERVICE}nat = {{ source = \"192.0.2.9\" }}\n").replace("dsr", "nat");
    let start = format!("{NODE}{SEED}{nat}{BACKEND}");
    let both = ROUTER.replace("\"192.0.2.10\"", "\"192.0.2.10\", \"192.0.2.9\"");
    assert_eq!(warnings(&format!("{start}{both}")), []);
    let other = ROUTER
        .replace("VI_1", "VI_2")
        .replace("41", "42")
        .replace("2.10", "2.9");
    let apart = format!("{start}{ROUTER}sync-group = \"edge\"\n{other}sync-group = \"edge\"\n");
    assert_eq!(warnings(&apart), []);
    let warned = warnings(&apart.replacen("edge", "core", 1));
    assert!(
        warned
            .iter()
            .any(|(line, _, text)| *line == 6 && text.contains("the source 192.0.2.9 may be on two nodes")),
        "{warned:?}"
    );
}

#[test]
fn from_top_to_bottom() {
    let text = format!(
        "{NODE}{SERVICE}undeclared = \"pass\"\n{}",
        SERVICE.replace("web", "b").replace("80", "81")
    );
    let lines: Vec<usize> = warnings(&text).iter().map(|w| w.0).collect();
    assert_eq!(lines, [3, 7, 8]);
}
