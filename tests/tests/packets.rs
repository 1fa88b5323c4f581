//! The XDP program, packet by packet: what comes out, what is counted, for both families and every drop reason.
//!
//! Past 500 lines: most of it is one table of cases, which is read as one.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::net::{IpAddr, SocketAddr};

use lb_common::addr::Mac;
use lb_common::backend::{MacFlags, Member};
use lb_common::protect::FIRST_REASON;
use lb_common::service::{Choice, Decision, Mode};
use lb_common::stats::{Counters, DropReason};
use lb_tests::gate::{self, Gate};
use lb_tests::nat;
use lb_tests::netns::TestNamespace;
use lb_tests::packet::{self, ACK, SYN};
use lb_tests::rig::{CLIENT, NODE, Rig, mac_of, rig};
use lb_tests::toml::{self, service};
use lb_user::dataplane::Dataplane as _;
use lb_user::model::Protocol;
use lb_user::model::status::{Explanation, FlowQuery};
use lb_user::net::Net;
use lb_user::plan::{MapOp, ServiceKey};

const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;

/// One service per VIP kind and family, one backend each, so that every packet's fate is known.
fn services() -> String {
    toml::file([
        service("web", "dsr", &["192.0.2.10:80", "[2001:db8::10]:80"]).backend("10.0.0.1:80"),
        service("dns", "dsr", &["192.0.2.10:53", "[2001:db8::10]:53"])
            .udp()
            .backend("10.0.0.2:53"),
        service("empty", "dsr", &["192.0.2.10:81", "[2001:db8::10]:81"]),
        service("shared", "dsr", &["192.0.2.20:80", "[2001:db8::20]:80"]).backend("10.0.0.3:80"),
    ])
}

/// The addresses that were on the node before Fulcrum came.
const HAD: [&str; 2] = ["192.0.2.20", "2001:db8::20"];

/// Another node's MAC: what is sent there is not for this one.
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0xee]);

/// What comes out.
enum Out {
    /// The frame as it went in.
    Same,
    /// These bytes.
    Frame(Vec<u8>),
}

struct Case {
    name: String,
    input: Vec<u8>,
    action: u32,
    output: Out,
    /// The reason that counts one more.
    drop: Option<DropReason>,
    /// The backend that counts one more packet, and whether it counts a new flow.
    counted: Option<(&'static str, bool)>,
}

impl Case {
    fn passes(name: impl Into<String>, input: Vec<u8>) -> Self {
        Self::new(name, input, PASS, Out::Same)
    }

    fn drops(name: impl Into<String>, input: Vec<u8>, reason: DropReason) -> Self {
        Self {
            drop: Some(reason),
            ..Self::new(name, input, DROP, Out::Same)
        }
    }

    fn forwards(name: impl Into<String>, input: Vec<u8>, backend: &'static str, opens: bool) -> Self {
        let to = mac_of(backend.parse::<SocketAddr>().unwrap().ip());
        let output = packet::ethernet(to, NODE, u16::from_be_bytes([input[12], input[13]]), &input[14..]);
        Self {
            counted: Some((backend, opens)),
            ..Self::new(name, input, TX, Out::Frame(output))
        }
    }

    fn new(name: impl Into<String>, input: Vec<u8>, action: u32, output: Out) -> Self {
        Self {
            name: name.into(),
            input,
            action,
            output,
            drop: None,
            counted: None,
        }
    }
}

/// Addresses of one family.
#[derive(Clone, Copy)]
struct Family {
    name: &'static str,
    client: &'static str,
    vip: &'static str,
    shared: &'static str,
    nobody: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "IPv4",
        client: "198.51.100.7",
        vip: "192.0.2.10",
        shared: "192.0.2.20",
        nobody: "192.0.2.99",
    },
    Family {
        name: "IPv6",
        client: "2001:db8:1::7",
        vip: "2001:db8::10",
        shared: "2001:db8::20",
        nobody: "2001:db8::99",
    },
];

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn to_node(packet: &[u8]) -> Vec<u8> {
    packet::frame(NODE, CLIENT, packet)
}

/// The frame with `bytes` at `offset` of the network header; IPv4 checksums are made right again.
fn patched(packet: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = to_node(packet);
    let patched = &mut frame[14..];
    patched[offset..offset + bytes.len()].copy_from_slice(bytes);
    if packet[0] >> 4 == 4 {
        packet::fix_ipv4(patched);
    }
    frame
}

