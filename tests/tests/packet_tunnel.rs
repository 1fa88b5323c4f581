//! Packets in packets: what varies in the outer header, what does not fit, and the other end of the tunnel.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::stats::DropReason;
use lb_tests::gate::{self, Gate};
use lb_tests::modes::{How, Way, inside, mac, reaches, services, ways};
use lb_tests::nat::{DROP, Node, PASS, TX};
use lb_tests::packet::{self, ACK, SYN};
use lb_tests::rig::{CLIENT, NODE};
use lb_tests::shape::{PROVIDER, VLAN, fragments, tagged, with_options};
use lb_tests::toml;
use lb_user::dataplane::Dataplane as _;

const TAGS: [&[(u16, u16)]; 4] = [&[], &[(VLAN, 5)], &[(PROVIDER, 7)], &[(PROVIDER, 7), (VLAN, 0x2005)]];

async fn node() -> Option<Node> {
    if gate::root() == Gate::Skip {
        return None;
    }
    Some(Node::new(&toml::file(services())).await)
}

fn tunnels() -> impl Iterator<Item = Way> {
    ways().into_iter().filter(|way| way.how == How::Tunnel)
}

/// Sets type of service or traffic class.
fn with_class(packet: &[u8], class: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        packet::fix_ipv4(&mut packet);
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | packet[1] & 0xf;
    }
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn class_is_copied_outwards() {
    let Some(mut node) = node().await else { return };
    for way in tunnels() {
        for class in 0..=255 {
            reaches(&mut node, way, &[], |flow| {
                vec![with_class(&flow.packet(SYN, b""), class)]
            });
        }
    }
}

/// Every flow has one source, and many flows have many: all of the prefix but what chance leaves out.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_varies_with_the_flow() {
    let Some(mut node) = node().await else { return };
    for way in tunnels() {
        let mut sources = BTreeSet::new();
        let mut labels = BTreeSet::new();
        for port in 1..=2000 {
            let mut once = BTreeSet::new();
            for data in [&b""[..], b"data"] {
                let packet = way.flow.from_port(port).packet(ACK, data);
                let (action, output) = node.send(&tagged(NODE, CLIENT, &[], &packet));
                assert_eq!(action, TX);
                let (source, inner) = inside(&output[14..], way.backend, packet.len());
                assert_eq!(inner, packet);
                once.insert((source, output[15..18].to_vec()));
                labels.insert(output[15..18].to_vec());
                sources.insert(source);
            }
            if way.backend.is_ipv6() {
                assert_eq!(once.len(), 1, "one source and flow label for one flow");
            }
        }
        // Of 4096 addresses 2000 draws meet 1582 on average; of more all but a few.
        assert!(sources.len() > 1500, "{}", sources.len());
        assert!(way.backend.is_ipv4() || labels.len() > 1950, "{}", labels.len());
    }
}

/// A packet that fills the tunnel, and the one that is a byte longer: every byte of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_answered() {
    let Some(mut node) = node().await else { return };
    for way in tunnels() {
        let v4 = way.flow.source.is_ipv4();
        let overhead = if way.backend.is_ipv4() { 20 } else { 40 };
        let room = 1500 - overhead;
        for tags in TAGS {
            for options in [0, 8] {
                if options > 0 && !v4 {
                    continue;
                }
                let empty = way.flow.packet(ACK, b"").len() + options;
                let sized = |total: usize| {
                    let data: Vec<u8> = (0..total - empty).map(|i| i as u8).collect();
                    let packet = way.flow.packet(ACK, &data);
                    if options > 0 {
                        with_options(&packet, &[1; 8])
                    } else {
                        packet
                    }
                };
                reaches(&mut node, way, tags, |_| vec![sized(room)]);
                for total in [room + 1, 3000] {
                    let packet = sized(total);
                    let mut rest = vec![0, 0];
                    rest.extend((room as u16).to_be_bytes());
                    rest.extend(&packet[..96]);
                    let (vip, client): (IpAddr, IpAddr) = (way.flow.destination.ip(), way.flow.source.ip());
                    let mut answer = if v4 {
                        packet::icmp(vip, client, 3, 4, &rest)
                    } else {
                        packet::icmp(vip, client, 2, 0, &rest)
                    };
                    if v4 {
                        answer[1] = 0xc0;
                        answer[4..6].fill(0);
                        answer[8] = 64;
                        packet::fix_ipv4(&mut answer);
                    } else {
                        answer[..4].copy_from_slice(&[0x6c, 0, 0, 0]);
                        answer[7] = 64;
                    }
                    let before = node.kernel().drops().unwrap();
                    let sent = node.send(&tagged(NODE, CLIENT, tags, &packet));
                    assert_eq!(sent, (TX, tagged(CLIENT, NODE, tags, &answer)), "{way:?} {total}");
                    for ((reason, before), (_, after)) in before.into_iter().zip(node.kernel().drops().unwrap()) {
                        assert_eq!(after, before + u64::from(reason == DropReason::TooBig), "{reason:?}");
                    }
                }
            }
        }
    }
}

