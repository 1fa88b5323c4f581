//! ICMP and ICMPv6 errors about packets of flows reach whom they concern: in `dsr` and `tunnel` the flow's backend, as they
//! are; in `nat` the other side, about the packet that it has sent, with every checksum right.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::net::IpAddr;

use lb_common::addr::Mac;
use lb_tests::gate::{self, Gate};
use lb_tests::modes::{How, Way, inside, mac, reaches, services, ways};
use lb_tests::nat::{Flow, Node, TX};
use lb_tests::packet::{self, ACK, SYN};
use lb_tests::rig::{CLIENT, NODE};
use lb_tests::shape::{PROVIDER, VLAN, extension, fragments, tagged, with_extensions, with_options};
use lb_tests::toml;

/// Errors by version, and whether they are any: type and code.
const V4: [(u8, u8); 5] = [(3, 1), (3, 3), (3, 4), (11, 0), (12, 0)];
const V6: [(u8, u8); 4] = [(1, 4), (2, 0), (3, 0), (4, 1)];

/// What an error may quote of a packet: so many bytes behind the network header, or all.
const QUOTED: [usize; 6] = [8, 12, 16, 18, 20, usize::MAX];

const TAGS: [&[(u16, u16)]; 3] = [&[], &[(VLAN, 5)], &[(PROVIDER, 7), (VLAN, 0x2005)]];

/// A router that is on nobody's side.
fn router(v4: bool) -> IpAddr {
    if v4 { "203.0.113.9" } else { "2001:db8:9::9" }.parse().unwrap()
}

/// An error from `from` to the sender of `about`.
fn error(from: IpAddr, (kind, code): (u8, u8), about: &[u8], quoted: usize) -> Vec<u8> {
    let v4 = about[0] >> 4 == 4;
    let header = if v4 { usize::from(about[0] & 0xf) * 4 } else { 40 };
    let to: IpAddr = if v4 {
        <[u8; 4]>::try_from(&about[12..16]).unwrap().into()
    } else {
        <[u8; 16]>::try_from(&about[8..24]).unwrap().into()
    };
    let quote = &about[..about.len().min(header.saturating_add(quoted))];
    packet::icmp(from, to, kind, code, &[&[0, 0, 5, 0x14], quote].concat())
}

fn kinds(v4: bool) -> &'static [(u8, u8)] {
    if v4 { &V4 } else { &V6 }
}

/// How what is quoted may look.
fn shapes(v4: bool) -> Vec<fn(Vec<u8>) -> Vec<u8>> {
    let plain: fn(Vec<u8>) -> Vec<u8> = |packet| packet;
    if v4 {
        vec![plain, |packet| with_options(&packet, &[1; 8])]
    } else {
        vec![plain]
    }
}

async fn node() -> Option<Node> {
    if gate::root() == Gate::Skip {
        return None;
    }
    Some(Node::new(&toml::file(services())).await)
}

fn opened(node: &mut Node, way: Way) -> Flow {
    reaches(node, way, &[], |flow| vec![flow.packet(SYN, b"")])
}

