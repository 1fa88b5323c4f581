//! Packets as they are on the wire: outer headers, datagrams, and whom something is for. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv6DstUnreachable, Icmpv6Message, Icmpv6Packet, IpAddress,
    IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, UDP_HEADER_LEN, UdpPacket, UdpRepr,
};

use super::HOPS;
use crate::model::{Protocol, Tunnel};

/// Lengths of outer headers, in bytes.
pub(super) const OUTER_V4: usize = 20;
pub(super) const OUTER_V6: usize = 40;

/// Hops that an outer packet may take, as the program has it.
const OUTER_HOPS: u8 = 64;

/// A packet that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) protocol: Protocol,
    /// Where it, or what it is about, belongs here.
    pub(super) local: SocketAddr,
    /// The other end of that conversation.
    pub(super) remote: SocketAddr,
    pub(super) content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// From the other end.
    Packet,
    /// About a packet that was sent there.
    Error(IcmpError),
}

/// Why a packet has not come where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IcmpError {
    /// Nobody listens on the port.
    Port,
    /// It has taken too many hops.
    HopLimit,
    /// Something else.
    Unreachable(Errno),
}

/// `packet` in what the data plane would put around it. Which of the sources it has follows from `variation`.
pub(super) fn outer(tunnel: &Tunnel, backend: IpAddr, packet: &[u8], variation: u32) -> Vec<u8> {
    let next_header = match packet.first().map(|first| first >> 4) {
        Some(6) => IpProtocol::Unknown(41),
        _ => IpProtocol::Unknown(4),
    };
    // Neighbouring ports differ in all bits that may vary.
    let varied = |bits: u8| {
        let mask = ((1u64 << bits.min(32)) - 1) as u32;
        variation.wrapping_mul(0x9e37_79b9).rotate_right(16) & mask
    };
    let payload_len = packet.len();
    match backend {
        IpAddr::V4(dst_addr) => {
            let (source, bits) = tunnel.source_v4;
            let header = Ipv4Repr {
                src_addr: (source.to_bits() | varied(bits)).into(),
                dst_addr,
                next_header,
                payload_len,
                hop_limit: OUTER_HOPS,
            };
            let mut bytes = vec![0; OUTER_V4 + payload_len];
            header.emit(
                &mut Ipv4Packet::new_unchecked(&mut bytes),
                &ChecksumCapabilities::default(),
            );
            bytes[OUTER_V4..].copy_from_slice(packet);
            bytes
        }
        IpAddr::V6(dst_addr) => {
            let (source, bits) = tunnel.source_v6;
            let header = Ipv6Repr {
                src_addr: Ipv6Addr::from_bits(source.to_bits() | u128::from(varied(bits))),
                dst_addr,
                next_header,
                payload_len,
                hop_limit: OUTER_HOPS,
            };
            let mut bytes = vec![0; OUTER_V6 + payload_len];
            header.emit(&mut Ipv6Packet::new_unchecked(&mut bytes));
            bytes[OUTER_V6..].copy_from_slice(packet);
            bytes
        }
    }
}

