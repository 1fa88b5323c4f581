//! The choice by a hash: maglev and source-hash.
//!
//! The ring is [`crate::balance::maglev`]'s, of those that share, keyed by address: nodes with the same seed and the same
//! backends choose alike, and so does the program for the same service as another mode. Whoever is full, set aside or
//! tried already keeps its slots; a request that finds its slot so hashes its hash and looks again, and comes to the
//! same somebody else on every node.

use std::sync::Arc;

use lb_common::hash::Seed;
use lb_common::id::MemberIndex;

use super::hash;
use super::member::Member;
use super::shared::Shared;
use crate::balance::Candidate;
use crate::model::RingSize;

/// How often it looks again before it takes the next slot whose member may.
const TRIES: u32 = 16;

/// The ring of those that share.
pub(super) fn build(
    shared: &Shared,
    members: &[Member],
    sharing: &[usize],
    size: RingSize,
) -> Option<Arc<[MemberIndex]>> {
    let candidate = |&i: &usize| {
        let member = &members[i].is;
        Candidate {
            address: member.address,
            weight: member.weight.into(),
            index: index(i),
        }
    };
    let candidates: Vec<Candidate> = sharing.iter().map(candidate).collect();
    shared.ring(&candidates, size)
}

/// Whose slot it is; `None` when nobody's.
pub(super) fn choose(ring: &[MemberIndex], seed: Seed, hash: u64, candidates: &[usize]) -> Option<usize> {
    let mask = ring.len() - 1;
    let may = |slot: usize| {
        let place = usize::from(ring[slot].0).checked_sub(1)?;
        candidates.binary_search(&place).ok()?;
        Some(place)
    };
    let hashed = (1..=TRIES).map(|times| hash::again(seed, hash, times));
    let mut slots = std::iter::once(hash).chain(hashed).map(|hash| hash as usize & mask);
    slots.find_map(may).or_else(|| {
        let from = hash as usize & mask;
        (from..ring.len()).chain(0..from).find_map(may)
    })
}

/// 0 is nobody's; a service has less than 65,535 members.
fn index(place: usize) -> MemberIndex {
    MemberIndex(u16::try_from(place + 1).unwrap_or(0))
}