fn both_families(f: Family) -> Vec<Case> {
    let (v4, header) = (f.name == "IPv4", if f.name == "IPv4" { 20 } else { 40 });
    let (client, vip) = (at(f.client, 40000), at(f.vip, 80));
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let name = |what: &str| format!("{}: {what}", f.name);
    let syn = packet::tcp(client, vip, SYN, b"");
    let data = packet::tcp(client, vip, ACK, b"GET / HTTP/1.1\r\n");
    let query = packet::udp(client, at(f.vip, 53), b"query");
    let malformed_ip = if v4 {
        DropReason::MalformedIpv4
    } else {
        DropReason::MalformedIpv6
    };
    let (request, reply) = if v4 { (8, 0) } else { (128, 129) };
    let echo = packet::icmp(ip(f.client), ip(f.vip), request, 0, &[0xab, 0xcd, 0, 1, 1, 2, 3]);
    let mut answer = packet::icmp(ip(f.vip), ip(f.client), reply, 0, &[0xab, 0xcd, 0, 1, 1, 2, 3]);
    answer[if v4 { 8 } else { 7 }] = 64;
    if v4 {
        packet::fix_ipv4(&mut answer);
    }
    let mut padded = to_node(&syn);
    padded.resize(80, 0);
    let group = packet::frame(Mac([0xff; 6]), CLIENT, &syn);
    let stray = packet::frame(OTHER, CLIENT, &syn);
    let icmp_number = if v4 { 1 } else { 58 };
    let total = if v4 { 2 } else { 4 };
    vec![
        Case::forwards(name("SYN"), to_node(&syn), "10.0.0.1:80", true),
        Case::forwards(name("SYN with Ethernet padding"), padded, "10.0.0.1:80", true),
        Case::forwards(name("data"), to_node(&data), "10.0.0.1:80", false),
        Case::forwards(
            name("SYN and ACK opens nothing"),
            to_node(&packet::tcp(client, vip, SYN | ACK, b"")),
            "10.0.0.1:80",
            false,
        ),
        Case::forwards(name("UDP"), to_node(&query), "10.0.0.2:53", false),
        Case::forwards(
            name("shared VIP"),
            to_node(&packet::tcp(client, at(f.shared, 80), SYN, b"")),
            "10.0.0.3:80",
            true,
        ),
        Case::passes(
            name("to nobody"),
            to_node(&packet::tcp(client, at(f.nobody, 80), SYN, b"")),
        ),
        Case::passes(
            name("to nobody, malformed"),
            patched(&packet::tcp(client, at(f.nobody, 80), SYN, b""), total, &[0xff, 0xff]),
        ),
        Case::passes(name("flooded by a switch, for another MAC"), stray),
        Case::passes(name("sent to everybody"), group),
        Case::passes(
            name("shared VIP, undeclared port"),
            to_node(&packet::tcp(client, at(f.shared, 22), SYN, b"")),
        ),
        Case::passes(
            name("shared VIP, malformed on an undeclared port"),
            patched(&packet::tcp(client, at(f.shared, 22), SYN, b""), total, &[0xff, 0xff]),
        ),
        Case::passes(
            name("shared VIP, echo"),
            to_node(&packet::icmp(ip(f.client), ip(f.shared), request, 0, &[0; 8])),
        ),
        Case::passes(
            name("echo reply to the VIP"),
            to_node(&packet::icmp(ip(f.client), ip(f.vip), reply, 0, &[0; 8])),
        ),
        Case::passes(
            name("unreachable to the VIP"),
            to_node(&packet::icmp(
                ip(f.client),
                ip(f.vip),
                if v4 { 3 } else { 1 },
                0,
                &[0; 32],
            )),
        ),
        Case::passes(
            name("echo to everybody's MAC"),
            packet::frame(Mac([0xff; 6]), CLIENT, &echo),
        ),
        Case::new(
            name("echo is answered"),
            to_node(&echo),
            TX,
            Out::Frame(packet::frame(CLIENT, NODE, &answer)),
        ),
        Case::passes(name("echo for another MAC"), packet::frame(OTHER, CLIENT, &echo)),
        Case::passes(
            name("undeclared port, for another MAC"),
            packet::frame(OTHER, CLIENT, &packet::tcp(client, at(f.vip, 22), SYN, b"")),
        ),
        Case::drops(
            name("echo request in the padding"),
            [
                to_node(&packet::ip(client.ip(), vip.ip(), icmp_number, b"")),
                vec![request, 0, 0, 0, 0, 0, 0, 0],
            ]
            .concat(),
            DropReason::Truncated,
        ),
        Case::drops(
            name("undeclared TCP port"),
            to_node(&packet::tcp(client, at(f.vip, 22), SYN, b"")),
            DropReason::Undeclared,
        ),
        Case::drops(
            name("undeclared UDP port"),
            to_node(&packet::udp(client, at(f.vip, 80), b"")),
            DropReason::Undeclared,
        ),
        Case::drops(
            name("undeclared protocol"),
            to_node(&packet::ip(ip(f.client), ip(f.vip), 47, &[0; 8])),
            DropReason::Undeclared,
        ),
        Case::drops(
            name("no backend"),
            to_node(&packet::tcp(client, at(f.vip, 81), SYN, b"")),
            DropReason::NoBackend,
        ),
        Case::drops(
            name("length beyond the frame"),
            patched(&syn, total, &[0xff, 0xff]),
            malformed_ip,
        ),
        Case::drops(
            name("length beyond the frame, undeclared port"),
            patched(&packet::tcp(client, at(f.vip, 22), SYN, b""), total, &[0xff, 0xff]),
            malformed_ip,
        ),
        Case::drops(
            name("TCP data offset below 5"),
            patched(&syn, header + 12, &[0x40]),
            DropReason::MalformedTcp,
        ),
        Case::drops(
            name("TCP data offset beyond the segment"),
            patched(&syn, header + 12, &[0x60]),
            DropReason::MalformedTcp,
        ),
        Case::drops(
            name("UDP length below 8"),
            patched(&query, header + 4, &[0, 7]),
            DropReason::MalformedUdp,
        ),
        Case::drops(
            name("UDP length beyond the datagram"),
            patched(&query, header + 4, &[0, 14]),
            DropReason::MalformedUdp,
        ),
        Case::drops(
            name("TCP header cut"),
            to_node(&packet::ip(client.ip(), vip.ip(), 6, &syn[header..header + 16])),
            DropReason::Truncated,
        ),
        Case::drops(
            name("UDP header cut"),
            to_node(&packet::ip(client.ip(), vip.ip(), 17, &query[header..header + 6])),
            DropReason::Truncated,
        ),
        Case::drops(
            name("ports cut"),
            to_node(&packet::ip(client.ip(), vip.ip(), 6, &syn[header..header + 3])),
            DropReason::Truncated,
        ),
        Case::drops(
            name("echo cut"),
            to_node(&packet::ip(
                client.ip(),
                vip.ip(),
                if v4 { 1 } else { 58 },
                &[request, 0, 0, 0],
            )),
            DropReason::Truncated,
        ),
        Case::drops(
            name("network header cut"),
            to_node(&syn[..header - 1]),
            DropReason::Truncated,
        ),
    ]
}

