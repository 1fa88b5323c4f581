//! Counting: one per-CPU update per packet, and the action of a drop.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::programs::XdpContext;
use lb_common::id::MemberId;
use lb_common::stats::DropReason;

use crate::maps::{COUNTERS, DROPS};

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

/// Counts a drop.
#[inline(always)]
pub(crate) fn dropped(ctx: &XdpContext, reason: DropReason) -> u32 {
    if let Some(count) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
    if matches!(reason, DropReason::Inconsistent) {
        aya_log_ebpf::error!(ctx, "the maps contradict each other; please report this");
    }
    xdp_action::XDP_DROP
}
