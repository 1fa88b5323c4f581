//! What a change means for slots and flows, before it is made. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use lb_common::id::MemberIndex;
use lb_common::service::{Decision, Mode};

use super::contents::{is_alive, socket_address};
use super::desired::Desired;
use super::diff::continues;
use super::memory::Memory;
use super::place::{Placement, place};
use super::snapshot::{ServiceKey, Snapshot};
use crate::model::preview::Share;

/// The plans that lead from `installed` to `desired`, each made for what the one before has left; at least one.
#[must_use]
pub fn plans(installed: &Snapshot, desired: &Desired, memory: &mut Memory) -> Vec<Placement> {
    let mut plans: Vec<Placement> = Vec::new();
    loop {
        let before = plans.last().map_or(installed, |plan| &plan.target);
        let plan = place(before, desired, memory);
        let more = (plan.full.is_some() || plan.unfinished) && plan.target != *before;
        plans.push(plan);
        if !more {
            return plans;
        }
    }
}

/// What becomes of the flows of a service whose backends stay; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Course {
    /// They stay where they are.
    Kept,
    /// Each goes where the new rules say, whatever backend it had.
    Reassigned,
    /// They end.
    Cut,
}

/// What becomes of flows to this key of a service, when `plans` are carried out over `installed`.
#[must_use]
pub fn course(installed: &Snapshot, plans: &[Placement], key: ServiceKey) -> Course {
    let service = |maps: &Snapshot| maps.entries.get(&key).copied().filter(|d| d.is_service());
    let Some(mut old) = service(installed) else {
        return Course::Kept;
    };
    let (mut before, mut course) = (installed, Course::Kept);
    for Placement { target, .. } in plans {
        let Some(new) = service(target) else {
            return Course::Cut;
        };
        // Where a flow's state is: in the translation, in the node's own kernel, or with the backend.
        let ends = |decision: Decision| decision.mode().filter(|mode| matches!(mode, Mode::Nat | Mode::Proxy));
        course = course.max(match (ends(old), ends(new)) {
            (None, None) if old == new || continues(before, target, old, new) => Course::Kept,
            (None, None) => Course::Reassigned,
            (old, new) if old == new => Course::Kept,
            // What `nat` does not know is the kernel's, and with it the proxy's.
            (Some(Mode::Proxy), Some(Mode::Nat)) => Course::Kept,
            (Some(_), _) | (_, Some(_)) => Course::Cut,
        });
        (before, old) = (target, new);
    }
    course
}

/// A service, as maps have it.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The maps.
    pub maps: &'a Snapshot,
    /// What they say of it.
    pub decision: Decision,
}

impl Held<'_> {
    /// Its backends that may serve.
    #[must_use]
    pub fn alive(&self) -> HashSet<SocketAddr> {
        let members = self.maps.members_of(self.decision.member_base());
        members.values().filter(|m| is_alive(m)).map(socket_address).collect()
    }

    /// Do both choose the same backends alike?
    #[must_use]
    pub fn chooses_as(&self, other: &Self) -> bool {
        let ring = |held: &Self| held.maps.rings.get(&held.decision.ring_block()).cloned();
        let members = |held: &Self| held.maps.members_of(held.decision.member_base());
        self.decision == other.decision && ring(self) == ring(other) && members(self) == members(other)
    }

    /// The backend of slot `number` of `slots`, of which the ring has as many or fewer.
    fn current(&self, number: usize) -> MemberIndex {
        let ring = self.maps.rings.get(&self.decision.ring_block());
        let slots = ring.map_or(&[][..], |ring| &ring.slots);
        // Powers of two: a smaller ring masks more bits of the same hash.
        let slot = slots.get(number % slots.len().max(1));
        slot.map_or(MemberIndex::NONE, |slot| slot.current())
    }

    fn address(&self, index: MemberIndex) -> Option<SocketAddr> {
        let member = self.maps.members.get(&self.decision.member(index))?;
        (index != MemberIndex::NONE).then(|| socket_address(member))
    }
}

/// The slots of a service before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Of the larger of both rings; all numbers are in these.
    pub slots: u32,
    /// Slots that have another backend afterwards.
    pub moved: u32,
    /// By backend; those without any, before and after, are not there.
    pub backends: BTreeMap<SocketAddr, Share>,
}

/// Compares a service before and after; `None` where it is not there.
#[must_use]
pub fn shares(before: Option<Held<'_>>, after: Option<Held<'_>>) -> Shares {
    let log2 = |held: &Held<'_>| held.decision.ring_log2();
    let Some(log2) = before.iter().chain(&after).map(log2).max() else {
        return Shares::default();
    };
    let mut pairs: HashMap<(MemberIndex, MemberIndex), u32> = HashMap::new();
    for number in 0..1_usize << log2 {
        let current = |held: &Option<Held<'_>>| held.map_or(MemberIndex::NONE, |held| held.current(number));
        *pairs.entry((current(&before), current(&after))).or_default() += 1;
    }
    let mut shares = Shares {
        slots: 1 << log2,
        ..Shares::default()
    };
    for ((old, new), count) in pairs {
        let old = before.and_then(|held| held.address(old));
        let new = after.and_then(|held| held.address(new));
        let moves = if old == new { 0 } else { count };
        shares.moved += moves;
        if let Some(old) = old {
            let share = shares.backends.entry(old).or_default();
            share.before += count;
            share.loses += moves;
        }
        if let Some(new) = new {
            let share = shares.backends.entry(new).or_default();
            share.after += count;
            share.gains += moves;
        }
    }
    shares
}
