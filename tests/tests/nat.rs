//! `nat`, packet by packet: exact bytes in both directions, what is counted, what the tables hold.
//!
//! Past 500 lines: all of it works on the same cases.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_common::addr::Mac;
use lb_common::stats::{Counters, DropReason};
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{DROP, Flow, Node, PASS, TX};
use lb_tests::packet::{self, ACK, FIN, RST, SYN};
use lb_tests::rig::{CLIENT, NODE, mac_of, own_address};
use lb_tests::toml::{self, service};
use lb_user::model::Protocol;

/// One backend for each service, at another port than the VIP's.
fn services() -> String {
    toml::file([
        service("web", "nat", &["192.0.2.10:80"]).backend("10.0.0.1:8080"),
        service("web6", "nat", &["[2001:db8::10]:80"]).backend("[fd00::1]:8080"),
        service("dns", "nat", &["192.0.2.10:53"]).udp().backend("10.0.0.2:5353"),
        service("dns6", "nat", &["[2001:db8::10]:53"])
            .udp()
            .backend("[fd00::2]:5353"),
        service("direct", "dsr", &["192.0.2.10:81"]).backend("10.0.0.3:81"),
    ])
}

/// Another node's MAC.
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0xee]);

/// A client of a service, and that service's backend.
#[derive(Clone, Copy)]
struct Case {
    service: &'static str,
    backend: &'static str,
    flow: fn() -> Flow,
}

impl Case {
    fn backend(self) -> SocketAddr {
        self.backend.parse().unwrap()
    }

    /// The node's own address towards the backend.
    fn own(self) -> IpAddr {
        own_address(self.backend().ip())
    }
}

const TCP: [Case; 2] = [
    Case {
        service: "web",
        backend: "10.0.0.1:8080",
        flow: || Flow::tcp("198.51.100.7:40000", "192.0.2.10:80"),
    },
    Case {
        service: "web6",
        backend: "[fd00::1]:8080",
        flow: || Flow::tcp("[2001:db8:1::7]:40000", "[2001:db8::10]:80"),
    },
];

const UDP: [Case; 2] = [
    Case {
        service: "dns",
        backend: "10.0.0.2:5353",
        flow: || Flow::udp("198.51.100.7:40000", "192.0.2.10:53"),
    },
    Case {
        service: "dns6",
        backend: "[fd00::2]:5353",
        flow: || Flow::udp("[2001:db8:1::7]:40000", "[2001:db8::10]:53"),
    },
];

fn everything() -> impl Iterator<Item = Case> {
    TCP.into_iter().chain(UDP)
}

/// The frame with `bytes` at `offset` behind the Ethernet header; IPv4 checksums are made right again.
fn patched(mut frame: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let packet = &mut frame[14..];
    packet[offset..offset + bytes.len()].copy_from_slice(bytes);
    if packet[0] >> 4 == 4 {
        packet::fix_ipv4(packet);
    }
    frame
}

/// Where TCP or UDP begins behind the Ethernet header, without options.
const fn header(flow: Flow) -> usize {
    if flow.source.is_ipv4() { 20 } else { 40 }
}

