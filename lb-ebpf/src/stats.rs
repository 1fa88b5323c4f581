//! Counting: one per-CPU update per packet, and the action of a drop.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use lb_common::id::MemberId;
use lb_common::stats::FlowEvent;

use crate::maps::{COUNTERS, DROPS, FLOW_EVENTS};

/// Counts a packet of `bytes` for a member. Elements are per CPU and an XDP program is not interrupted by another on
/// its CPU, so plain additions do.
#[inline(always)]
pub(crate) fn forwarded(member: MemberId, bytes: usize, new_flow: bool) {
    if let Some(counters) = COUNTERS.get_ptr_mut(member.0) {
        // SAFETY: the pointer is to this CPU's element, which nobody else writes.
        let counters = unsafe { &mut *counters };
        counters.packets += 1;
        counters.bytes += bytes as u64;
        counters.new_flows += u64::from(new_flow);
    }
}

/// Counts an answer of `bytes` from a member.
#[inline(always)]
pub(crate) fn answered(member: MemberId, bytes: usize) {
    if let Some(counters) = COUNTERS.get_ptr_mut(member.0) {
        // SAFETY: as above.
        let counters = unsafe { &mut *counters };
        counters.reply_packets += 1;
        counters.reply_bytes += bytes as u64;
    }
}

/// Whose turn it is among a member's ports: another number for each new flow on each CPU, so that a port that has come
/// free rests until all others have been used.
#[inline(always)]
pub(crate) fn turn(member: MemberId) -> u32 {
    // CPUs begin far from each other: a multiple of the golden ratio.
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() }.wrapping_mul(0x9e37_79b1);
    let flows = COUNTERS.get_ptr_mut(member.0).map_or(0, |counters| {
        // SAFETY: as above.
        unsafe { (*counters).new_flows }
    });
    (cpu >> 8).wrapping_add(flows as u32)
}

/// Counts what happened to an entry of a flow.
#[inline(always)]
pub(crate) fn flow_event(event: FlowEvent) {
    if let Some(count) = FLOW_EVENTS.get_ptr_mut(event as u32) {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
}

/// Counts a drop, for the reason with this code.
#[inline(always)]
pub(crate) fn dropped(code: u32) -> u32 {
    if let Some(count) = DROPS.get_ptr_mut(code) {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
    xdp_action::XDP_DROP
}
