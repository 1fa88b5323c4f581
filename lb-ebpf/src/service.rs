//! A packet that belongs to a service: slot, member, mode.

use lb_common::nat::NatKey;
use lb_common::select;
use lb_common::service::{Decision, Mode};
use lb_common::stats::DropReason;

use crate::forward;
use crate::maps::Maps;
use crate::packet::Packet;
use crate::parse::Headers;
use crate::parse::l4::Segment;
use crate::stats;
use crate::verdict::{Sent, Step, Stop};

/// Chooses the backend by `hash`, sends the packet there, and counts it.
#[inline(always)]
pub(crate) fn serve(
    packet: &Packet<'_>,
    service: Decision,
    hash: u64,
    flow: impl Into<NatKey>,
    headers: &Headers,
    segment: &Segment,
) -> Step<Sent> {
    match service.mode() {
        Some(Mode::Dsr) => {
            let slot = select::slot(&Maps, service, hash)?;
            let chosen = select::member(&Maps, service, slot)?;
            let bytes = packet.len();
            let sent = forward::dsr::send(packet, &chosen)?;
            stats::forwarded(chosen.id, bytes, segment.opens);
            Ok(sent)
        }
        Some(Mode::Nat) => forward::nat::send(packet, service, hash, flow, headers, segment),
        Some(Mode::Address | Mode::Backend | Mode::Source | Mode::Tunnel) | None => {
            Err(Stop::Drop(DropReason::Inconsistent))
        }
    }
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
