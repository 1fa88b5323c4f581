//! The XDP program, packet by packet, where services are protected: what each rung refuses, what it lets pass, in which order,
//! and what is counted for whom.
//!
//! Past 500 lines: one table for each rung, each read as one.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use lb_common::protect::{ADDRESSES, FIRST_REASON, Refusals, place};
use lb_common::service::Decision;
use lb_common::stats::DropReason;
use lb_tests::gate::{self, Gate};
use lb_tests::packet::{self, ACK, FIN, RST, SYN};
use lb_tests::rig::{CLIENT, NODE, Rig, config, reconfigure, rig, stay_on_one_cpu};
use lb_tests::toml::{self, Service, service};
use lb_user::dataplane::Dataplane as _;
use lb_user::model::Protocol;
use lb_user::plan::ServiceKey;

const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;

const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

/// A client of each family.
const CLIENTS: [&str; 2] = ["198.51.100.7", "2001:db8:1::7"];

fn both(port: u16) -> [String; 2] {
    [format!("192.0.2.10:{port}"), format!("[2001:db8::10]:{port}")]
}

fn web() -> Service {
    service("web", "dsr", &both(80)).backend("10.0.0.1:80")
}

/// A service of `nat` on port 82, of one family.
fn nat(family: usize) -> Service {
    let backend = ["10.0.0.3:80", "[fd00::3]:80"][family];
    service(&format!("nat-{family}"), "nat", &[&both(82)[family]]).backend(backend)
}

/// Services of every mode, with this in front.
fn file(protection: &str, services: impl IntoIterator<Item = Service>) -> String {
    let head = toml::file(services);
    let (node, rest) = head.split_once("[[service]]").unwrap();
    format!("{node}\n{protection}\n[[service]]{rest}")
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn from(client: &str, vip: &str, port: u16, flags: u8) -> Vec<u8> {
    let packet = packet::tcp(address(client, 40_000), address(vip, port), flags, b"");
    packet::frame(NODE, CLIENT, &packet)
}

/// The frame in a VLAN, which is for the long way.
fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat()
}

/// The pairs of client and VIP of both families.
fn families() -> impl Iterator<Item = (&'static str, &'static str)> {
    CLIENTS.into_iter().zip(VIPS)
}

fn run(rig: &mut Rig, frame: &[u8]) -> u32 {
    rig.dataplane_mut().test_run(frame).unwrap().0
}

/// What was refused of a service, or of none.
fn refusals(rig: &mut Rig, service: Option<SocketAddr>) -> Refusals {
    let place = service.map_or(ADDRESSES, |vip| place(decision(rig, vip)));
    refusals_at(rig, place)
}

fn refusals_at(rig: &mut Rig, place: u32) -> Refusals {
    rig.dataplane_mut().refusals(place, 1).unwrap()[0]
}

fn decision(rig: &mut Rig, vip: SocketAddr) -> Decision {
    let key = ServiceKey::service(vip, Protocol::Tcp);
    let other = ServiceKey::service(vip, Protocol::Udp);
    let installed = rig.dataplane_mut().installed().unwrap();
    *installed.entries.get(&key).or(installed.entries.get(&other)).unwrap()
}

fn drops(rig: &mut Rig, reason: DropReason) -> u64 {
    let drops = rig.dataplane_mut().drops().unwrap();
    drops.into_iter().find(|(of, _)| *of == reason).unwrap().1
}

const fn index(reason: DropReason) -> usize {
    (reason as u32 - FIRST_REASON) as usize
}

/// The frame is refused for this reason, and counted once for the service, or for none.
fn refused(rig: &mut Rig, frame: &[u8], reason: DropReason, service: Option<SocketAddr>, what: &str) {
    let before = (refusals(rig, service), drops(rig, reason));
    assert_eq!(run(rig, frame), DROP, "{what}");
    let mut expected = before.0;
    expected.refused[index(reason)] += 1;
    assert_eq!(refusals(rig, service), expected, "{what}");
    assert_eq!(drops(rig, reason), before.1 + 1, "{what}");
}

