//! A packet that belongs to a service: slot, member, mode.

use lb_common::select;
use lb_common::service::{Decision, Mode};
use lb_common::stats::DropReason;

use crate::forward;
use crate::maps::Maps;
use crate::packet::Packet;
use crate::parse::l4::Segment;
use crate::stats;
use crate::verdict::{Sent, Step, Stop};

/// Chooses the backend by `hash`, sends the packet there, and counts it.
#[inline(always)]
pub(crate) fn serve(packet: &Packet<'_>, service: Decision, hash: u64, segment: &Segment) -> Step<Sent> {
    let slot = select::slot(&Maps, service, hash)?;
    let chosen = select::member(&Maps, service, slot)?;
    let bytes = packet.len();
    let sent = match service.mode() {
        Some(Mode::Dsr) => forward::dsr::send(packet, &chosen)?,
        Some(Mode::Address | Mode::Nat | Mode::Backend) | None => return Err(Stop::Drop(DropReason::Inconsistent)),
    };
    stats::forwarded(chosen.id, bytes, segment.opens);
    Ok(sent)
}

/// What becomes of a packet for a VIP that no service wants: dropped for `reason`, or left to the kernel.
#[inline(always)]
pub(crate) fn unwanted(vip: Decision, reason: DropReason) -> Stop {
    if vip.has(Decision::DROP_UNDECLARED) {
        Stop::Drop(reason)
    } else {
        Stop::Pass
    }
}
