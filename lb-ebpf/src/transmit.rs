//! Sending: the Ethernet header, and the way out.

use aya_ebpf::bindings::xdp_action;
use lb_common::backend::{MacFlags, Nic};
use lb_common::protect::FIRST_REASON;
use lb_common::select::{self, Chosen};
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::maps::{PORTS, nic};
use crate::packet::Packet;
use crate::stats;
use crate::verdict::{Sent, Step, Stop};
use lb_common::parse::field;

const MAC_BITS: u64 = 0xffff_ffff_ffff;

/// The Ethernet header of a frame that was sent to this node.
///
/// One that was not, such as one that a switch flooded or that is for everybody, is somebody else's: it passes, and the
/// kernel does with it what it does without Fulcrum. Otherwise two nodes on one segment would both answer it.
#[inline(always)]
pub(crate) fn for_this_node(packet: &Packet) -> Step<*mut EthHdr> {
    let eth = packet.at::<EthHdr>(0)?;
    let interface = packet.interface();
    // SAFETY: 8 of the 14 bytes that `at` checked.
    let head = unsafe { eth.cast::<u64>().read_unaligned() };
    match nic(interface) {
        Some(nic) if nic.is_addressed(interface, head) => Ok(eth),
        _ => Err(Stop::Pass),
    }
}

/// The action for a packet that is dropped for the reason with this code: one that was not sent to this node passes.
#[inline(always)]
pub(crate) fn refuse(packet: &Packet, code: u32) -> u32 {
    // By then it may have another header already, or `protect` has looked.
    let sure = code == DropReason::NoEgress as u32 || code >= FIRST_REASON;
    if !sure && matches!(for_this_node(packet), Err(Stop::Pass)) {
        return xdp_action::XDP_PASS;
    }
    stats::dropped(code)
}

/// How a packet leaves.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    next_hop: MacFlags,
    /// The node's own MAC on the link out.
    local: MacFlags,
    /// The interface out, or 0 for the one that the packet came in on: the index of neither is read twice.
    out: u32,
}

impl Way {
    /// To `next_hop`, out of the interface `out`, where the node has the MAC `local`.
    #[inline(always)]
    pub(crate) fn new(packet: &Packet, next_hop: MacFlags, local: MacFlags, out: u32) -> Self {
        let out = if out == packet.interface() { 0 } else { out };
        Self { next_hop, local, out }
    }
}

/// The way to a member's next hop, for a packet that was sent to this node: as [`for_this_node`].
#[inline(always)]
pub(crate) fn towards(packet: &Packet, chosen: &Chosen<'_>) -> Step<Way> {
    let local = select::read_once(&chosen.member.local);
    let way = Way::new(packet, chosen.next_hop, local, chosen.member.interface);
    if way.out != 0 {
        return for_this_node(packet).map(|_| way);
    }
    // The node's MAC on this link lies in the member's cache line, so `NICS` need not be asked.
    // All of the header, as everywhere: what is checked alike is checked once.
    let addresses = packet.at::<EthHdr>(0)?;
    // SAFETY: 8 of the 14 bytes that `at` checked.
    let head = unsafe { addresses.cast::<u64>().read_unaligned() };
    if head & MAC_BITS == local.0 & MAC_BITS {
        Ok(way)
    } else {
        Err(Stop::Pass)
    }
}

/// Sends the packet.
#[inline(always)]
pub(crate) fn depart(packet: &Packet, way: Way) -> Step<Sent> {
    let Way { next_hop, local, out } = way;
    let addresses = packet.at::<EthHdr>(0)?;
    let sent = if out == 0 {
        Sent::back()
    } else {
        PORTS
            .redirect(Nic::place(out), 0)
            .map_err(|_| Stop::Drop(DropReason::NoEgress))?;
        Sent::elsewhere()
    };
    // SAFETY: the first 12 bytes of the packet, destination then source, written as 8 and 4; little-endian, as the
    // target is.
    unsafe {
        addresses
            .cast::<u64>()
            .write_unaligned(next_hop.0 & MAC_BITS | local.0 << 48);
        addresses.cast::<u32>().add(2).write_unaligned((local.0 >> 16) as u32);
    }
    Ok(sent)
}

/// Sends the packet back to the MAC that it came from.
#[inline(always)]
pub(crate) fn back(eth: *mut EthHdr) -> Sent {
    // SAFETY: the caller got `eth` from `Packet::at`.
    unsafe {
        let destination: [u8; 6] = field(&raw const (*eth).dst_addr);
        (*eth).dst_addr = (*eth).src_addr;
        (*eth).src_addr = destination;
    }
    Sent::back()
}