/// It comes through, and nothing is counted as refused.
fn admitted(rig: &mut Rig, frame: &[u8], action: u32, service: Option<SocketAddr>, what: &str) {
    let before = refusals(rig, service);
    assert_eq!(run(rig, frame), action, "{what}");
    assert_eq!(refusals(rig, service), before, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_packets_are_refused_where_something_protects() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(&file("[protection]", [web()]), &[]).await;
    for (client, vip) in families() {
        let service = Some(address(vip, 80));
        for flags in [0, FIN, 8, 32, FIN | 8 | 32, SYN | FIN, SYN | RST, SYN | FIN | ACK] {
            let frame = from(client, vip, 80, flags);
            refused(
                &mut rig,
                &frame,
                DropReason::TcpFlags,
                service,
                &format!("flags {flags:#x}"),
            );
        }
        for flags in [SYN, ACK, ACK | FIN, RST, RST | ACK, SYN | ACK, ACK | 8] {
            let frame = from(client, vip, 80, flags);
            admitted(&mut rig, &frame, TX, service, &format!("flags {flags:#x}"));
        }
        refused(&mut rig, &from(vip, vip, 80, ACK), DropReason::Land, service, "land");
    }
    // Switched off, and with no protection at all, they go where others go.
    for protection in ["[protection]\nmalformed = false", ""] {
        reconfigure(&mut rig, config(&file(protection, [web()]))).await;
        assert_eq!(rig.dataplane_mut().is_protected(), !protection.is_empty());
        for (client, vip) in families() {
            admitted(&mut rig, &from(client, vip, 80, SYN | FIN), TX, None, protection);
            admitted(&mut rig, &from(vip, vip, 80, ACK), TX, None, protection);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_judged_by_the_longest_prefix_of_all_and_of_the_service() {
    if gate::root() == Gate::Skip {
        return;
    }
    let all = "[protection]\nbogons = true\n\
               deny = [\"198.51.100.0/24\", \"2001:db8:1::/48\", \"127.1.0.0/16\"]\n\
               allow = [\"198.51.100.128/25\", \"198.51.100.7\", \"2001:db8:1:8000::/49\", \"127.0.0.9\"]";
    let own = service("own", "dsr", &both(81))
        .table(
            "protection",
            "deny = [\"all\"]\nallow = [\"203.0.113.0/24\", \"198.51.100.0/24\", \"2001:db8:2::/48\"]",
        )
        .backend("10.0.0.1:81");
    let mut rig = rig(&file(all, [web(), own]), &[]).await;
    let all = [
        ("198.51.100.1", Some(DropReason::Denied)),
        ("198.51.100.7", None),
        ("198.51.100.129", None),
        ("198.51.101.1", None),
        ("2001:db8:1::1", Some(DropReason::Denied)),
        ("2001:db8:1:8000::1", None),
        ("2001:db8:2::1", None),
        ("127.0.0.1", Some(DropReason::Bogon)),
        ("127.0.0.9", None),
        ("127.1.0.1", Some(DropReason::Bogon)),
        ("240.0.0.1", Some(DropReason::Bogon)),
        ("fe80::1", Some(DropReason::Bogon)),
        ("10.0.0.1", None),
    ];
    let own = [
        ("203.0.113.9", None),
        ("198.51.100.129", None),
        // Denied for all: an `allow` of the service opens nothing.
        ("198.51.100.1", Some(DropReason::Denied)),
        ("198.51.101.1", Some(DropReason::Denied)),
        ("2001:db8:2::1", None),
        ("2001:db8:3::1", Some(DropReason::Denied)),
        ("127.0.0.1", Some(DropReason::Bogon)),
    ];
    for (port, sources) in [(80, &all[..]), (81, &own)] {
        for &(source, reason) in sources {
            let vip = if source.contains(':') { VIPS[1] } else { VIPS[0] };
            let (frame, what) = (from(source, vip, port, SYN), format!("{source} to {port}"));
            let service = Some(address(vip, port));
            match reason {
                Some(reason) => refused(&mut rig, &frame, reason, service, &what),
                None => admitted(&mut rig, &frame, TX, service, &what),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_and_kind_of_packet_is_judged() {
    if gate::root() == Gate::Skip {
        return;
    }
    let protection = "[protection]\ndeny = [\"198.51.100.7\", \"2001:db8:1::7\"]";
    let services = [
        web(),
        service("tunnel", "tunnel", &both(81)).backends(["10.0.0.2:81", "[fd00::2]:81"]),
        nat(0),
        nat(1),
        service("proxy", "proxy", &both(83)).backend("10.0.0.4:80"),
        service("turns", "dsr", &both(84))
            .with("balance = \"round-robin\"")
            .backend("10.0.0.5:84"),
        service("dns", "dsr", &both(53)).udp().backend("10.0.0.6:53"),
        service("range", "dsr", &["192.0.2.10:9000-9099", "[2001:db8::10]:9000-9099"]).backend("10.0.0.7:9000"),
    ];
    let mut rig = rig(&file(protection, services), &[]).await;
    let others = ["198.51.100.8", "2001:db8:1::8"];
    for ((client, vip), other) in families().zip(others) {
        for (port, action) in [(80, TX), (81, TX), (82, TX), (83, PASS), (84, TX)] {
            let service = Some(address(vip, port));
            for flags in [SYN, ACK] {
                refused(
                    &mut rig,
                    &from(client, vip, port, flags),
                    DropReason::Denied,
                    service,
                    &format!("{port}"),
                );
            }
            admitted(
                &mut rig,
                &from(other, vip, port, SYN),
                action,
                service,
                &format!("{port}"),
            );
        }
        let datagram = |client| {
            let packet = packet::udp(address(client, 40_000), address(vip, 53), b"question");
            packet::frame(NODE, CLIENT, &packet)
        };
        refused(
            &mut rig,
            &datagram(client),
            DropReason::Denied,
            Some(address(vip, 53)),
            "UDP",
        );
        admitted(&mut rig, &datagram(other), TX, Some(address(vip, 53)), "UDP");
        let before = drops(&mut rig, DropReason::Denied);
        assert_eq!(run(&mut rig, &from(client, vip, 9050, SYN)), DROP, "a range of ports");
        assert_eq!(drops(&mut rig, DropReason::Denied), before + 1);
        assert_eq!(run(&mut rig, &from(other, vip, 9050, SYN)), TX, "a range of ports");
        // Ports that nobody declares, and echo, are for no service.
        refused(
            &mut rig,
            &from(client, vip, 7, SYN),
            DropReason::Denied,
            None,
            "an undeclared port",
        );
        let before = drops(&mut rig, DropReason::Undeclared);
        admitted(&mut rig, &from(other, vip, 7, SYN), DROP, None, "an undeclared port");
        assert_eq!(drops(&mut rig, DropReason::Undeclared), before + 1);
        let echo = |client: &str| {
            let (client, vip): (IpAddr, IpAddr) = (client.parse().unwrap(), vip.parse().unwrap());
            let kind = if vip.is_ipv4() { 8 } else { 128 };
            packet::frame(NODE, CLIENT, &packet::icmp(client, vip, kind, 0, &[0, 1, 0, 2]))
        };
        refused(&mut rig, &echo(client), DropReason::Denied, None, "echo");
        admitted(&mut rig, &echo(other), TX, None, "echo");
        // With a VLAN tag.
        let service = Some(address(vip, 80));
        refused(
            &mut rig,
            &tagged(&from(client, vip, 80, ACK)),
            DropReason::Denied,
            service,
            "a tag",
        );
        admitted(&mut rig, &tagged(&from(other, vip, 80, ACK)), TX, service, "a tag");
        // What was not sent to this node is judged by nobody.
        let mut elsewhere = from(client, vip, 80, ACK);
        elsewhere[5] ^= 1;
        admitted(&mut rig, &elsewhere, PASS, service, "another node's frame");
        // Nor what is for no VIP.
        let nobody = if vip.contains(':') {
            "2001:db8::99"
        } else {
            "192.0.2.99"
        };
        admitted(&mut rig, &from(client, nobody, 80, SYN), PASS, None, "for nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_stays_reachable_at_other_ports() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(&file("[protection]\ndeny = [\"all\"]", [web()]), &VIPS).await;
    for (client, vip) in families() {
        refused(
            &mut rig,
            &from(client, vip, 80, SYN),
            DropReason::Denied,
            Some(address(vip, 80)),
            "the service",
        );
        // Nobody is locked out of a machine whose own address it is.
        admitted(&mut rig, &from(client, vip, 22, SYN), PASS, None, "another port");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_counts_and_drops_nothing() {
    if gate::root() == Gate::Skip {
        return;
    }
    let enforced = service("enforced", "dsr", &both(81))
        .table("protection", "enforcement = \"enforce\"")
        .backend("10.0.0.1:81");
    let protection = "[protection]\nenforcement = \"observe\"\ndeny = [\"198.51.100.0/24\", \"2001:db8:1::/48\"]";
    let mut rig = rig(&file(protection, [web(), enforced]), &[]).await;
    for (client, vip) in families() {
        let service = Some(address(vip, 80));
        let before = refusals(&mut rig, service);
        assert_eq!(run(&mut rig, &from(client, vip, 80, SYN)), TX);
        assert_eq!(run(&mut rig, &from(client, vip, 80, SYN | FIN)), TX);
        let mut expected = before;
        expected.observed[index(DropReason::Denied)] += 1;
        expected.observed[index(DropReason::TcpFlags)] += 1;
        assert_eq!(refusals(&mut rig, service), expected);
        let other = Some(address(vip, 81));
        refused(
            &mut rig,
            &from(client, vip, 81, SYN),
            DropReason::Denied,
            other,
            "enforced",
        );
    }
    assert_eq!(drops(&mut rig, DropReason::TcpFlags), 0);
}

/// More than what is sent here until a bucket is empty.
const MANY: u32 = 100;

/// Sends it until something else becomes of it, or [`MANY`] times: how many became that, and what became of the last one.
fn burst(rig: &mut Rig, frame: &[u8], action: u32) -> (u32, u32) {
    for passed in 0..MANY {
        let became = run(rig, frame);
        if became != action {
            return (passed, became);
        }
    }
    (MANY, action)
}

/// Sends it until one is refused for this reason, and counted once, at this place; how many were let pass before, which `action`
/// became of.
fn drained(rig: &mut Rig, frame: &[u8], action: u32, reason: DropReason, place: u32) -> u32 {
    let (mut expected, before) = (refusals_at(rig, place), drops(rig, reason));
    expected.refused[index(reason)] += 1;
    for passed in 0..MANY {
        let became = run(rig, frame);
        let counted = drops(rig, reason) - before;
        if counted > 0 {
            assert_eq!((became, counted, refusals_at(rig, place)), (DROP, 1, expected));
            return passed;
        }
        assert_eq!(became, action);
    }
    panic!("{reason:?} refuses nothing");
}

/// As many came through as a bucket held then, and at most what it has got back meanwhile, one in each second.
fn held(passed: u32, held: u32, since: Instant, what: &str) {
    // One more, as the program's clock may be a tick behind.
    let back = since.elapsed().as_secs() as u32 + 1;
    assert!(
        (held..=held + back).contains(&passed),
        "{what}: {passed} of {held}, and {back} at most that came back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_have_buckets_of_their_own() {
    if gate::root() == Gate::Skip {
        return;
    }
    // One comes back each second.
    let protection = "[protection]\nexempt = [\"198.51.100.99\", \"2001:db8:1:99::/64\"]\n\
                      connections-per-second = { limit = 1, burst = 5, per = \"/31\" }\n\
                      packets-per-second = { limit = 1, burst = 9 }";
    let own = service("own", "dsr", &both(81))
        .table(
            "protection",
            "exempt = [\"198.51.100.98\", \"2001:db8:1:98::/64\"]\n\
             connections-per-second = { limit = 1, burst = 3 }\npackets-per-second = { limit = 1, burst = 100 }",
        )
        .backend("10.0.0.1:81");
    let mut rig = rig(&file(protection, [web(), own, nat(0), nat(1)]), &[]).await;
    let clients = [
        [
            "198.51.100.6",
            "198.51.100.7",
            "198.51.100.8",
            "198.51.100.99",
            "198.51.100.98",
        ],
        [
            "2001:db8:1:1::6",
            "2001:db8:1:1:ffff::7",
            "2001:db8:1:2::6",
            "2001:db8:1:99::1",
            "2001:db8:1:98::1",
        ],
    ];
    for (vip, [one, near, far, exempt, exempt_there]) in VIPS.into_iter().zip(clients) {
        // Once for all, as it takes a while.
        let [web, own, elsewhere] = [80, 81, 82].map(|port| place(decision(&mut rig, address(vip, port))));
        let since = Instant::now();
        let (connections, packets) = (DropReason::ConnectionRate, DropReason::PacketRate);
        let passed = drained(&mut rig, &from(one, vip, 80, SYN), TX, connections, web);
        held(passed, 5, since, "connections");
        // Its open connections go on, as far as its packets do: 5 are gone, and 1 that was refused by the next rung.
        let passed = drained(&mut rig, &from(one, vip, 80, ACK), TX, packets, web);
        held(passed, 3, since, "packets");
        // Who is in the same prefix shares the bucket of connections; of packets only IPv6 does, by /64.
        if vip.contains(':') {
            let passed = drained(&mut rig, &from(near, vip, 80, ACK), TX, packets, web);
            held(passed, 0, since, "the same /64");
        } else {
            let passed = drained(&mut rig, &from(near, vip, 80, SYN), TX, connections, web);
            held(passed, 0, since, "the same /31");
        }
        // Limits of all services are counted over all services. What `nat` knows nothing of is the kernel's.
        let passed = drained(&mut rig, &from(one, vip, 82, ACK), PASS, packets, elsewhere);
        held(passed, 0, since, "another service");
        // Others have their own, and so has a service that says its own.
        let passed = drained(&mut rig, &from(far, vip, 80, SYN), TX, connections, web);
        held(passed, 5, since, "another source");
        let passed = drained(&mut rig, &from(one, vip, 81, SYN), TX, connections, own);
        held(passed, 3, since, "the service's own");
        // Who is exempt is so from limits of a service too; who is so for one service has limits elsewhere.
        assert_eq!(burst(&mut rig, &from(exempt, vip, 80, SYN), TX), (MANY, TX));
        assert_eq!(burst(&mut rig, &from(exempt, vip, 81, SYN), TX), (MANY, TX));
        assert_eq!(burst(&mut rig, &from(exempt_there, vip, 81, SYN), TX), (MANY, TX));
        let passed = drained(&mut rig, &from(exempt_there, vip, 80, SYN), TX, connections, web);
        held(passed, 5, since, "exempt elsewhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn icmp_has_a_limit_of_its_own() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(
        &file("[protection]\nicmp-per-second = { limit = 1, burst = 4 }", [web()]),
        &[],
    )
    .await;
    for (client, vip) in families() {
        let (source, to): (IpAddr, IpAddr) = (client.parse().unwrap(), vip.parse().unwrap());
        let kind = if to.is_ipv4() { 8 } else { 128 };
        let echo = packet::frame(NODE, CLIENT, &packet::icmp(source, to, kind, 0, &[0, 1, 0, 2]));
        let since = Instant::now();
        let passed = drained(&mut rig, &echo, TX, DropReason::IcmpRate, ADDRESSES);
        held(passed, 4, since, "echo");
        // One that is let pass is for nobody.
        let gre = packet::frame(NODE, CLIENT, &packet::ip(source, to, 47, &[0; 16]));
        let passed = drained(&mut rig, &gre, DROP, DropReason::IcmpRate, ADDRESSES);
        held(passed, 0, since, "another without ports");
        admitted(
            &mut rig,
            &from(client, vip, 80, SYN),
            TX,
            Some(address(vip, 80)),
            "something else",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_are_judged_too() {
    if gate::root() == Gate::Skip {
        return;
    }
    let protection = "[protection]\ndeny = [\"198.51.100.7\"]";
    let dns = service("dns", "dsr", &["192.0.2.10:53"]).udp().backend("10.0.0.6:53");
    let mut rig = rig(&file(protection, [dns]), &[]).await;
    let vip = address(VIPS[0], 53);
    let pieces = |client: &str| {
        let whole = packet::udp(address(client, 40_000), vip, &[0x5a; 64]);
        [(0, 0x2000_u16), (40, 5)].map(|(from, field)| {
            let data = &whole[20 + from..if from == 0 { 60 } else { whole.len() }];
            let mut piece = [&whole[..20], data].concat();
            let total = piece.len() as u16;
            piece[2..4].copy_from_slice(&total.to_be_bytes());
            piece[6..8].copy_from_slice(&field.to_be_bytes());
            packet::fix_ipv4(&mut piece);
            packet::frame(NODE, CLIENT, &piece)
        })
    };
    let [first, later] = pieces("198.51.100.7");
    refused(&mut rig, &first, DropReason::Denied, Some(vip), "the first");
    // It has taught nothing, so the others are nobody's.
    admitted(&mut rig, &later, DROP, Some(vip), "another");
    assert_eq!(drops(&mut rig, DropReason::Fragment), 1);
    let [first, later] = pieces("198.51.100.8");
    admitted(&mut rig, &first, TX, Some(vip), "the first");
    admitted(&mut rig, &later, TX, Some(vip), "another");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_judged_is_one_packet_and_no_other() {
    if gate::root() == Gate::Skip {
        return;
    }
    stay_on_one_cpu();
    let tunnel = || service("tunnel", "tunnel", &both(80)).backend("10.0.0.2:80");
    let mut rig = rig(&file("", [tunnel()]), &[]).await;
    let (client, vip) = (address(CLIENTS[0], 40_000), address(VIPS[0], 80));
    // The program that judges hands it on, and by then nothing protects any more.
    let large = packet::frame(NODE, CLIENT, &packet::tcp(client, vip, ACK, &[0; 1460]));
    let before = drops(&mut rig, DropReason::TooBig);
    rig.dataplane_mut().test_entry("fulcrum_protect", &large).unwrap();
    assert_eq!(drops(&mut rig, DropReason::TooBig), before + 1);
    reconfigure(
        &mut rig,
        config(&file("[protection]\ndeny = [\"198.51.100.7\"]", [tunnel()])),
    )
    .await;
    let next = tagged(&from(CLIENTS[0], VIPS[0], 80, ACK));
    refused(
        &mut rig,
        &next,
        DropReason::Denied,
        Some(vip),
        "the next one on the long way",
    );
}

/// The options of a SYN, as Linux sends them: segment size, selective acknowledgements, timestamps, window scaling.
const OFFER: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 2, 0, 0, 0, 0, 1, 3, 3, 9];

/// A service of the proxy that answers all SYNs with cookies.
fn cookies(protection: &str) -> String {
    let shop = service("shop", "proxy", &both(80)).backend("10.0.0.4:80");
    file(
        &format!("[protection]\n{protection}syn-cookies = {{ above = 0 }}"),
        [shop],
    )
}

/// What a SYN becomes, as an IP packet: the action, and the packet.
fn knock(rig: &mut Rig, client: SocketAddr, vip: SocketAddr, options: &[u8]) -> (u32, Vec<u8>) {
    let syn = packet::frame(NODE, CLIENT, &packet::syn(client, vip, options, b"early"));
    let (action, frame) = rig.dataplane_mut().test_run(&syn).unwrap();
    if action == TX {
        assert_eq!(frame[..6], CLIENT.0, "back to where it came from");
        assert_eq!(frame[6..12], NODE.0);
    }
    (action, frame[14..].to_vec())
}

/// The same, once the kernel has got the SYN that its listener needs.
fn answered(rig: &mut Rig, client: SocketAddr, vip: SocketAddr, options: &[u8]) -> Vec<u8> {
    let (action, packet) = match knock(rig, client, vip, options) {
        (PASS, _) => knock(rig, client, vip, options),
        other => other,
    };
    assert_eq!(action, TX);
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn syns_are_answered_with_cookies_that_come_back() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(&cookies(""), &[]).await;
    for (client, vip) in families() {
        let (client, vip) = (address(client, 40_000), address(vip, 80));
        let service = Some(vip);
        let header = if vip.is_ipv4() { 20 } else { 40 };
        if vip.is_ipv4() {
            // Nobody has got a cookie yet: what belongs to no connection is the kernel's to judge.
            admitted(&mut rig, &from(CLIENTS[0], VIPS[0], 80, ACK), PASS, service, "before");
        }
        assert_eq!(
            knock(&mut rig, client, vip, &OFFER).0,
            PASS,
            "the kernel's listener gives out the first"
        );
        let packet = answered(&mut rig, client, vip, &OFFER);
        let tcp = &packet[header..];
        // Addresses and ports in exchange, and nothing wrong with the sums.
        let expected = packet::ip(vip.ip(), client.ip(), 6, tcp);
        let same = |range: std::ops::Range<usize>| assert_eq!(packet[range.clone()], expected[range]);
        if vip.is_ipv4() {
            same(2..4);
            same(9..10);
            same(12..20);
            assert_eq!(packet::checksum(&packet[..20]), 0);
        } else {
            same(4..7);
            same(8..40);
        }
        assert_eq!(packet::pseudo(vip.ip(), client.ip(), 6, tcp), 0);
        assert_eq!(
            (&tcp[..2], &tcp[2..4]),
            (&vip.port().to_be_bytes()[..], &client.port().to_be_bytes()[..])
        );
        assert_eq!(
            tcp[8..12],
            2_u32.to_be_bytes(),
            "acknowledges the SYN, and nothing of its data"
        );
        assert_eq!((tcp[12] >> 4, tcp[13]), (10, SYN | ACK));
        assert_eq!(tcp.len(), 40);
        let segment: u16 = if vip.is_ipv4() { 1460 } else { 1440 };
        assert_eq!(tcp[20..24], [&[2, 4][..], &segment.to_be_bytes()].concat());
        assert_eq!(tcp[24..28], [4, 2, 8, 10]);
        assert_eq!(
            tcp[31] & 0x3f,
            9 | 1 << 4,
            "the timestamp keeps the scale, and selective acknowledgements"
        );
        assert_eq!(tcp[32..36], [0, 0, 1, 2], "the client's own timestamp");
        assert_eq!(tcp[36..40], [1, 3, 3, 7]);

        let cookie = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let acknowledges = |number: u32| {
            let mut packet = packet::tcp(client, vip, ACK, b"");
            packet[header + 4..header + 8].copy_from_slice(&2_u32.to_be_bytes());
            packet[header + 8..header + 12].copy_from_slice(&number.to_be_bytes());
            packet::frame(NODE, CLIENT, &packet)
        };
        let before = refusals(&mut rig, service);
        assert_eq!(run(&mut rig, &acknowledges(cookie.wrapping_add(1))), PASS);
        let after = refusals(&mut rig, service);
        assert_eq!(after.accepted, before.accepted + 1);
        refused(
            &mut rig,
            &acknowledges(cookie.wrapping_add(1_000)),
            DropReason::SynCookie,
            service,
            "another number",
        );
        refused(
            &mut rig,
            &from("198.51.100.99", "192.0.2.10", 80, ACK),
            DropReason::SynCookie,
            Some(address(VIPS[0], 80)),
            "no cookie",
        );
        refused(
            &mut rig,
            &from(&client.ip().to_string(), &vip.ip().to_string(), 80, RST),
            DropReason::SynCookie,
            service,
            "a reset",
        );
        // Without timestamps there is room for the segment size alone, and with them for what was offered.
        let short = answered(&mut rig, client, vip, &[2, 4, 5, 180, 4, 2, 1, 1, 1, 3, 3, 7]);
        assert_eq!((short[header + 12] >> 4, short.len()), (6, header + 24));
        assert_eq!(packet::pseudo(vip.ip(), client.ip(), 6, &short[header..]), 0);
        let stamps = answered(&mut rig, client, vip, &[1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 0, 0]);
        assert_eq!((stamps[header + 12] >> 4, stamps.len()), (9, header + 36));
        assert_eq!(stamps[header + 24..header + 28], [1, 1, 8, 10]);
        assert_eq!(packet::pseudo(vip.ip(), client.ip(), 6, &stamps[header..]), 0);
        let none = answered(&mut rig, client, vip, &[]);
        assert_eq!(none.len(), header + 24);
        // A header that is no header is the kernel's to judge.
        let mut cut = packet::frame(NODE, CLIENT, &packet::syn(client, vip, &[], b""));
        cut[14 + header + 12] = 0xf0;
        assert_eq!(run(&mut rig, &cut), DROP, "as everywhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn syns_below_the_limit_are_the_kernels() {
    if gate::root() == Gate::Skip {
        return;
    }
    let shop = service("shop", "proxy", &both(80))
        .table("protection", "syn-cookies = { above = 40 }")
        .backend("10.0.0.4:80");
    let mut rig = rig(&file("", [shop]), &[]).await;
    for (client, vip) in families() {
        let syn = from(client, vip, 80, SYN);
        let since = Instant::now();
        let (passed, last) = burst(&mut rig, &syn, PASS);
        // Its quarter of a second, one for the listener of this address, and one for each 25 ms that this took.
        let most = 11 + since.elapsed().as_millis() / 25 + 1;
        assert!((1..=most).contains(&u128::from(passed)), "{passed} of {most}");
        assert_eq!(last, TX);
        assert_eq!(
            run(&mut rig, &from(client, vip, 81, SYN)),
            DROP,
            "a port that nobody declares"
        );
    }
    // What is only observed is answered by the kernel.
    reconfigure(&mut rig, config(&cookies("enforcement = \"observe\"\n"))).await;
    for (client, vip) in families() {
        assert_eq!(burst(&mut rig, &from(client, vip, 80, SYN), PASS), (MANY, PASS));
    }
}
