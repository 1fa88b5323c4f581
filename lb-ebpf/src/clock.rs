//! The time, as exact as flows and limits need it: to a tick of the kernel.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use lb_common::nat::{self, Ticks};

use crate::maps::CLOCK;

/// What this CPU's clock said, and the kernel's tick of that time.
#[repr(C)]
pub(crate) struct Clock {
    jiffies: u64,
    now: u64,
    nanoseconds: u64,
}

/// What this CPU's clock says. The coarse clock moves with the kernel's tick (`jiffies`), and costs 9 ns where the tick costs
/// 1: it is read once a tick and CPU.
#[inline(always)]
fn clock() -> Option<&'static Clock> {
    // SAFETY: this CPU's element, which nobody else is at.
    let clock = unsafe { &mut *CLOCK.get_ptr_mut(0)? };
    // SAFETY: the helper has no preconditions.
    let jiffies = unsafe { bpf_jiffies64() };
    if clock.jiffies != jiffies {
        // SAFETY: as above.
        let nanoseconds = unsafe { bpf_ktime_get_coarse_ns() };
        *clock = Clock {
            jiffies,
            now: nat::ticks(nanoseconds).into(),
            nanoseconds,
        };
    }
    Some(clock)
}

/// Now.
#[inline(always)]
pub(crate) fn now() -> Ticks {
    clock().map_or(0, |clock| clock.now as Ticks)
}

/// The same in nanoseconds, as exact.
#[inline(always)]
pub(crate) fn nanoseconds() -> u64 {
    clock().map_or(0, |clock| clock.nanoseconds)
}
