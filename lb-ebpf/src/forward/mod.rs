//! Packets of a service, to a member of it: one file per mode of rewriting.

pub(crate) mod dsr;
pub(crate) mod nat;
pub(crate) mod tunnel;

use lb_common::id::{MemberId, MemberIndex};
use lb_common::nat::NatKey;
use lb_common::parse::Segment;
use lb_common::select;
use lb_common::service::{Decision, Mode};
use network_types::eth::EthHdr;

use crate::maps::Maps;
use crate::packet::Packet;
use crate::stats;
use crate::track;
use crate::transmit;
use crate::verdict::{Sent, Step};

/// The network header of a packet, as far as what goes around it follows from it.
#[derive(Clone, Copy)]
pub(crate) struct Inner {
    /// IPv4, and not IPv6.
    pub(crate) v4: bool,
    /// Bytes of VLAN tags in front of it: 0, 4 or 8.
    pub(crate) tags: usize,
    /// Bytes of the packet, from there on.
    pub(crate) total: usize,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
}

impl Inner {
    /// Its offset.
    #[inline(always)]
    pub(crate) const fn l3(&self) -> usize {
        EthHdr::LEN + self.tags
    }
}

/// Sends a packet of a service that [`Decision::is_direct`] to its flow's member, which `tell` gets to know.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "they are in registers, or constants")]
pub(crate) fn direct(
    packet: Packet,
    inner: &Inner,
    service: Decision,
    hash: u64,
    key: impl Into<NatKey>,
    segment: Segment,
    bytes: usize,
    tell: impl FnOnce(MemberId),
) -> Step<Sent> {
    let index = member(&packet, service, hash, key, segment)?;
    let chosen = select::member(&Maps, service, index)?;
    tell(chosen.id);
    let sent = if matches!(service.mode(), Some(Mode::Tunnel)) {
        tunnel::send(packet, inner, &chosen, hash)?
    } else {
        dsr::send(&packet, &chosen)?
    };
    stats::forwarded(chosen.id, bytes, segment.opens());
    Ok(sent)
}

/// The member of a flow. Where the slot is stable, which it is but for a while after a change, nothing is looked up.
#[inline(always)]
fn member(
    packet: &Packet,
    service: Decision,
    hash: u64,
    key: impl Into<NatKey>,
    segment: Segment,
) -> Step<MemberIndex> {
    if service.choice().is_hash() {
        let slot = select::slot(&Maps, service, hash)?;
        if slot.is_stable() {
            return Ok(slot.current());
        }
    }
    // What another node gets is not written down here.
    transmit::for_this_node(packet)?;
    track::member(key.into(), service, hash, segment)
}