fn one_family() -> Vec<Case> {
    let (client, vip) = (at("198.51.100.7", 40000), at("192.0.2.10", 80));
    let (client6, vip6) = (at("2001:db8:1::7", 40000), at("2001:db8::10", 80));
    let syn = packet::tcp(client, vip, SYN, b"");
    let syn6 = packet::tcp(client6, vip6, SYN, b"");
    let with_options = |options: &[u8]| {
        let (IpAddr::V4(s), IpAddr::V4(d)) = (client.ip(), vip.ip()) else {
            unreachable!()
        };
        to_node(&packet::ipv4(s, d, 6, options, &syn[20..]))
    };
    vec![
        Case::forwards(
            "IPv4: options",
            with_options(&[7, 7, 4, 0, 0, 0, 0, 0]),
            "10.0.0.1:80",
            true,
        ),
        Case::forwards("IPv4: the most options", with_options(&[1; 40]), "10.0.0.1:80", true),
        Case::drops(
            "IPv4: header length below 20",
            patched(&syn, 0, &[0x44]),
            DropReason::MalformedIpv4,
        ),
        Case::drops("IPv4: version 5", patched(&syn, 0, &[0x55]), DropReason::MalformedIpv4),
        Case::drops(
            "IPv4: total length below the header's",
            patched(&syn, 2, &[0, 19]),
            DropReason::MalformedIpv4,
        ),
        Case::drops("IPv4: later fragment", patched(&syn, 6, &[0, 8]), DropReason::Fragment),
        Case::forwards(
            "IPv4: first fragment",
            patched(&syn, 6, &[0x20, 0]),
            "10.0.0.1:80",
            true,
        ),
        Case::forwards(
            "IPv4: reserved bit is no fragment",
            patched(&syn, 6, &[0x80, 0]),
            "10.0.0.1:80",
            true,
        ),
        Case::drops("IPv6: version 5", patched(&syn6, 0, &[0x50]), DropReason::MalformedIpv6),
        Case::drops("IPv6: fragment header", patched(&syn6, 6, &[44]), DropReason::Fragment),
        Case::drops(
            "IPv6: hop-by-hop header beyond the packet",
            patched(&syn6, 6, &[0]),
            DropReason::MalformedIpv6,
        ),
        Case::passes(
            "neighbour solicitation to the VIP",
            to_node(&packet::icmp(client6.ip(), vip6.ip(), 135, 0, &[0; 20])),
        ),
        Case::passes("ARP", packet::ethernet(Mac([0xff; 6]), CLIENT, 0x0806, &[0; 28])),
        Case::forwards(
            "VLAN",
            packet::ethernet(NODE, CLIENT, 0x8100, &[&[0, 5, 8, 0], &syn[..]].concat()),
            "10.0.0.1:80",
            true,
        ),
        Case::passes(
            "IPv4 header in an IPv6 frame's clothes: not a VIP",
            packet::ethernet(NODE, CLIENT, 0x86dd, &[0x45; 60]),
        ),
    ]
}

