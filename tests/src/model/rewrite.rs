//! What a packet becomes. Where it is changed, what is wrong with a checksum before is as wrong afterwards, and no more:
//! the sum over all that a checksum covers, itself included, stays the same.

use std::net::IpAddr;

use lb_common::backend::Member;
use lb_common::nat::NatKey;

use super::{Packet, Part, Quote};
use crate::packet;
use crate::rig::NODE;

/// A frame that is sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// Offsets of checksums: 0 and 0xFFFF are the same there.
    pub checksums: Vec<usize>,
}

impl PartialEq for Sent {
    fn eq(&self, other: &Self) -> bool {
        self.frame.len() == other.frame.len()
            && self.settled()
                == Self {
                    checksums: self.checksums.clone(),
                    ..other.clone()
                }
                .settled()
    }
}

impl Eq for Sent {}

impl Sent {
    fn settled(&self) -> Vec<u8> {
        let mut frame = self.frame.clone();
        for &at in &self.checksums {
            if frame[at..at + 2] == [0, 0] {
                frame[at..at + 2].fill(0xff);
            }
        }
        frame
    }
}

fn sum(parts: &[&[u8]]) -> u32 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let total: u64 = words
        .map(|w| u64::from(w[0]) << 8 | u64::from(w.get(1).copied().unwrap_or(0)))
        .sum();
    (total % 65_535) as u32
}

