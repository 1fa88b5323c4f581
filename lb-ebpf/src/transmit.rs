//! Sending: the Ethernet header, and the way out.

use lb_common::backend::{MacFlags, Member};
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::packet::{Packet, load};
use crate::verdict::{Sent, Step, Stop};

const MAC_BITS: u64 = 0xffff_ffff_ffff;

/// Sends the packet to a member's next hop.
///
/// A frame that was not sent to this node's own MAC, such as one that a switch flooded, is somebody else's: it passes,
/// and the kernel ignores it. Otherwise two nodes on one segment would both forward it.
#[inline(always)]
pub(crate) fn to_member(packet: &Packet<'_>, member: &Member) -> Step<Sent> {
    let MacFlags(next_hop) = lb_common::select::read_once(&member.next_hop);
    let MacFlags(local) = lb_common::select::read_once(&member.local);
    if MacFlags(next_hop).flags() & MacFlags::RESOLVED == 0 {
        return Err(Stop::Drop(DropReason::Unresolved));
    }
    if member.interface != packet.interface() {
        return Err(Stop::Drop(DropReason::NoEgress));
    }
    let addresses = packet.at::<[u32; 3]>(0)?;
    // SAFETY: the first 12 bytes of the packet, destination then source, written as 8 and 4; little-endian, as the
    // target is.
    unsafe {
        let first = addresses.cast::<u64>();
        if first.read_unaligned() & MAC_BITS != local & MAC_BITS {
            return Err(Stop::Pass);
        }
        first.write_unaligned(next_hop & MAC_BITS | local << 48);
        addresses.cast::<u32>().add(2).write_unaligned((local >> 16) as u32);
    }
    Ok(Sent::back())
}

/// Sends the packet back to the MAC that it came from.
#[inline(always)]
pub(crate) fn back(eth: *mut EthHdr) -> Sent {
    // SAFETY: the caller got `eth` from `Packet::at`.
    unsafe {
        let destination: [u8; 6] = load(&raw const (*eth).dst_addr);
        (*eth).dst_addr = (*eth).src_addr;
        (*eth).src_addr = destination;
    }
    Sent::back()
}