/// A UDP datagram from here to a VIP. The two are of one family.
pub(super) fn datagram(local: SocketAddr, vip: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (IpAddress::from(local.ip()), IpAddress::from(vip.ip()));
    let length = UDP_HEADER_LEN + payload.len();
    let ip = IpRepr::new(source, destination, IpProtocol::Udp, length, HOPS);
    let mut bytes = vec![0; ip.buffer_len()];
    ip.emit(&mut bytes[..], &ChecksumCapabilities::default());
    let header = UdpRepr {
        src_port: local.port(),
        dst_port: vip.port(),
    };
    let at = ip.header_len();
    header.emit(
        &mut UdpPacket::new_unchecked(&mut bytes[at..]),
        &source,
        &destination,
        payload.len(),
        |to| to.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// What a datagram carries, from its IP header on; its checksums are not looked at.
pub(super) fn payload(packet: &[u8]) -> Option<&[u8]> {
    let (_, _, protocol, rest) = ip(packet)?;
    if protocol != IpProtocol::Udp {
        return None;
    }
    let datagram = UdpPacket::new_checked(rest).ok()?;
    Some(datagram.payload())
}

/// Whom a packet is for, and what it is; `None` for what nobody here has to do with.
pub(super) fn parse(packet: &[u8]) -> Option<Received> {
    let (source, destination, protocol, rest) = ip(packet)?;
    let protocol = match protocol {
        IpProtocol::Icmp => {
            let icmp = Icmpv4Packet::new_checked(rest).ok()?;
            let error = match (icmp.msg_type(), Icmpv4DstUnreachable::from(icmp.msg_code())) {
                (Icmpv4Message::TimeExceeded, _) => IcmpError::HopLimit,
                // Packets are as large as they may be.
                (Icmpv4Message::DstUnreachable, Icmpv4DstUnreachable::FragRequired) => return None,
                (Icmpv4Message::DstUnreachable, Icmpv4DstUnreachable::PortUnreachable) => IcmpError::Port,
                (Icmpv4Message::DstUnreachable, Icmpv4DstUnreachable::NetUnreachable) => {
                    IcmpError::Unreachable(Errno::ENETUNREACH)
                }
                (Icmpv4Message::DstUnreachable, _) => IcmpError::Unreachable(Errno::EHOSTUNREACH),
                _ => return None,
            };
            return about(icmp.data(), error);
        }
        IpProtocol::Icmpv6 => {
            let icmp = Icmpv6Packet::new_checked(rest).ok()?;
            let error = match (icmp.msg_type(), Icmpv6DstUnreachable::from(icmp.msg_code())) {
                (Icmpv6Message::TimeExceeded, _) => IcmpError::HopLimit,
                (Icmpv6Message::DstUnreachable, Icmpv6DstUnreachable::PortUnreachable) => IcmpError::Port,
                (Icmpv6Message::DstUnreachable, Icmpv6DstUnreachable::NoRoute) => {
                    IcmpError::Unreachable(Errno::ENETUNREACH)
                }
                (Icmpv6Message::DstUnreachable, _) => IcmpError::Unreachable(Errno::EHOSTUNREACH),
                _ => return None,
            };
            return about(icmp.payload(), error);
        }
        IpProtocol::Tcp => Protocol::Tcp,
        IpProtocol::Udp => Protocol::Udp,
        _ => return None,
    };
    let (from, to) = ports(rest)?;
    Some(Received {
        protocol,
        local: SocketAddr::new(destination, to),
        remote: SocketAddr::new(source, from),
        content: Content::Packet,
    })
}

/// Which conversation an error quotes. The quotation may break off after 8 bytes behind the IP header.
fn about(quoted: &[u8], error: IcmpError) -> Option<Received> {
    let (source, destination, protocol, rest) = quoted_ip(quoted)?;
    let protocol = match protocol {
        IpProtocol::Tcp => Protocol::Tcp,
        IpProtocol::Udp => Protocol::Udp,
        _ => return None,
    };
    let (from, to) = ports(rest)?;
    Some(Received {
        protocol,
        local: SocketAddr::new(source, from),
        remote: SocketAddr::new(destination, to),
        content: Content::Error(error),
    })
}

fn ports(segment: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d, ..] = *segment else { return None };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Source, destination, protocol, and what is behind the header. Of fragments, nothing.
fn ip(packet: &[u8]) -> Option<(IpAddr, IpAddr, IpProtocol, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            if packet.more_frags() || packet.frag_offset() != 0 {
                return None;
            }
            let ends = (packet.src_addr().into(), packet.dst_addr().into());
            Some((ends.0, ends.1, packet.next_header(), packet.payload()))
        }
        6 => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            let ends = (packet.src_addr().into(), packet.dst_addr().into());
            Some((ends.0, ends.1, packet.next_header(), packet.payload()))
        }
        _ => None,
    }
}

/// The same of a packet that is quoted, and need not be whole.
fn quoted_ip(packet: &[u8]) -> Option<(IpAddr, IpAddr, IpProtocol, &[u8])> {
    match packet.first()? >> 4 {
        4 if packet.len() >= OUTER_V4 => {
            let header = Ipv4Packet::new_unchecked(packet);
            let rest = packet.get(usize::from(header.header_len())..)?;
            let ends = (header.src_addr().into(), header.dst_addr().into());
            Some((ends.0, ends.1, header.next_header(), rest))
        }
        6 if packet.len() >= OUTER_V6 => {
            let header = Ipv6Packet::new_unchecked(packet);
            let ends = (header.src_addr().into(), header.dst_addr().into());
            Some((ends.0, ends.1, header.next_header(), &packet[OUTER_V6..]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