/// Sets the checksum at `at` of `bytes` so that the sum of them and of `extra` is `wanted`.
fn settle(bytes: &mut [u8], at: usize, extra: &[u8], wanted: u32) {
    bytes[at..at + 2].fill(0);
    let rest = sum(&[bytes, extra]);
    let checksum = ((wanted + 65_535 - rest) % 65_535) as u16;
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The addresses of an IP header, as they lie in it.
fn addresses(v4: bool, l3: usize) -> std::ops::Range<usize> {
    if v4 { l3 + 12..l3 + 20 } else { l3 + 8..l3 + 40 }
}

/// As the program has it: IPv6 of a flow of IPv6.
fn pair(v4: bool, key: &NatKey) -> Vec<u8> {
    let both = [key.source, key.destination];
    if v4 {
        both.iter().flat_map(|ip| ip.last_v4().octets()).collect()
    } else {
        both.iter().flat_map(|ip| ip.octets()).collect()
    }
}

fn ports(key: &NatKey) -> [u8; 4] {
    let [a, b] = key.ports.source.host().to_be_bytes();
    let [c, d] = key.ports.destination.host().to_be_bytes();
    [a, b, c, d]
}

/// With another destination.
pub(super) fn moved(frame: &[u8], mac: [u8; 6]) -> Sent {
    Sent {
        frame: [&mac[..], &NODE.0, &frame[12..]].concat(),
        checksums: Vec::new(),
    }
}

/// Writes addresses into an IP header, and keeps its checksum as right as it was.
fn readdress(frame: &mut [u8], v4: bool, l3: usize, end: usize, new: &[u8], checksums: &mut Vec<usize>) {
    if v4 {
        let header = &mut frame[l3..end];
        let before = sum(&[header]);
        header[12..20].copy_from_slice(new);
        settle(header, 10, &[], before);
        checksums.push(l3 + 10);
    } else {
        frame[l3 + 8..l3 + 40].copy_from_slice(new);
    }
}

/// With the addresses and ports of `to`.
pub(super) fn translated(frame: &[u8], packet: &Packet, to: &NatKey, mac: [u8; 6]) -> Sent {
    let mut sent = moved(frame, mac);
    let range = addresses(packet.v4, packet.l3);
    let old = frame[range].to_vec();
    let new = pair(packet.v4, to);
    if packet.part != Part::Later {
        let at = if packet.protocol == 6 { 16 } else { 6 };
        let segment = &mut sent.frame[packet.l4..];
        let before = sum(&[segment, &old]);
        let none = packet.protocol == 17 && segment[at..at + 2] == [0, 0];
        segment[..4].copy_from_slice(&ports(to));
        if !none {
            settle(segment, at, &new, before);
            sent.checksums.push(packet.l4 + at);
        }
    }
    // Options are part of the header.
    let end = if packet.v4 {
        packet.l3 + usize::from(frame[packet.l3] & 15) * 4
    } else {
        0
    };
    readdress(&mut sent.frame, packet.v4, packet.l3, end, &new, &mut sent.checksums);
    sent
}

/// An error, about the packet that it was: one with the addresses and ports of `was`.
pub(super) fn error(frame: &[u8], packet: &Packet, quote: &Quote, was: &NatKey, mac: [u8; 6], hides: bool) -> Sent {
    let mut sent = moved(frame, mac);
    let v4 = packet.v4;
    // What is quoted goes the other way.
    let (from, to) = (was.source, was.destination);
    let end = packet.l3 + packet.total;
    let message_before = sum(&[
        &frame[packet.l4..],
        if v4 { &[] } else { &frame[addresses(v4, packet.l3)] },
    ]);
    let new = pair(v4, was);
    let at = quote.l4 + if quote.protocol == 6 { 16 } else { 6 };
    let old = frame[addresses(v4, quote.l3)].to_vec();
    let old_ports = frame[quote.l4..quote.l4 + 4].to_vec();
    sent.frame[quote.l4..quote.l4 + 4].copy_from_slice(&ports(was));
    if at + 2 <= end && !(quote.protocol == 17 && frame[at..at + 2] == [0, 0]) {
        let before = sum(&[&frame[at..at + 2], &old, &old_ports]);
        let extra = [&new[..], &ports(was)].concat();
        settle(&mut sent.frame[at..at + 2], 0, &extra, before);
        sent.checksums.push(at);
    }
    readdress(&mut sent.frame, v4, quote.l3, quote.l4, &new, &mut sent.checksums);
    // The error itself goes to who has sent what it quotes.
    let mut outer = frame[addresses(v4, packet.l3)].to_vec();
    let half = outer.len() / 2;
    let short = |ip: lb_common::addr::Ipv6Be| {
        if v4 {
            ip.last_v4().octets().to_vec()
        } else {
            ip.octets().to_vec()
        }
    };
    outer[half..].copy_from_slice(&short(from));
    if hides {
        outer[..half].copy_from_slice(&short(to));
    }
    let header = packet.l3 + if v4 { usize::from(frame[packet.l3] & 15) * 4 } else { 0 };
    readdress(&mut sent.frame, v4, packet.l3, header, &outer, &mut sent.checksums);
    let extra = if v4 { Vec::new() } else { outer };
    settle(&mut sent.frame[packet.l4..], 2, &extra, message_before);
    sent.checksums.push(packet.l4 + 2);
    sent
}

/// The reply to an echo request.
pub(super) fn echo(frame: &[u8], packet: &Packet) -> Sent {
    let mut sent = moved(frame, frame[6..12].try_into().expect("6 bytes"));
    let range = addresses(packet.v4, packet.l3);
    let half = range.len() / 2;
    let old = frame[range.clone()].to_vec();
    if packet.v4 {
        let header = usize::from(frame[packet.l3] & 15) * 4;
        let header = &mut sent.frame[packet.l3..packet.l3 + header];
        let before = sum(&[header]);
        header[8] = 64;
        settle(header, 10, &[], before);
        sent.checksums.push(packet.l3 + 10);
    } else {
        sent.frame[packet.l3 + 7] = 64;
    }
    sent.frame[range].copy_from_slice(&[&old[half..], &old[..half]].concat());
    let message = &mut sent.frame[packet.l4..];
    let before = sum(&[message]);
    message[0] = if packet.v4 { 0 } else { 129 };
    settle(message, 2, &[], before);
    sent.checksums.push(packet.l4 + 2);
    sent
}

fn class(frame: &[u8], packet: &Packet) -> u8 {
    let ip = &frame[packet.l3..];
    if packet.v4 { ip[1] } else { ip[0] << 4 | ip[1] >> 4 }
}

/// Tags, and the ether type of the family.
fn ethernet(destination: &[u8], source: &[u8], frame: &[u8], l3: usize, v4: bool) -> Vec<u8> {
    let kind: [u8; 2] = if v4 { [8, 0] } else { [0x86, 0xdd] };
    [destination, source, &frame[12..l3 - 2], &kind].concat()
}

/// In another packet.
pub(super) fn outer(frame: &[u8], packet: &Packet, member: &Member, hash: u64) -> Sent {
    let class = class(frame, packet);
    let next = if packet.v4 { 4 } else { 41 };
    let v4 = member.address.is_v4();
    let varied = (hash >> 32) as u32 & ((1u64 << member.outer().varied) - 1) as u32;
    let inner = &frame[packet.l3..packet.l3 + packet.total];
    let header = match (member.source.to_ip(), member.address.to_ip()) {
        (IpAddr::V4(source), destination @ IpAddr::V4(_)) => {
            let source = std::net::Ipv4Addr::from(u32::from(source) | varied);
            let mut outer = packet::ip(source.into(), destination, next, inner);
            outer[1] = class;
            outer[4..6].fill(0);
            outer[8] = 64;
            packet::fix_ipv4(&mut outer);
            outer[..20].to_vec()
        }
        (IpAddr::V6(source), destination) => {
            let source = std::net::Ipv6Addr::from(u128::from(source) | u128::from(varied));
            let mut outer = packet::ip(source.into(), destination, next, inner);
            let label = (hash >> 40) as u32 & 0xf_ffff;
            let first = 6 << 28 | u32::from(class) << 20 | label;
            outer[..4].copy_from_slice(&first.to_be_bytes());
            outer[7] = 64;
            outer[..40].to_vec()
        }
        _ => panic!("a tunnel of two families"),
    };
    let ethernet = ethernet(&member.next_hop.mac().0, &NODE.0, frame, packet.l3, v4);
    // What lies behind the packet stays there.
    let sent = [&ethernet, &header, &frame[packet.l3..]].concat();
    Sent {
        frame: sent,
        checksums: Vec::new(),
    }
}

/// "Fragmentation needed", or "packet too big".
pub(super) fn too_big(frame: &[u8], packet: &Packet, mtu: u16) -> Sent {
    let mut rest = vec![0, 0];
    rest.extend(mtu.to_be_bytes());
    rest.extend(&frame[packet.l3..packet.l3 + 96]);
    let mut answer = if packet.v4 {
        packet::icmp(packet.destination, packet.source, 3, 4, &rest)
    } else {
        packet::icmp(packet.destination, packet.source, 2, 0, &rest)
    };
    if packet.v4 {
        answer[1] = 0xc0;
        answer[4..6].fill(0);
        answer[8] = 64;
        packet::fix_ipv4(&mut answer);
    } else {
        answer[..4].copy_from_slice(&[0x6c, 0, 0, 0]);
        answer[7] = 64;
    }
    let message = packet.l3 + if packet.v4 { 20 } else { 40 };
    let ethernet = ethernet(&frame[6..12], &frame[..6], frame, packet.l3, packet.v4);
    Sent {
        frame: [ethernet, answer].concat(),
        checksums: vec![message + 2],
    }
}
