//! IP in IP: the packet travels inside another one to the backend, which takes it out and answers the client itself.
//!
//! RFC 2003 (IPv4 in IPv4), RFC 2473 (in IPv6), RFC 4213 §3.5 (IPv6 in IPv4). DSCP and ECN are copied outwards (RFC 6040, normal
//! mode). The outer packet is never fragmented, since what does not fit is refused before; so it needs no identification
//! (RFC 6864). Its source varies with the flow, and over IPv6 the flow label too (RFC 6438), so that receivers and the network between spread
//! flows.

use lb_common::backend::Member;
use lb_common::csum;
use lb_common::parse::{Ipv4, Ipv6, ether_type};
use lb_common::select::{Chosen, read_once};
use network_types::eth::EthHdr;

use super::Inner;
use crate::packet::Packet;
use crate::transmit;
use crate::verdict::{Sent, Step, Stop};

/// IP protocol numbers of what is inside.
const IPV4: u8 = 4;
const IPV6: u8 = 41;

/// Time to live and hop limit of outer packets.
const HOPS: u8 = 64;

/// Sends the packet towards the member, inside another one. What does not fit is for [`crate::icmp`], which tells its
/// sender.
#[inline(always)]
pub(crate) fn send(packet: Packet, inner: &Inner, chosen: &Chosen<'_>, hash: u64) -> Step<Sent> {
    let way = transmit::towards(&packet, chosen)?;
    let member = chosen.member;
    // Two constants: the verifier follows them, and LLVM folds what depends on them.
    if member.address.is_v4() {
        let packet = make_room(packet, inner, member, Ipv4::SHORTEST)?;
        outer_v4(&packet, inner, member, hash)?;
        transmit::depart(&packet, way)
    } else {
        let packet = make_room(packet, inner, member, Ipv6::LEN)?;
        outer_v6(&packet, inner, member, hash)?;
        transmit::depart(&packet, way)
    }
}

/// Makes room for a header of so many bytes, behind the Ethernet header and the tags, whose new ether type it writes.
#[inline(always)]
fn make_room(packet: Packet, inner: &Inner, member: &Member, header: usize) -> Step<Packet> {
    let mtu = member.outer().mtu as usize;
    if inner.total + header > mtu {
        return Err(Stop::TooBig(mtu.saturating_sub(header) as u32));
    }
    let tags = tags(&packet, inner)?;
    let packet = packet.grow(header as i32)?;
    put_tags(&packet, inner, tags, header == Ipv4::SHORTEST)?;
    Ok(packet)
}

/// The VLAN tags of a packet: up to 8 bytes behind the addresses.
#[inline(always)]
pub(crate) fn tags(packet: &Packet, inner: &Inner) -> Step<u64> {
    if inner.tags == 0 {
        return Ok(0);
    }
    let tags = packet.at::<u64>(EthHdr::LEN - 2)?;
    // SAFETY: `at` checked it.
    Ok(unsafe { tags.read_unaligned() })
}

/// Writes the tags behind where the addresses will be, and the ether type of the outer packet behind them.
#[inline(always)]
pub(crate) fn put_tags(packet: &Packet, inner: &Inner, tags: u64, v4: bool) -> Step<()> {
    let of = if v4 { ether_type::IPV4 } else { ether_type::IPV6 };
    if inner.tags != 0 {
        let place = packet.at::<u64>(EthHdr::LEN - 2)?;
        // SAFETY: `at` checked it. What is not tags is written over.
        unsafe { place.write_unaligned(tags) };
    }
    let place = packet.at::<u16>(EthHdr::LEN - 2 + inner.tags)?;
    // SAFETY: `at` checked it.
    unsafe { place.write_unaligned(of) };
    Ok(())
}

/// The bits of the source that vary with the flow, in host order. The low half of the hash has chosen the slot.
#[inline(always)]
const fn varied(member: &Member, hash: u64) -> u32 {
    let bits = member.outer().varied;
    (hash >> 32) as u32 & ((1u64 << (bits & 63)) - 1) as u32
}

#[inline(always)]
fn outer_v4(packet: &Packet, inner: &Inner, member: &Member, hash: u64) -> Step<()> {
    let total = (inner.total + Ipv4::SHORTEST) as u16;
    let protocol = if inner.v4 { IPV4 } else { IPV6 };
    let varied = varied(member, hash).to_be();
    let source = member.source.last_v4().0 | varied;
    let tos = (inner.tos as u32) << 8;
    let protocol = (protocol as u32) << 8;
    let total = total.to_be() as u32;
    let sum = member.outer().sum as u32 + tos + total + protocol + (varied & 0xffff) + (varied >> 16);
    let check = csum::fold(sum) as u32;
    let place = packet.at::<[u32; 5]>(inner.l3())?;
    let destination = read_once(&member.address.0[1]);
    // SAFETY: `at` checked it; little-endian, as the target is.
    unsafe {
        place.write_unaligned([
            0x45 | tos | total << 16,
            0x0040 << 16,
            HOPS as u32 | protocol | check << 16,
            source,
            (destination >> 32) as u32,
        ]);
    }
    Ok(())
}

#[inline(always)]
fn outer_v6(packet: &Packet, inner: &Inner, member: &Member, hash: u64) -> Step<()> {
    let next = if inner.v4 { IPV4 } else { IPV6 };
    let label = (hash >> 40) as u32 & 0xf_ffff;
    let first = (6 << 28 | (inner.tos as u32) << 20 | label).to_be();
    let varied = (varied(member, hash).to_be() as u64) << 32;
    let place = packet.at::<[u64; 5]>(inner.l3())?;
    // SAFETY: `at` checked it; little-endian, as the target is.
    unsafe {
        place.write_unaligned([
            first as u64 | ((inner.total as u16).to_be() as u64) << 32 | (next as u64) << 48 | (HOPS as u64) << 56,
            read_once(&member.source.0[0]),
            read_once(&member.source.0[1]) | varied,
            read_once(&member.address.0[0]),
            read_once(&member.address.0[1]),
        ]);
    }
    Ok(())
}