/// All that is counted: drops by reason, and forwarded packets by backend.
type Counts = (Vec<(DropReason, u64)>, Vec<(String, Counters)>);

fn counts(rig: &mut Rig) -> Counts {
    let drops = rig.dataplane_mut().drops().unwrap();
    let status = rig.status();
    let backends = status.services.iter().flat_map(|s| &s.backends);
    (drops, backends.map(|b| (b.address.to_string(), b.counters)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_has_its_fate() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(&services(), &HAD).await;
    let cases: Vec<Case> = FAMILIES
        .into_iter()
        .flat_map(both_families)
        .chain(one_family())
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for case in &cases {
        assert!(seen.insert(&case.name), "two cases are called {}", case.name);
        let (mut drops, mut backends) = counts(&mut rig);
        let (action, output) = rig
            .dataplane_mut()
            .test_run(&case.input)
            .unwrap_or_else(|e| panic!("{}: {e:?}", case.name));
        for (reason, count) in &mut drops {
            *count += u64::from(case.drop == Some(*reason));
        }
        for (address, counters) in &mut backends {
            if let Some((_, opens)) = case.counted.filter(|(backend, _)| backend == address) {
                counters.packets += 1;
                counters.bytes += case.input.len() as u64;
                counters.new_flows += u64::from(opens);
            }
        }
        let expected = match &case.output {
            Out::Same => &case.input,
            Out::Frame(frame) => frame,
        };
        assert_eq!((action, &output), (case.action, expected), "{}", case.name);
        assert_eq!(counts(&mut rig), (drops, backends), "{}", case.name);
    }
    // Reasons that no packet can bring about alone have tests of their own below, those of `nat` in nat_ports.rs.
    let dropped: std::collections::BTreeSet<_> = cases.iter().filter_map(|c| c.drop).collect();
    // Too many extension headers are in packet_shapes.rs, what is too big in packet_tunnel.rs, what protection refuses in
    // packet_protect.rs; and a frame of a test run always has headroom.
    let below = [DropReason::Unresolved, DropReason::NoEgress, DropReason::Inconsistent];
    let others = [DropReason::TooBig, DropReason::ExtensionHeaders, DropReason::NoHeadroom];
    let elsewhere = [&below[..], &others, &nat::REASONS].concat();
    for reason in DropReason::ALL.iter().filter(|&&reason| (reason as u32) < FIRST_REASON) {
        assert!(dropped.contains(reason) ^ elsewhere.contains(reason), "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_that_do_not_fit_together_drop() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(&services(), &HAD).await;
    let installed = rig.dataplane_mut().installed().unwrap();
    let (&id, &member) = installed
        .members
        .iter()
        .find(|(_, m)| m.address.to_ip() == IpAddr::from([10, 0, 0, 1]))
        .unwrap();
    let keys = FAMILIES.map(|f| ServiceKey::service(at(f.vip, 80), Protocol::Tcp));
    let unresolved = Member {
        next_hop: MacFlags::new(member.next_hop.mac(), MacFlags::ALIVE),
        ..member
    };
    let elsewhere = Member { interface: 7, ..member };
    let beyond = Decision::service(Mode::Dsr, Choice::Tuple, 0xff_ffff, 14, 0);
    let faults = [
        (vec![MapOp::PutMember(id, unresolved)], DropReason::Unresolved),
        (vec![MapOp::PutMember(id, elsewhere)], DropReason::NoEgress),
        (
            keys.map(|key| MapOp::PutEntry(key, beyond)).into(),
            DropReason::Inconsistent,
        ),
    ];
    for (ops, reason) in faults {
        for op in &ops {
            rig.dataplane_mut().apply(op).unwrap();
        }
        for family in FAMILIES {
            let count = |rig: &mut Rig| {
                let drops = rig.dataplane_mut().drops().unwrap();
                drops.into_iter().find(|(r, _)| *r == reason).unwrap().1
            };
            let syn = to_node(&packet::tcp(at(family.client, 40000), at(family.vip, 80), SYN, b""));
            let before = count(&mut rig);
            let (action, output) = rig.dataplane_mut().test_run(&syn).unwrap();
            assert_eq!((action, &output), (DROP, &syn), "{}: {reason:?}", family.name);
            assert_eq!(count(&mut rig), before + 1, "{}: {reason:?}", family.name);
        }
    }
}

/// A backend on another interface: redirected there, with the MACs of that link.
#[test]
fn backends_elsewhere_are_reached_by_redirect() {
    const REDIRECT: u32 = 4;
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, outside) = (TestNamespace::new("node"), TestNamespace::new("outside"));
    let test = async {
        let net = Net::inside(&node).unwrap();
        net.add_veth("eth1", "eth1", &outside).await.unwrap();
        let (eth1, own) = (net.index("eth1").await.unwrap(), Mac([2, 0, 0, 0, 1, 1]));
        let mut rig = rig(&services(), &HAD).await;
        rig.dataplane_mut().set_nic(eth1, own).unwrap();
        let installed = rig.dataplane_mut().installed().unwrap();
        for (&id, &member) in &installed.members {
            let elsewhere = Member {
                local: MacFlags::new(own, 0),
                interface: eth1,
                ..member
            };
            rig.dataplane_mut().apply(&MapOp::PutMember(id, elsewhere)).unwrap();
        }
        for f in FAMILIES {
            let packet = packet::tcp(at(f.client, 40000), at(f.vip, 80), SYN, b"");
            let (action, output) = rig.dataplane_mut().test_run(&to_node(&packet)).unwrap();
            let moved = packet::frame(mac_of([10, 0, 0, 1].into()), own, &packet);
            assert_eq!((action, output), (REDIRECT, moved), "{}", f.name);
            let stray = packet::frame(OTHER, CLIENT, &packet);
            assert_eq!(
                rig.dataplane_mut().test_run(&stray).unwrap(),
                (PASS, stray),
                "{}",
                f.name
            );
        }
    };
    // Interfaces are looked up in the namespace of the thread.
    let run = || tokio::runtime::Runtime::new().unwrap().block_on(test);
    node.run_inside(run).unwrap();
}

/// xorshift64*, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Whatever is in the frame: the program ends, nothing but what is sent changes, what is sent keeps its length, and
/// none of the poisoned headroom gets into it.
#[tokio::test(flavor = "multi_thread")]
async fn cut_and_mangled_packets_do_no_harm() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut rig = rig(&services(), &HAD).await;
    let whole: Vec<Vec<u8>> = FAMILIES
        .into_iter()
        .flat_map(both_families)
        .chain(one_family())
        .map(|case| case.input)
        .collect();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let cut = whole
        .iter()
        .flat_map(|frame| (14..frame.len()).map(|len| frame[..len].to_vec()));
    let mut frames: Vec<Vec<u8>> = cut.collect();
    for _ in 0..20_000 {
        let mut frame = whole[random.below(whole.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(frame.len());
            frame[at] = random.next() as u8;
        }
        if random.below(4) == 0 {
            frame.truncate(14 + random.below(frame.len() - 13));
        }
        frames.push(frame);
    }
    let mut actions = [0u32; 4];
    for frame in &frames {
        let (action, output) = rig.dataplane_mut().test_run(frame).unwrap();
        assert!((DROP..=TX).contains(&action), "action {action} for {frame:02x?}");
        actions[action as usize] += 1;
        if action == TX {
            assert_eq!(output.len(), frame.len());
            // Where a reply to an echo differs from its request: both MACs, addresses, hops, checksums and type.
            let v4 = frame[12..14] == [8, 0];
            let header = if v4 { usize::from(frame[14] & 0xf) * 4 } else { 40 };
            let (hops, addresses) = if v4 { (22, 26..34) } else { (21, 22..54) };
            let echo = output[..6] == frame[6..12];
            for (i, (before, after)) in frame.iter().zip(&output).enumerate().skip(12) {
                let free = echo
                    && (i == hops
                        || addresses.contains(&i)
                        || v4 && (24..26).contains(&i)
                        || i == 14 + header
                        || (16 + header..18 + header).contains(&i));
                assert!(
                    free || before == after,
                    "byte {i}: {before:02x} became {after:02x} in {frame:02x?}"
                );
            }
            if echo {
                let half = addresses.len() / 2;
                let (source, destination) = (addresses.start, addresses.start + half);
                assert_eq!(output[source..destination], frame[destination..destination + half]);
                assert_eq!(output[destination..destination + half], frame[source..destination]);
            }
        } else {
            assert_eq!(&output, frame, "action {action} leaves the frame alone");
        }
    }
    assert!(
        actions[DROP as usize] > 1000 && actions[PASS as usize] > 1000 && actions[TX as usize] > 1000,
        "{actions:?}"
    );
}

/// Weights 1:1:1:1:4 over 100,000 flows: shares within one percentage point; `explain` names the backend that the
/// program sends to, each time, and the counters agree.
#[tokio::test(flavor = "multi_thread")]
async fn shares_follow_weights_and_explain_agrees() {
    if gate::root() == Gate::Skip {
        return;
    }
    let toml = |vip: &str| {
        let backend = |i: u16| {
            let weight = if i == 5 { 4 } else { 1 };
            format!("[[service.backend]]\nname = \"web{i}\"\naddress = \"10.0.0.{i}:80\"\nweight = {weight}\n")
        };
        let backends: String = (1..=5).map(backend).collect();
        format!(
            "[node]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = [\"192.0.2.10:80\", \"{vip}\"]\nmode = \"dsr\"\n{backends}"
        )
    };
    const FLOWS: u32 = 50_000;
    let mut rig = rig(&toml("[2001:db8::10]:80"), &[]).await;
    let mut random = Random(42);
    let mut sent = std::collections::BTreeMap::<Mac, u64>::new();
    for family in FAMILIES {
        for _ in 0..FLOWS {
            let noise = random.next();
            let ip = match family.name {
                "IPv4" => IpAddr::from((noise as u32).to_be_bytes()),
                _ => IpAddr::from((u128::from(random.next()) << 64 | u128::from(noise)).to_be_bytes()),
            };
            let (source, destination) = (SocketAddr::new(ip, random.next() as u16), at(family.vip, 80));
            let frame = to_node(&packet::tcp(source, destination, SYN, b""));
            let (action, output) = rig.dataplane_mut().test_run(&frame).unwrap();
            assert_eq!(action, TX);
            let mac = Mac(output[..6].try_into().unwrap());
            *sent.entry(mac).or_default() += 1;
            let flow = FlowQuery {
                protocol: Protocol::Tcp,
                source,
                destination,
            };
            match rig.explain(&flow) {
                Explanation::Forwarded { address, .. } => assert_eq!(mac_of(address.ip()), mac, "{flow:?}"),
                other => panic!("{flow:?}: {other:?}"),
            }
        }
    }
    for backend in &rig.status().services[0].backends {
        let wanted = f64::from(backend.weight) / 8.0;
        let share = backend.counters.new_flows as f64 / f64::from(2 * FLOWS);
        assert!(
            (share - wanted).abs() < 0.01,
            "{}: {share} instead of {wanted}",
            backend.name
        );
        assert_eq!(
            sent[&mac_of(backend.address.ip())],
            backend.counters.new_flows,
            "{}",
            backend.name
        );
        let slots = f64::from(backend.slots) / 16384.0;
        assert!((slots - wanted).abs() < 0.001, "{}: {slots} of the ring", backend.name);
    }
}
