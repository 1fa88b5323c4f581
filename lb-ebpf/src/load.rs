//! How busy members are, and whose turn it is: `LOAD`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::helpers::bpf_get_prandom_u32;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::ring;
use lb_common::select::{Tables as _, read_once, slot};
use lb_common::service::{Choice, Decision};
use lb_common::stats::DropReason;

use crate::maps::{self, Maps};

/// Adds to the element of a member; what it was before. Relaxed, LLVM 22 takes the instruction without a result even where
/// the result is used, and what was added passes for it (docs/verifier-notes.md).
#[inline(always)]
fn add(id: MemberId, count: u64) -> u64 {
    match maps::load(id) {
        // Not relaxed: of such an addition LLVM 22 makes the instruction that leaves no result, and takes `count` for it.
        // SAFETY: the element lies in the map, aligned.
        Some(load) => unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(load, count) },
        None => 0,
    }
}

/// A flow begins.
#[inline(always)]
pub(crate) fn begins(id: MemberId) {
    add(id, 1);
}

/// A flow ends.
#[inline(always)]
pub(crate) fn ends(id: MemberId) {
    add(id, u64::MAX);
}

/// Flows that live. Between two sweeps more may have ended than were counted.
#[inline(always)]
fn living(id: MemberId) -> u64 {
    let count = // SAFETY: a word in the map.
        maps::load(id).map_or(0, |load| read_once(unsafe { &*load }));
    if count > u64::MAX / 2 { 0 } else { count }
}

/// The member that a new flow gets, whose hash is `hash`.
#[inline(always)]
pub(crate) fn choose(service: Decision, hash: u64) -> Result<MemberIndex, DropReason> {
    match service.choice() {
        Choice::Tuple | Choice::Source => at(service, hash),
        Choice::Turn => at(service, add(MemberId(service.member_base()), 1)),
        Choice::Least => {
            // SAFETY: the helper has no preconditions.
            let (a, b) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32()) };
            let (a, b) = (at(service, a.into())?, at(service, b.into())?);
            Ok(if is_busier(service, a, b) { b } else { a })
        }
    }
}

#[inline(always)]
fn at(service: Decision, hash: u64) -> Result<MemberIndex, DropReason> {
    slot(&Maps, service, hash).map(ring::Slot::current)
}

/// Has `a` more living flows for its weight than `b`?
#[inline(always)]
fn is_busier(service: Decision, a: MemberIndex, b: MemberIndex) -> bool {
    let weight = |index| Maps.member(service.member(index)).map_or(1, |m| u64::from(m.weight));
    let load = |index| living(service.member(index)) + 1;
    load(a) * weight(b) > load(b) * weight(a)
}
