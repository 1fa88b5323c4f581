//! "Fragmentation needed" (RFC 1191) and "packet too big" (RFC 4443 §3.2): the answer to a packet that does not fit into a
//! tunnel. Its sender then sends smaller ones.

use aya_ebpf::bindings::xdp_md;
use lb_common::addr::Ipv6Be;
use lb_common::csum;
use lb_common::parse::field;
use lb_common::service::protocol;
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::forward::tunnel;
use crate::packet::Packet;
use crate::seen::Seen;
use crate::stats;
use crate::verdict::{Outcome, Sent, Step};

/// Bytes of the packet that are quoted, in words: the longest IPv4 header and 8 bytes behind it, and some more.
const QUOTE: usize = 24;
const QUOTE_BYTES: usize = QUOTE * 4;

/// Bytes of an ICMP header.
const ICMP: usize = 8;

/// Type of service of what the network itself says, as Linux sets it.
const TOS: u32 = 0xc0;

/// Turns the packet into an error to its sender, which may send packets of `mtu` bytes. Returns an [`Outcome`].
#[inline(always)]
pub(crate) fn too_big(ctx: *mut xdp_md, mtu: u32) -> u32 {
    fulcrum_too_big(ctx, mtu)
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_too_big(ctx: *mut xdp_md, mtu: u32) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    stats::dropped(DropReason::TooBig as u32);
    Outcome::of(answer(Packet::of(ctx), seen, mtu as u16)).raw()
}

#[inline(always)]
fn answer(packet: Packet, seen: &Seen, mtu: u16) -> Step<Sent> {
    let inner = seen.inner();
    let eth = packet.at::<EthHdr>(0)?;
    // SAFETY: inside the header that `at` returned.
    let (local, client): ([u8; 6], [u8; 6]) =
        unsafe { (field(&raw const (*eth).dst_addr), field(&raw const (*eth).src_addr)) };
    let tags = tunnel::tags(&packet, &inner)?;
    let packet = packet.cut(inner.l3() + QUOTE_BYTES)?;
    let (packet, message) = if inner.v4 {
        let packet = packet.grow((20 + ICMP) as i32)?;
        let message = inner.l3() + 20;
        (packet, message)
    } else {
        let packet = packet.grow((40 + ICMP) as i32)?;
        let message = inner.l3() + 40;
        (packet, message)
    };
    let eth = packet.at::<EthHdr>(0)?;
    // SAFETY: as above.
    unsafe {
        (*eth).dst_addr = client;
        (*eth).src_addr = local;
    }
    tunnel::put_tags(&packet, &inner, tags, inner.v4)?;
    let quoted = packet.at::<[u32; QUOTE]>(message + ICMP)?;
    // SAFETY: `at` checked it.
    let mut sum = unsafe { words(quoted) };
    let kind = if inner.v4 { 0x0403 } else { 0x0002 };
    // The MTU is the second half of the second word, in network order; IPv6 has all of that word for it.
    let second = u32::from(mtu.to_be()) << 16;
    let length = (ICMP + QUOTE_BYTES) as u16;
    if inner.v4 {
        header_v4(&packet, seen, inner.l3(), length)?;
    } else {
        let (from, to) = (seen.key.destination, seen.key.source);
        sum += address(from) + address(to) + u64::from(length.to_be()) + u64::from(u16::from(protocol::ICMPV6).to_be());
        header_v6(&packet, seen, inner.l3(), length)?;
    }
    sum += kind + u64::from(second);
    let place = packet.at::<[u32; 2]>(message)?;
    // SAFETY: `at` checked it.
    unsafe { place.write_unaligned([kind as u32 | (csum::fold_wide(sum) as u32) << 16, second]) };
    Ok(Sent::back())
}

/// The sum of the quoted words.
///
/// # Safety
/// They lie in the packet.
#[inline(always)]
unsafe fn words(quoted: *const [u32; QUOTE]) -> u64 {
    let mut sum = 0;
    for i in 0..QUOTE {
        // SAFETY: by the contract; one by one, since a copy of all would not fit on the stack.
        sum += u64::from(unsafe { quoted.cast::<u32>().add(i).read_unaligned() });
    }
    sum
}

#[inline(always)]
fn address(Ipv6Be([a, b]): Ipv6Be) -> u64 {
    (a & 0xffff_ffff) + (a >> 32) + (b & 0xffff_ffff) + (b >> 32)
}

#[inline(always)]
fn header_v4(packet: &Packet, seen: &Seen, at: usize, length: u16) -> Step<()> {
    let total = u32::from((20 + length).to_be());
    let (from, to) = (seen.key.destination.last_v4().0, seen.key.source.last_v4().0);
    let mut header = [
        0x45 | TOS << 8 | total << 16,
        0x0040 << 16,
        64 | u32::from(protocol::ICMP) << 8,
        from,
        to,
    ];
    let sum = header.iter().map(|&word| u64::from(word)).sum();
    header[2] |= u32::from(csum::fold_wide(sum)) << 16;
    let place = packet.at::<[u32; 5]>(at)?;
    // SAFETY: `at` checked it.
    unsafe { place.write_unaligned(header) };
    Ok(())
}

#[inline(always)]
fn header_v6(packet: &Packet, seen: &Seen, at: usize, length: u16) -> Step<()> {
    let first = u64::from((6 << 28 | TOS << 20).to_be());
    let Ipv6Be([a, b]) = seen.key.destination;
    let Ipv6Be([c, d]) = seen.key.source;
    let place = packet.at::<[u64; 5]>(at)?;
    let second = u64::from(length.to_be()) << 32 | u64::from(protocol::ICMPV6) << 48 | 64 << 56;
    // SAFETY: `at` checked it.
    unsafe { place.write_unaligned([first | second, a, b, c, d]) };
    Ok(())
}
