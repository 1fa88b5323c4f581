//! The other end of a tunnel: takes the outer header off, for backends without tunnel drivers.

use lb_common::parse::{Ethernet, Frame as _, Ipv4, Ipv6, ether_type};

use crate::maps::DECAPPED;
use crate::packet::Packet;

/// IP protocol numbers of what is inside.
const IPV4: u8 = 4;
const IPV6: u8 = 41;

/// Takes the outer header off a packet that travels in another one; `None` leaves it as it is, or for the kernel to judge.
///
/// Congestion that the outer packet met is told to the inner one (RFC 6040 §4.2).
#[inline(always)]
pub(crate) fn decap(packet: Packet) -> Option<()> {
    let Ethernet { ether_type, l3 } = Ethernet::read(&packet)?;
    let (bytes, next, tos) = match ether_type {
        ether_type::IPV4 => {
            let ip = Ipv4::read(&packet, l3)?;
            if !ip.is_sound() || ip.header() != Ipv4::SHORTEST || !ip.part().is_whole() {
                return None;
            }
            (Ipv4::SHORTEST, ip.protocol, ip.tos)
        }
        ether_type::IPV6 => {
            let ip = Ipv6::read(&packet, l3)?;
            (Ipv6::LEN, ip.next, ip.tos())
        }
        _ => return None,
    };
    let inside = match next {
        IPV4 => ether_type::IPV4,
        IPV6 => ether_type::IPV6,
        _ => return None,
    };
    congestion(&packet, l3 + bytes, next, tos)?;
    let addresses = packet.read::<u64>(0)?;
    let rest = packet.read::<u32>(8)?;
    // Not a word of 8 bytes where there is one tag: the header inside lies behind it.
    let tags = [packet.read::<u32>(12)?, packet.read::<u32>(16)?];
    let packet = if bytes == Ipv4::SHORTEST {
        packet.grow(-(Ipv4::SHORTEST as i32)).ok()?
    } else {
        packet.grow(-(Ipv6::LEN as i32)).ok()?
    };
    for (i, tag) in tags.into_iter().enumerate() {
        if l3 >= 18 + i * 4 {
            let place = packet.peek_mut::<u32>(12 + i * 4)?;
            // SAFETY: `peek` checked it.
            unsafe { place.write_unaligned(tag) };
        }
    }
    let (a, b, c) = (
        packet.peek_mut::<u64>(0)?,
        packet.peek_mut::<u32>(8)?,
        packet.peek_mut::<u16>(l3 - 2)?,
    );
    // SAFETY: `peek` checked them.
    unsafe {
        a.write_unaligned(addresses);
        b.write_unaligned(rest);
        c.write_unaligned(inside);
    }
    if let Some(count) = DECAPPED.get_ptr_mut(0) {
        // SAFETY: the element of this CPU.
        unsafe { *count += 1 };
    }
    Some(())
}

/// ECN codepoint: congestion experienced.
const CE: u8 = 3;

/// Marks the packet inside when the outer one was marked on the way. One that cannot be marked is dropped by the kernel's
/// tunnels; it is passed on here, since its sender would not understand.
#[inline(always)]
fn congestion(packet: &Packet, at: usize, next: u8, tos: u8) -> Option<()> {
    if next == IPV4 {
        let inner = Ipv4::read(packet, at)?;
        if tos & CE == CE && matches!(inner.tos & CE, 1 | 2) {
            let place = packet.peek_mut::<u16>(at)?;
            let check = packet.peek_mut::<u16>(at + 10)?;
            // SAFETY: `peek` checked both.
            unsafe {
                let before = place.read_unaligned();
                let after = before | u16::from(CE) << 8;
                place.write_unaligned(after);
                check.write_unaligned(lb_common::csum::replace_u16(check.read_unaligned(), before, after));
            }
        }
    } else {
        let inner = Ipv6::read(packet, at)?;
        if tos & CE == CE && matches!(inner.tos() & CE, 1 | 2) {
            let place = packet.peek_mut::<u8>(at + 1)?;
            // SAFETY: as above.
            unsafe { *place |= CE << 4 };
        }
    }
    Some(())
}