/// Nobody is told of an error, nor of a later fragment.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_answered_is_dropped() {
    let Some(mut node) = node().await else { return };
    for way in tunnels() {
        let v4 = way.flow.source.is_ipv4();
        let about = way.flow.reversed().packet(ACK, &[0; 1440]);
        let kind = if v4 { (3, 3) } else { (1, 4) };
        let error = packet::icmp(
            way.flow.source.ip(),
            way.flow.destination.ip(),
            kind.0,
            kind.1,
            &[&[0; 4], &about[..]].concat(),
        );
        node.drops(&tagged(NODE, CLIENT, &[], &error), DropReason::TooBig);
        let pieces = fragments(&way.flow.packet(ACK, &[0; 2952]), 1488, 5);
        let (first, _) = node.send(&tagged(NODE, CLIENT, &[], &pieces[0]));
        assert_eq!(first, TX, "this one may be answered");
        node.drops(&tagged(NODE, CLIENT, &[], &pieces[1]), DropReason::TooBig);
    }
}

/// What the balancer has put in, the other end takes out.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_end_takes_out_what_went_in() {
    let Some(mut node) = node().await else { return };
    for way in tunnels() {
        for tags in TAGS {
            for class in [0, 1, 2, 3, 0xb8 | 2] {
                let packet = with_class(&way.flow.packet(ACK, b"data"), class);
                let (action, outer) = node.send(&tagged(NODE, CLIENT, tags, &packet));
                assert_eq!(action, TX);
                let (action, inner) = node.kernel().test_entry("fulcrum_decap", &outer).unwrap();
                assert_eq!(action, PASS);
                assert_eq!(
                    inner,
                    tagged(mac(way), NODE, tags, &packet),
                    "{way:?} {tags:?} {class:#x}"
                );
                // Marked on the way (RFC 6040).
                let head = 14 + tags.len() * 4;
                let marked = [&outer[..head], &with_class(&outer[head..], class | 3)].concat();
                let (_, inner) = node.kernel().test_entry("fulcrum_decap", &marked).unwrap();
                let told = if class & 3 == 0 { class } else { class | 3 };
                assert_eq!(
                    inner,
                    tagged(mac(way), NODE, tags, &with_class(&packet, told)),
                    "{way:?} {class:#x}"
                );
            }
        }
        // What travels in nothing is left alone, and so are fragments of an outer packet.
        let plain = tagged(mac(way), NODE, &[], &way.flow.packet(ACK, b"data"));
        assert_eq!(
            node.kernel().test_entry("fulcrum_decap", &plain).unwrap(),
            (PASS, plain)
        );
        let (_, outer) = node.send(&tagged(NODE, CLIENT, &[], &way.flow.packet(ACK, &[0; 100])));
        for fragment in fragments(&outer[14..], 64, 1) {
            let frame = tagged(mac(way), NODE, &[], &fragment);
            assert_eq!(
                node.kernel().test_entry("fulcrum_decap", &frame).unwrap(),
                (PASS, frame)
            );
        }
        for length in 14..outer.len().min(80) {
            let cut = &outer[..length];
            let (action, _) = node.kernel().test_entry("fulcrum_decap", cut).unwrap();
            assert_ne!(action, DROP);
        }
    }
}
