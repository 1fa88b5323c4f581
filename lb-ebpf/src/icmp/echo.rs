//! Echo requests and their replies.

use lb_common::csum::replace_u16;
use lb_common::parse::field;
use network_types::eth::EthHdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::Head;
use crate::packet::Packet;
use crate::seen::Seen;
use crate::transmit;
use crate::verdict::{Sent, Step, Stop};

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

/// Turns an echo request into its reply, or stops.
#[inline(always)]
pub(super) fn answer(packet: &Packet, seen: &Seen, eth: *mut EthHdr, head: *mut Head) -> Step<Sent> {
    if seen.v4 != 0 {
        turn(head, REQUEST_V4, REPLY_V4)?;
        let ip = packet.at::<Ipv4Hdr>(seen.l3())?;
        // SAFETY: inside the header that `at` returned.
        unsafe {
            let source: u32 = field(&raw const (*ip).src_addr);
            let destination: u32 = field(&raw const (*ip).dst_addr);
            (&raw mut (*ip).src_addr).cast::<u32>().write_unaligned(destination);
            (&raw mut (*ip).dst_addr).cast::<u32>().write_unaligned(source);
            // The header's checksum does not see the exchange, but it sees the new time to live.
            let ttl_and_protocol = (&raw mut (*ip).ttl).cast::<u16>();
            let before = ttl_and_protocol.read_unaligned();
            (*ip).ttl = HOPS;
            let after = ttl_and_protocol.read_unaligned();
            let check: u16 = field(&raw const (*ip).check);
            (&raw mut (*ip).check)
                .cast::<u16>()
                .write_unaligned(replace_u16(check, before, after));
        }
    } else {
        turn(head, REQUEST_V6, REPLY_V6)?;
        let ip = packet.at::<Ipv6Hdr>(seen.l3())?;
        // SAFETY: as above.
        unsafe {
            let source: [u64; 2] = field(&raw const (*ip).src_addr);
            let destination: [u64; 2] = field(&raw const (*ip).dst_addr);
            (&raw mut (*ip).src_addr)
                .cast::<[u64; 2]>()
                .write_unaligned(destination);
            (&raw mut (*ip).dst_addr).cast::<[u64; 2]>().write_unaligned(source);
            (*ip).hop_limit = HOPS;
        }
    }
    Ok(transmit::back(eth))
}

/// Changes the message itself. The pseudo-header of ICMPv6 sums to the same after the exchange of the addresses, so one
/// update of the checksum serves both versions.
#[inline(always)]
fn turn(head: *mut Head, request: u16, reply: u16) -> Step<()> {
    // SAFETY: the caller checked it; the message lies in the packet unaligned, and is accessed so.
    unsafe {
        let words = head.cast::<u16>();
        if words.read_unaligned() != request {
            return Err(Stop::Pass);
        }
        let check = words.add(1);
        let updated = replace_u16(check.read_unaligned(), request, reply);
        check.write_unaligned(updated);
        words.write_unaligned(reply);
    }
    Ok(())
}
