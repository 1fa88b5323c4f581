//! Packets with VLAN tags, options, extension headers, in fragments and in several buffers: in every mode they reach the
//! backend in the shape that they came in, and in `nat` the client likewise.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use lb_common::stats::DropReason;
use lb_tests::gate::{self, Gate};
use lb_tests::modes::{How, Way, answers, reaches, services, ways};
use lb_tests::nat::{Flow, Node, TX};
use lb_tests::packet::{self, ACK, SYN};
use lb_tests::rig::{CLIENT, NODE};
use lb_tests::shape::{PROVIDER, VLAN, authentication, extension, fragments, tagged, with_extensions, with_options};
use lb_tests::toml;
use lb_user::model::Protocol;

/// No tag, one of each kind, both, and two of a kind.
const TAGS: [&[(u16, u16)]; 5] = [
    &[],
    &[(VLAN, 0x6005)],
    &[(PROVIDER, 7)],
    &[(PROVIDER, 7), (VLAN, 0x2005)],
    &[(VLAN, 7), (VLAN, 8)],
];

async fn node() -> Option<Node> {
    if gate::root() == Gate::Skip {
        return None;
    }
    Some(Node::new(&toml::file(services())).await)
}

/// The packets of one shape, in both directions where the node sees both.
#[track_caller]
fn travels(node: &mut Node, way: Way, tags: &[(u16, u16)], shape: impl Fn(Flow) -> Vec<Vec<u8>>) {
    let there = reaches(node, way, tags, &shape);
    if way.how == How::Nat {
        answers(node, way, there, tags, &shape);
    }
}

