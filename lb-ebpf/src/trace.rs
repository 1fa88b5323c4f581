//! What [`crate::fulcrum_trace`] does with a packet that may be wanted: all that [`crate::full`] does, between two looks.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use lb_common::addr::Ipv6Be;
use lb_common::parse::{Ethernet, Ipv4, Ipv6, ether_type};
use lb_common::ring::{self, Slot};
use lb_common::select;
use lb_common::service::Decision;
use lb_common::trace::{CAPTURED, Sample};

use crate::full;
use crate::maps::{EVENTS, Maps, SAMPLE, TRACE_BUDGET, TRACING, masked};
use crate::packet::Packet;
use crate::protect;
use crate::seen::Seen;
use crate::verdict::Outcome;

/// Decides about a packet and shows that, if it is wanted. `None`, and nothing has been done, when it cannot be.
#[inline(always)]
pub(crate) fn traced(packet: &Packet) -> Option<u32> {
    let wanted = TRACING.get(0)?;
    if !wanted.sources.holds(source(packet)?) {
        return None;
    }
    // SAFETY: this CPU's elements, which nobody else writes.
    let (budget, sample) = unsafe { (&mut *TRACE_BUDGET.get_ptr_mut(0)?, &mut *SAMPLE.get_ptr_mut(0)?) };
    // SAFETY: the helper has no preconditions.
    let time = unsafe { bpf_ktime_get_ns() };
    if !budget.has_left(time, wanted.budget) {
        budget.skipped = budget.skipped.saturating_add(1);
        return None;
    }
    capture(packet, sample)?;
    let seen = Seen::of_this_cpu().ok()?;
    // Not known before it has been looked for, which may not happen.
    seen.service = Decision::NONE;
    seen.address = Decision::NONE;
    seen.observed = 0;
    sample.time = time;
    sample.interface = packet.interface();
    let mut outcome = full::outcome(packet);
    if outcome.raw() == Outcome::COOKIE.raw() {
        outcome = protect::cookie::seen(packet);
    }
    let (action, reason) = full::settled(packet, outcome);
    let seen = Seen::of_this_cpu().ok()?;
    sample.action = action;
    sample.reason = reason;
    sample.member = seen.member;
    sample.observed = seen.observed;
    sample.service = seen.address;
    sample.slot = Slot::default();
    sample.index = 0;
    if seen.service.is_service() {
        sample.service = seen.service;
        if seen.service.is_balanced() && seen.service.choice().is_hash() {
            let hash = seen.hash();
            sample.index = ring::index(seen.service.ring_log2(), hash);
            sample.slot = select::slot(&Maps, seen.service, hash).unwrap_or_default();
        }
    }
    if wanted.takes(sample) {
        sample.skipped = budget.skipped;
        budget.used += 1;
        budget.skipped = match EVENTS.output(&*sample, 0) {
            Ok(()) => 0,
            Err(_) => budget.skipped.saturating_add(1),
        };
    }
    Some(action)
}

/// Where a packet comes from; `None` for what is neither IPv4 nor IPv6.
#[inline(always)]
fn source(packet: &Packet) -> Option<Ipv6Be> {
    let Ethernet { ether_type, l3 } = Ethernet::read(packet)?;
    match ether_type {
        ether_type::IPV4 => Ipv4::read(packet, l3).map(|ip| Ipv6Be::mapped_v4(ip.source)),
        ether_type::IPV6 => Ipv6::read(packet, l3).map(|ip| ip.source),
        _ => None,
    }
}

/// Copies as much of the frame as is shown.
#[inline(always)]
fn capture(packet: &Packet, sample: &mut Sample) -> Option<()> {
    let whole = packet.whole() as u64;
    let shown = if whole > CAPTURED as u64 {
        CAPTURED as u64
    } else {
        whole
    };
    // That the length is neither 0 nor too large is in its arithmetic: Linux 6.1 learns nothing from a comparison with 0.
    let last = masked::<{ CAPTURED as u32 }>((shown as u32).wrapping_sub(1));
    let length = last as u32 + 1;
    sample.bytes = whole as u32;
    sample.captured = length;
    // SAFETY: the kernel's own context, and a buffer that is as long.
    let copied = unsafe { bpf_xdp_load_bytes(packet.ctx(), 0, sample.frame.as_mut_ptr().cast(), length) };
    (copied == 0).then_some(())
}