/// Out of [`Node::forwards`] and [`Node::answers`] come the very bytes that the plain builders make of the same packet
/// at its new addresses.
#[tokio::test(flavor = "multi_thread")]
async fn both_directions_are_rewritten_and_counted() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in everything() {
        let flow = (case.flow)();
        let mut expected = Counters::default();
        let mut there = None;
        // Lengths odd and even, and at last as much as fits.
        for data in [&b""[..], b"a", b"GET / HTTP/1.1\r\n", &[0xff; 1400]] {
            let flags = if there.is_none() { SYN } else { ACK };
            let seen = node.forwards(flow, flags, data);
            assert_eq!(*there.get_or_insert(seen), seen, "a flow keeps its translation");
            assert_eq!((seen.destination, seen.source.ip()), (case.backend(), case.own()));
            assert!((20_000..30_000).contains(&seen.source.port()), "{seen:?}");
            let flags = if data.is_empty() { SYN | ACK } else { ACK };
            node.answers(seen, flow, flags, data);
            let bytes = flow.frame(CLIENT, flags, data).len() as u64;
            expected += Counters {
                packets: 1,
                bytes,
                new_flows: u64::from(data.is_empty()),
                reply_packets: 1,
                reply_bytes: bytes,
            };
            assert_eq!(node.counters(case.service, case.backend()), expected, "{flow:?}");
        }
    }
    assert_eq!(node.flows(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_get_ports_of_their_own_and_meet_their_own_clients() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in everything() {
        let flows: Vec<_> = (0..300).map(|i| (case.flow)().from_port(1024 + i)).collect();
        let there: Vec<_> = flows.iter().map(|&flow| node.forwards(flow, SYN, b"x")).collect();
        let ports: BTreeSet<_> = there.iter().map(|t| t.source.port()).collect();
        assert_eq!(ports.len(), flows.len());
        for (&flow, &there) in flows.iter().zip(&there).rev() {
            node.answers(there, flow, SYN | ACK, b"y");
            assert_eq!(node.forwards(flow, ACK, b"z"), there);
        }
        assert_eq!(node.counters(case.service, case.backend()).new_flows, 300);
    }
    assert_eq!(node.flows(), 1200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_no_flow_is_the_kernels() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in TCP {
        let flow = (case.flow)();
        for flags in [ACK, FIN | ACK, RST, RST | ACK, SYN | ACK, 0, 0x3f] {
            node.passes(&flow.frame(CLIENT, flags, b"data"));
        }
    }
    for case in everything() {
        let flow = (case.flow)();
        // Frames for others: nothing becomes of them, and nothing is remembered.
        for mac in [OTHER, Mac([0xff; 6])] {
            node.passes(&packet::frame(mac, CLIENT, &flow.packet(SYN, b"")));
        }
        // To the node's own address, from a backend and from others, at ports of the range and others.
        let own = case.own();
        for port in [20_000, 22, 29_999, 33_000] {
            for source in [case.backend(), SocketAddr::new(flow.source.ip(), 999)] {
                let stray = Flow {
                    source,
                    destination: SocketAddr::new(own, port),
                    ..flow
                };
                for flags in [SYN, SYN | ACK, ACK, RST] {
                    node.passes(&stray.frame(CLIENT, flags, b"x"));
                }
            }
        }
        let (request, v4) = if own.is_ipv4() { (8, true) } else { (128, false) };
        let peer = case.backend().ip();
        node.passes(&packet::frame(
            NODE,
            CLIENT,
            &packet::icmp(peer, own, request, 0, &[0; 8]),
        ));
        node.passes(&packet::frame(NODE, CLIENT, &packet::ip(peer, own, 47, &[0; 8])));
        node.passes(&packet::frame(NODE, CLIENT, &packet::ip(peer, own, 6, &[0; 3])));
        if v4 {
            let fragment = patched(
                packet::frame(NODE, CLIENT, &flow.reversed().packet(ACK, b"")),
                6,
                &[0x20, 0],
            );
            node.passes(&fragment);
        }
    }
    assert_eq!(node.flows(), 0);
    assert!(node.dropped().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_for_this_node_and_sound() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in everything() {
        let flow = (case.flow)();
        let there = node.forwards(flow, SYN, b"");
        let answer = there.reversed().packet(SYN | ACK, b"answer");
        let lease = node.lease(there);
        node.passes(&packet::frame(OTHER, CLIENT, &answer));
        let sound = packet::frame(NODE, CLIENT, &answer);
        let l4 = header(there);
        let (bad, reason) = match flow.protocol {
            Protocol::Tcp => (patched(sound.clone(), l4 + 12, &[0x40]), DropReason::MalformedTcp),
            Protocol::Udp => (patched(sound.clone(), l4 + 4, &[0, 7]), DropReason::MalformedUdp),
        };
        node.drops(&bad, reason);
        // The length of IP beyond the frame: nobody's but the kernel's.
        let total = if flow.source.is_ipv4() { 2 } else { 4 };
        node.passes(&patched(sound, total, &[0xff, 0xff]));
        // From another port or address of the backend's: of no flow.
        let other = Flow {
            source: SocketAddr::new(case.backend().ip(), 9),
            ..there.reversed()
        };
        node.passes(&other.frame(CLIENT, ACK, b""));
        assert_eq!(node.lease(there), lease, "none of them was heard");
        assert_eq!(node.counters(case.service, case.backend()).reply_packets, 0);
        node.answers(there, flow, SYN | ACK, b"answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_packets_are_dropped_and_leave_nothing() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in everything() {
        let flow = (case.flow)();
        let (sound, l4) = (flow.frame(CLIENT, SYN, b"data"), header(flow));
        let cases: &[(usize, &[u8], DropReason)] = match flow.protocol {
            Protocol::Tcp => &[
                (12, &[0x40], DropReason::MalformedTcp),
                (12, &[0x70], DropReason::MalformedTcp),
            ],
            Protocol::Udp => &[
                (4, &[0, 7], DropReason::MalformedUdp),
                (4, &[0, 13], DropReason::MalformedUdp),
            ],
        };
        for &(at, bytes, reason) in cases {
            node.drops(&patched(sound.clone(), l4 + at, bytes), reason);
        }
        let (total, reason) = if flow.source.is_ipv4() {
            (2, DropReason::MalformedIpv4)
        } else {
            (4, DropReason::MalformedIpv6)
        };
        node.drops(&patched(sound.clone(), total, &[0xff, 0xff]), reason);
        let number = flow.protocol.number();
        let short = &sound[14 + l4..14 + l4 + 6];
        let short = packet::ip(flow.source.ip(), flow.destination.ip(), number, short);
        node.drops(&packet::frame(NODE, CLIENT, &short), DropReason::Truncated);
        assert_eq!(node.flows(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn icmp_and_dsr_are_as_without_nat() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in TCP {
        let flow = (case.flow)();
        node.forwards(flow, SYN, b"");
        let (client, vip) = (flow.source.ip(), flow.destination.ip());
        let v4 = vip.is_ipv4();
        let (request, reply) = if v4 { (8, 0) } else { (128, 129) };
        let echo = packet::icmp(client, vip, request, 0, &[0xab, 0xcd, 0, 1, 5, 6]);
        let mut answer = packet::icmp(vip, client, reply, 0, &[0xab, 0xcd, 0, 1, 5, 6]);
        answer[if v4 { 8 } else { 7 }] = 64;
        if v4 {
            packet::fix_ipv4(&mut answer);
        }
        let sent = node.send(&packet::frame(NODE, CLIENT, &echo));
        assert_eq!(sent, (TX, packet::frame(CLIENT, NODE, &answer)));
        let unreachable = packet::icmp(client, vip, if v4 { 3 } else { 1 }, 0, &[0; 32]);
        node.passes(&packet::frame(NODE, CLIENT, &unreachable));
        node.drops(
            &Flow::tcp("198.51.100.7:1", "192.0.2.10:22").frame(CLIENT, SYN, b""),
            DropReason::Undeclared,
        );
    }
    let direct = Flow::tcp("198.51.100.7:40000", "192.0.2.10:81").packet(SYN, b"");
    let sent = node.send(&packet::frame(NODE, CLIENT, &direct));
    assert_eq!(sent, (TX, packet::frame(mac_of([10, 0, 0, 3].into()), NODE, &direct)));
    assert_eq!(node.flows(), 2);
}

/// Replies go where the client's packets come from last.
#[tokio::test(flavor = "multi_thread")]
async fn answers_follow_the_clients_mac() {
    const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0xc2]);
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in everything() {
        let flow = (case.flow)();
        let there = node.forwards(flow, SYN, b"");
        node.answers(there, flow, SYN | ACK, b"");
        for mac in [ROUTER, CLIENT, ROUTER] {
            let (action, output) = node.send(&flow.frame(mac, ACK, b"x"));
            assert_eq!((action, Flow::read(&output)), (TX, there));
            let (action, output) = node.send(&there.reversed().frame(CLIENT, ACK, b"y"));
            let expected = packet::frame(mac, NODE, &flow.reversed().packet(ACK, b"y"));
            assert_eq!((action, output), (TX, expected));
        }
    }
}

/// RFC 768: a checksum of 0 means that there is none, so one that is computed as 0 is sent as 0xFFFF.
#[tokio::test(flavor = "multi_thread")]
async fn udp_checksums_of_zero() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    for case in UDP {
        let flow = (case.flow)();
        let there = node.forwards(flow, 0, b"open");
        let at = header(flow) + 6;
        let directions = [
            (flow, there, mac_of(case.backend().ip())),
            (there.reversed(), flow.reversed(), CLIENT),
        ];
        for (from, to, mac) in directions {
            // Before or after: one of the two comes to 0 for some data.
            for zero in [from, to] {
                let data = (0..=u16::MAX)
                    .map(u16::to_be_bytes)
                    .find(|data| zero.packet(0, data)[at..at + 2] == [0xff, 0xff])
                    .unwrap();
                let frame = |of: Flow| packet::frame(NODE, CLIENT, &of.packet(0, &data));
                let (action, output) = node.send(&frame(from));
                let expected = packet::ethernet(mac, NODE, ether_type(from), &frame(to)[14..]);
                assert_eq!((action, output), (TX, expected), "{from:?}");
            }
            if from.source.is_ipv4() {
                let none = |of: Flow| patched(packet::frame(NODE, CLIENT, &of.packet(0, b"data")), at, &[0, 0]);
                let (action, output) = node.send(&none(from));
                let expected = packet::ethernet(mac, NODE, 0x0800, &none(to)[14..]);
                assert_eq!((action, output), (TX, expected), "without a checksum, {from:?}");
            }
        }
    }
}

const fn ether_type(flow: Flow) -> u16 {
    if flow.source.is_ipv4() { 0x0800 } else { 0x86dd }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_and_padding_stay() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    let with_options = |flow: Flow, options: &[u8], flags| {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (flow.source.ip(), flow.destination.ip()) else {
            unreachable!()
        };
        let number = flow.protocol.number();
        packet::ipv4(source, destination, number, options, &flow.packet(flags, b"data")[20..])
    };
    for case in [TCP[0], UDP[0]] {
        let flow = (case.flow)();
        for options in [&[7, 7, 4, 0, 0, 0, 0, 0][..], &[1; 40]] {
            let (action, output) = node.send(&packet::frame(NODE, CLIENT, &with_options(flow, options, SYN)));
            let there = Flow::read(&output);
            let mac = mac_of(case.backend().ip());
            assert_eq!(
                (action, output),
                (TX, packet::frame(mac, NODE, &with_options(there, options, SYN)))
            );
            let answer = packet::frame(NODE, mac, &with_options(there.reversed(), options, ACK));
            let expected = packet::frame(CLIENT, NODE, &with_options(flow.reversed(), options, ACK));
            assert_eq!(node.send(&answer), (TX, expected));
        }
    }
    for case in everything() {
        let flow = (case.flow)();
        let padding = [0xaa; 18];
        let (action, output) = node.send(&[flow.frame(CLIENT, SYN, b""), padding.to_vec()].concat());
        let there = Flow::read(&output);
        let expected = packet::frame(mac_of(case.backend().ip()), NODE, &there.packet(SYN, b""));
        assert_eq!((action, output), (TX, [expected, padding.to_vec()].concat()));
    }
}

/// Whatever is in the frame: it keeps its length, and only what is translated changes.
#[tokio::test(flavor = "multi_thread")]
async fn cut_and_mangled_packets_do_no_harm() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::new(&services()).await;
    let mut whole = Vec::new();
    for case in everything() {
        let flow = (case.flow)();
        let there = node.forwards(flow, SYN, b"");
        whole.push(flow.frame(CLIENT, ACK, b"some data"));
        whole.push(there.reversed().frame(CLIENT, ACK, b"some data"));
    }
    // xorshift64*, so that a failure can be repeated.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |end: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 20) as usize % end
    };
    let mut frames: Vec<Vec<u8>> = whole
        .iter()
        .flat_map(|frame| (14..=frame.len()).map(|len| frame[..len].to_vec()))
        .collect();
    for _ in 0..20_000 {
        let mut frame = whole[below(whole.len())].clone();
        for _ in 0..=below(3) {
            let at = below(frame.len());
            frame[at] = below(256) as u8;
        }
        frames.push(frame);
    }
    let mut actions = [0; 4];
    for frame in &frames {
        let (action, output) = node.send(frame);
        assert!((DROP..=TX).contains(&action), "action {action} for {frame:02x?}");
        actions[action as usize] += 1;
        if action == PASS {
            assert_eq!(&output, frame);
        } else if action == TX {
            let v4 = frame[12..14] == [8, 0];
            let header = if v4 { usize::from(frame[14] & 0xf) * 4 } else { 40 };
            let udp = frame[if v4 { 23 } else { 20 }] == 17;
            let l4 = 14 + header;
            let sum = l4 + if udp { 6 } else { 16 };
            assert_eq!(output.len(), frame.len());
            for (i, (before, after)) in frame.iter().zip(&output).enumerate().skip(12) {
                let free = if v4 {
                    (24..34).contains(&i)
                } else {
                    (22..54).contains(&i)
                } || (l4..l4 + 4).contains(&i)
                    || (sum..sum + 2).contains(&i);
                // An answer to an echo request differs elsewhere; it goes back to who has asked.
                let echo = output[..6] == frame[6..12] && output[6..12] == frame[..6] && output[6..12] == NODE.0;
                assert!(free || before == after || echo, "byte {i} of {frame:02x?}");
            }
        }
    }
    assert!(actions[DROP as usize..].iter().all(|&n| n > 500), "{actions:?}");
}