/// Every error about what `flow` has answered, once to the address that it was sent to.
#[tokio::test(flavor = "multi_thread")]
async fn errors_from_the_clients_side_reach_the_backend() {
    let Some(mut node) = node().await else { return };
    for way in ways() {
        let there = opened(&mut node, way);
        let v4 = way.flow.source.is_ipv4();
        for from in [way.flow.source.ip(), router(v4)] {
            for (&kind, quoted, shape) in kinds(v4)
                .iter()
                .flat_map(|kind| QUOTED.map(|quoted| (kind, quoted)))
                .flat_map(|(kind, quoted)| shapes(v4).into_iter().map(move |shape| (kind, quoted, shape)))
            {
                for tags in TAGS {
                    let about = |flow: Flow| error(from, kind, &shape(flow.reversed().packet(ACK, b"data")), quoted);
                    let sent = about(way.flow);
                    let (action, output) = node.send(&tagged(NODE, CLIENT, tags, &sent));
                    let what = format!("{way:?}: {kind:?} from {from}, {quoted} bytes");
                    assert_eq!(action, TX, "{what}");
                    let head = 14 + tags.len() * 4;
                    match way.how {
                        How::Dsr => assert_eq!(output, tagged(mac(way), NODE, tags, &sent), "{what}"),
                        How::Tunnel => {
                            let (_, inner) = inside(&output[head..], way.backend, sent.len());
                            assert_eq!(inner, sent, "{what}");
                        }
                        How::Nat => assert_eq!(output, tagged(mac(way), NODE, tags, &about(there)), "{what}"),
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_from_the_backends_side_reach_the_client_of_nat() {
    let Some(mut node) = node().await else { return };
    for way in ways().into_iter().filter(|way| way.how == How::Nat) {
        let there = opened(&mut node, way);
        let v4 = way.flow.source.is_ipv4();
        // Whoever it comes from, the client is to know the VIP only.
        for from in [way.backend, router(v4)] {
            for &kind in kinds(v4) {
                for quoted in QUOTED {
                    let about = |from, flow: Flow| error(from, kind, &flow.packet(ACK, b"data"), quoted);
                    let sent = tagged(NODE, mac(way), &[], &about(from, there));
                    let expected = tagged(CLIENT, NODE, &[], &about(way.flow.destination.ip(), way.flow));
                    assert_eq!(
                        node.send(&sent),
                        (TX, expected),
                        "{way:?}: {kind:?} from {from}, {quoted} bytes"
                    );
                }
            }
        }
    }
}

/// A datagram without a checksum stays without, also where it is quoted.
#[tokio::test(flavor = "multi_thread")]
async fn no_checksum_stays_none() {
    let Some(mut node) = node().await else { return };
    let way = ways()
        .into_iter()
        .find(|way| way.how == How::Nat && way.flow == Flow::udp("198.51.100.7:40000", "192.0.2.10:84"));
    let way = way.unwrap();
    let without = |flow: Flow| {
        let mut packet = flow.packet(0, b"data");
        packet[26..28].fill(0);
        packet
    };
    let there = reaches(&mut node, way, &[], |flow| vec![without(flow)]);
    let about = |flow: Flow| error(router(true), (3, 3), &without(flow.reversed()), usize::MAX);
    let sent = node.send(&tagged(NODE, CLIENT, &[], &about(way.flow)));
    assert_eq!(sent, (TX, tagged(mac(way), NODE, &[], &about(there))));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_about_nobodys_flow_pass() {
    let Some(mut node) = node().await else { return };
    for (client, vip) in [
        ("198.51.100.7:40000", "192.0.2.10"),
        ("[2001:db8:1::7]:40000", "[2001:db8::10]"),
    ] {
        let flow = |port: u16| Flow::tcp(client, &format!("{vip}:{port}"));
        let v4 = flow(1).source.is_ipv4();
        for &kind in kinds(v4) {
            let about = |flow: Flow| error(router(v4), kind, &flow.reversed().packet(ACK, b"data"), usize::MAX);
            // No service; no flow of `nat`.
            for port in [22, 83] {
                node.passes(&tagged(NODE, CLIENT, &[], &about(flow(port))));
            }
            let other = Mac([2, 0, 0, 0, 0, 0xee]);
            node.passes(&tagged(other, CLIENT, &[], &about(flow(80))));
            // What is quoted has no ports: another protocol, a later fragment, too short.
            let ip = |protocol| {
                packet::ip(
                    flow(80).destination.ip(),
                    flow(80).source.ip(),
                    protocol,
                    &[0, 80, 156, 64, 0, 0, 0, 0],
                )
            };
            node.passes(&tagged(
                NODE,
                CLIENT,
                &[],
                &error(router(v4), kind, &ip(47), usize::MAX),
            ));
            let later = fragments(&flow(80).reversed().packet(ACK, &[0; 100]), 64, 1)[1].clone();
            node.passes(&tagged(NODE, CLIENT, &[], &error(router(v4), kind, &later, usize::MAX)));
            let short = error(router(v4), kind, &flow(80).reversed().packet(ACK, b""), 7);
            node.passes(&tagged(NODE, CLIENT, &[], &short));
            // Not even where padding makes up for it.
            let mut padded = tagged(NODE, CLIENT, &[], &short);
            padded.resize(200, 0);
            node.passes(&padded);
        }
    }
}

/// What lies behind the packet is not part of what it quotes.
#[tokio::test(flavor = "multi_thread")]
async fn padding_is_left_alone() {
    let Some(mut node) = node().await else { return };
    for way in ways().into_iter().filter(|way| way.how == How::Nat) {
        let there = opened(&mut node, way);
        let v4 = way.flow.source.is_ipv4();
        let about = |flow: Flow| error(router(v4), kinds(v4)[0], &flow.reversed().packet(ACK, b"data"), 8);
        let padded = |mut frame: Vec<u8>| {
            frame.extend([0xee; 32]);
            frame
        };
        let sent = padded(tagged(NODE, CLIENT, &[], &about(way.flow)));
        let expected = padded(tagged(mac(way), NODE, &[], &about(there)));
        assert_eq!(node.send(&sent), (TX, expected), "{way:?}");
    }
}

/// The error itself may have extension headers.
#[tokio::test(flavor = "multi_thread")]
async fn errors_behind_extension_headers_are_errors() {
    let Some(mut node) = node().await else { return };
    for way in ways()
        .into_iter()
        .filter(|way| way.flow.source.is_ipv6() && way.how == How::Nat)
    {
        let there = opened(&mut node, way);
        let about = |flow: Flow| {
            let error = error(router(false), (2, 0), &flow.reversed().packet(ACK, b"data"), usize::MAX);
            with_extensions(&error, &[extension(60, 1)])
        };
        let sent = node.send(&tagged(NODE, CLIENT, &[], &about(way.flow)));
        assert_eq!(sent, (TX, tagged(mac(way), NODE, &[], &about(there))), "{way:?}");
    }
}