fn opened(node: &mut Node, way: Way) {
    reaches(node, way, &[], |flow| vec![flow.packet(SYN, b"")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_kept() {
    let Some(mut node) = node().await else { return };
    for way in ways() {
        for tags in TAGS {
            travels(&mut node, way, tags, |flow| {
                vec![flow.packet(SYN, b""), flow.packet(ACK, b"data")]
            });
        }
    }
    let way = ways()[0];
    let three = tagged(
        NODE,
        CLIENT,
        &[(VLAN, 1), (VLAN, 2), (VLAN, 3)],
        &way.flow.packet(SYN, b""),
    );
    node.passes(&three);
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_is_answered_behind_tags_options_and_extension_headers() {
    let Some(mut node) = node().await else { return };
    for (client, vip, request) in [
        ("198.51.100.7", "192.0.2.10", 8),
        ("2001:db8:1::7", "2001:db8::10", 128),
    ] {
        let (client, vip): (std::net::IpAddr, std::net::IpAddr) = (client.parse().unwrap(), vip.parse().unwrap());
        let v4 = client.is_ipv4();
        let shapes: [Vec<u8>; 2] = if v4 { [vec![], vec![1; 8]] } else { [vec![], vec![60]] };
        for tags in TAGS {
            for shape in &shapes {
                let shaped = |packet: Vec<u8>| match (v4, shape.is_empty()) {
                    (_, true) => packet,
                    (true, _) => with_options(&packet, shape),
                    (false, _) => with_extensions(&packet, &[extension(60, 1)]),
                };
                let echo = shaped(packet::icmp(client, vip, request, 0, &[1, 2, 3, 4, 5, 6]));
                let kind = if v4 { 0 } else { 129 };
                let mut reply = shaped(packet::icmp(vip, client, kind, 0, &[1, 2, 3, 4, 5, 6]));
                reply[if v4 { 8 } else { 7 }] = 64;
                if v4 {
                    packet::fix_ipv4(&mut reply);
                }
                let sent = node.send(&tagged(NODE, CLIENT, tags, &echo));
                assert_eq!(sent, (TX, tagged(CLIENT, NODE, tags, &reply)));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_stepped_over() {
    let Some(mut node) = node().await else { return };
    for way in ways().into_iter().filter(|way| way.flow.source.is_ipv4()) {
        for tags in TAGS {
            for length in [4, 8, 36, 40] {
                travels(&mut node, way, tags, |flow| {
                    let options = vec![1; length];
                    vec![
                        with_options(&flow.packet(SYN, b""), &options),
                        with_options(&flow.packet(ACK, b"odd"), &options),
                    ]
                });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extension_headers_are_walked() {
    let Some(mut node) = node().await else { return };
    let atomic = (44, vec![0, 0, 0, 0, 0, 0, 9]);
    let chains: Vec<Vec<(u8, Vec<u8>)>> = vec![
        vec![extension(0, 0)],
        vec![extension(0, 3)],
        vec![extension(43, 2)],
        vec![extension(60, 0)],
        vec![extension(60, 31)],
        vec![authentication(1)],
        vec![authentication(4)],
        vec![atomic.clone()],
        vec![
            extension(0, 0),
            extension(60, 1),
            extension(43, 0),
            atomic,
            authentication(2),
            extension(60, 0),
        ],
    ];
    for way in ways().into_iter().filter(|way| way.flow.source.is_ipv6()) {
        for tags in TAGS {
            for chain in &chains {
                travels(&mut node, way, tags, |flow| {
                    vec![
                        with_extensions(&flow.packet(SYN, b""), chain),
                        with_extensions(&flow.packet(ACK, b"odd"), chain),
                    ]
                });
            }
        }
        let many = vec![extension(60, 0); 7];
        let frame =
            |chain: &[_], flow: Flow| tagged(NODE, CLIENT, &[], &with_extensions(&flow.packet(SYN, b""), chain));
        node.drops(&frame(&many, way.flow), DropReason::ExtensionHeaders);
        // Longer than is gone, though few.
        let long = vec![extension(60, 255), extension(60, 255)];
        let long = frame(&long, way.flow);
        if long.len() < 3500 {
            node.drops(&long, DropReason::ExtensionHeaders);
        }
        let cut = frame(&[extension(60, 4)], way.flow);
        let mut beyond = cut.clone();
        beyond[14 + 41] = 200;
        node.drops(&beyond, DropReason::MalformedIpv6);
        let mut cut = cut[..14 + 40 + 1].to_vec();
        cut[14 + 4..14 + 6].copy_from_slice(&[0, 1]);
        node.drops(&cut, DropReason::Truncated);
    }
    let nobody = Flow::tcp("[2001:db8:1::7]:40000", "[2001:db8::99]:80").packet(SYN, b"");
    node.passes(&tagged(
        NODE,
        CLIENT,
        &[],
        &with_extensions(&nobody, &vec![extension(60, 0); 7]),
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn later_fragments_follow_the_first() {
    let Some(mut node) = node().await else { return };
    for (i, way) in ways().into_iter().enumerate() {
        opened(&mut node, way);
        for (j, tags) in TAGS.into_iter().enumerate() {
            let id = (i * 100 + j) as u16;
            let shape = |flow: Flow| fragments(&flow.packet(ACK, &[7; 1000]), 400, id);
            travels(&mut node, way, tags, shape);
            let backwards = |flow: Flow| fragments(&flow.packet(ACK, &[7; 1000]), 400, id + 50)[1].clone();
            node.drops(&tagged(NODE, CLIENT, tags, &backwards(way.flow)), DropReason::Fragment);
        }
    }
    // Of another sender, another protocol, or with another number: not of the same packet.
    let way = ways()[0];
    let known = fragments(&way.flow.packet(ACK, &[7; 100]), 64, 0)[1].clone();
    assert_eq!(node.send(&tagged(NODE, CLIENT, &[], &known)).0, TX);
    let elsewhere = Flow {
        source: "198.51.100.8:40000".parse().unwrap(),
        ..way.flow
    };
    let other = fragments(&elsewhere.packet(ACK, &[7; 100]), 64, 0)[1].clone();
    node.drops(&tagged(NODE, CLIENT, &[], &other), DropReason::Fragment);
    let udp = Flow {
        protocol: Protocol::Udp,
        ..way.flow
    };
    let other = fragments(&udp.packet(0, &[7; 100]), 64, 0)[1].clone();
    node.drops(&tagged(NODE, CLIENT, &[], &other), DropReason::Fragment);
}

/// A first fragment that does not hold all of the header is nobody's friend (RFC 1858, RFC 7112), even where padding
/// would make up for it.
#[tokio::test(flavor = "multi_thread")]
async fn tiny_fragments_are_dropped() {
    let Some(mut node) = node().await else { return };
    for way in ways().into_iter().filter(|way| way.flow.protocol == Protocol::Tcp) {
        opened(&mut node, way);
        let tiny = fragments(&way.flow.packet(ACK, &[0x50; 100]), 8, 77)[0].clone();
        let mut frame = tagged(NODE, CLIENT, &[], &tiny);
        frame.resize(120, 0x50);
        node.drops(&frame, DropReason::Truncated);
    }
}

/// What lies in several buffers is forwarded like what lies in one, and counted with all its bytes.
#[tokio::test(flavor = "multi_thread")]
async fn jumbo_frames_travel() {
    let Some(mut node) = node().await else { return };
    let mut data = vec![0; 8000];
    for (i, byte) in data.iter_mut().enumerate() {
        *byte = i as u8;
    }
    for way in ways() {
        opened(&mut node, way);
        if way.how == How::Tunnel {
            continue;
        }
        let service = |node: &Node| {
            let status = node.rig.status();
            let backends = status.services.iter().flat_map(|s| s.backends.clone());
            backends
                .filter(|b| b.address.ip() == way.backend)
                .map(|b| b.counters)
                .next()
                .unwrap()
        };
        let before = service(&node);
        travels(&mut node, way, &[], |flow| vec![flow.packet(ACK, &data)]);
        let after = service(&node);
        let frame = tagged(NODE, CLIENT, &[], &way.flow.packet(ACK, &data)).len() as u64;
        assert_eq!(after.bytes - before.bytes, frame, "{way:?}");
        if way.how == How::Nat {
            assert_eq!(after.reply_bytes - before.reply_bytes, frame, "{way:?}");
        }
    }
}
