//! ICMP and ICMPv6 to a VIP: echo requests are answered (RFC 792, RFC 4443 §4.2) where the VIP is Fulcrum's own;
//! everything else, neighbour discovery above all, is the kernel's.

use lb_common::csum::replace_u16;
use lb_common::service::Decision;
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::packet::{Packet, load};
use crate::service::unwanted;
use crate::transmit;
use crate::verdict::{Sent, Step, Stop};

/// The fixed part of an echo message, the same in both versions: type, code, checksum, identifier, sequence number.
type Echo = [u16; 4];

/// Type 8, code 0.
const REQUEST_V4: u16 = 0x0800_u16.to_be();
/// Type 0, code 0.
const REPLY_V4: u16 = 0;
/// Type 128, code 0.
const REQUEST_V6: u16 = 0x8000_u16.to_be();
/// Type 129, code 0.
const REPLY_V6: u16 = 0x8100_u16.to_be();

/// Time to live and hop limit of a reply (RFC 1700's default).
const HOPS: u8 = 64;

/// Where an ICMP message lies.
pub(crate) struct Message {
    /// Its offset in the frame.
    pub(crate) at: usize,
    /// Its length, as the network header says; what follows is the padding of Ethernet.
    pub(crate) length: usize,
}

/// An ICMP message for `vip`, behind the checked headers `eth` and `ip`.
#[inline(always)]
pub(crate) fn echo_v4(
    packet: &Packet<'_>,
    vip: Decision,
    eth: *mut EthHdr,
    ip: *mut Ipv4Hdr,
    message: &Message,
) -> Step<Sent> {
    answer(packet, vip, message, REQUEST_V4, REPLY_V4)?;
    // SAFETY: the caller checked that the header is inside the packet.
    unsafe {
        let source: u32 = load(&raw const (*ip).src_addr);
        let destination: u32 = load(&raw const (*ip).dst_addr);
        (&raw mut (*ip).src_addr).cast::<u32>().write_unaligned(destination);
        (&raw mut (*ip).dst_addr).cast::<u32>().write_unaligned(source);
        // The header's checksum does not see the exchange, but it sees the new time to live.
        let ttl_and_protocol = (&raw mut (*ip).ttl).cast::<u16>();
        let before = ttl_and_protocol.read_unaligned();
        (*ip).ttl = HOPS;
        let after = ttl_and_protocol.read_unaligned();
        let check: u16 = load(&raw const (*ip).check);
        (&raw mut (*ip).check)
            .cast::<u16>()
            .write_unaligned(replace_u16(check, before, after));
    }
    Ok(transmit::back(eth))
}

/// An ICMPv6 message for `vip`, behind the checked headers `eth` and `ip`.
#[inline(always)]
pub(crate) fn echo_v6(
    packet: &Packet<'_>,
    vip: Decision,
    eth: *mut EthHdr,
    ip: *mut Ipv6Hdr,
    message: &Message,
) -> Step<Sent> {
    answer(packet, vip, message, REQUEST_V6, REPLY_V6)?;
    // SAFETY: the caller checked that the header is inside the packet.
    unsafe {
        let source: [u64; 2] = load(&raw const (*ip).src_addr);
        let destination: [u64; 2] = load(&raw const (*ip).dst_addr);
        (&raw mut (*ip).src_addr)
            .cast::<[u64; 2]>()
            .write_unaligned(destination);
        (&raw mut (*ip).dst_addr).cast::<[u64; 2]>().write_unaligned(source);
        (*ip).hop_limit = HOPS;
    }
    Ok(transmit::back(eth))
}

/// Turns an echo request into its reply, or stops. The pseudo-header of ICMPv6 sums to the same after the exchange of
/// the addresses, so one update of the checksum serves both versions.
#[inline(always)]
fn answer(packet: &Packet<'_>, vip: Decision, message: &Message, request: u16, reply: u16) -> Step<()> {
    let echo = match packet.peek::<Echo>(message.at) {
        Some(echo) if message.length >= size_of::<Echo>() => echo,
        _ => return Err(unwanted(vip, DropReason::Truncated)),
    };
    // SAFETY: `peek` checked it; the message lies in the packet unaligned, and is accessed so.
    unsafe {
        let words = echo.cast::<u16>();
        if !vip.has(Decision::ECHO) || words.read_unaligned() != request {
            return Err(Stop::Pass);
        }
        let check = words.add(1);
        let updated = replace_u16(check.read_unaligned(), request, reply);
        check.write_unaligned(updated);
        words.write_unaligned(reply);
    }
    Ok(())
}
