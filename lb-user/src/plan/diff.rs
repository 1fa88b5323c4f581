//! The operations between two states of the maps, and their order.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::backend::{MacFlags, Member};
use lb_common::id::MemberId;
use lb_common::ring::Slot;
use lb_common::service::{self, Decision};

use super::entries::{Forget, Table};
use super::slots::Slots;
use super::snapshot::{Ring, ServiceKey, Snapshot};

/// One write to the maps. A packet meets each slot and each entry as it was before or as it is after; a ring and a member
/// that are new cannot be reached yet. The next hop of a member that serves changes in three words (MAC with flags, own
/// MAC, interface): a frame in between may go to the right MAC from the wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// Sets a member's counters to zero, before another backend takes its place.
    ResetCounters(MemberId),
    /// Writes a member. Of one that serves already, only the next hop, the flags and what `nat` shows change.
    PutMember(MemberId, Member),
    /// Writes a whole ring into a region that nothing refers to.
    PutRing {
        /// First block.
        block: u32,
        /// Every slot, in order.
        slots: Slots,
    },
    /// Changes slots of a ring that is in use.
    PutSlots {
        /// First block of the ring.
        block: u32,
        /// Number of the slot, and what it becomes.
        slots: Vec<(u32, Slot)>,
    },
    /// Sets the word of features.
    PutFeatures(u64),
    /// Adds an entry, or swaps its decision.
    PutEntry(ServiceKey, Decision),
    /// Removes an entry.
    DelEntry(ServiceKey),
    /// Waits until every packet that was being worked on is done with what it read.
    Grace,
    /// Removes a member that nothing refers to.
    DelMember(MemberId),
    /// Removes entries of `FLOWS` and `TRACKED`: strays (see [`super::entries`]), and those that this names.
    ForgetFlows(Forget),
}

impl MapOp {
    /// Slots that it writes.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self {
            Self::PutRing { slots, .. } => slots.len(),
            Self::PutSlots { slots, .. } => slots.len(),
            _ => 0,
        }
    }
}

/// What turns `installed` into `target`, in order: services and VIPs that go; addresses; members, rings, services; what
/// `nat` needs no longer, members that go. Empty when nothing differs.
///
/// Entries of flows are strays before their slot leaves the stable state or their member comes alive, and go then: after
/// the grace period of the change that has made them so, or first thing in the one that would have them read again. A look
/// at all entries is left out where there can be none.
///
/// Services that go do so first, since what they lead to may be about to become another's. A grace period follows them,
/// before their places are taken; another one ends the change. Answers to flows of `nat` are known before the first flow
/// can be opened, and until no packet can open one any more.
#[must_use]
pub fn diff(installed: &Snapshot, target: &Snapshot) -> Vec<MapOp> {
    let gone = installed
        .entries
        .iter()
        .filter(|&(key, _)| !target.entries.contains_key(key));
    let (gone, helpers_gone): (Vec<_>, Vec<_>) = gone.partition(|(_, d)| d.is_service() || d.is_vip());
    let mut ops: Vec<MapOp> = gone.iter().map(|&(&key, _)| MapOp::DelEntry(key)).collect();
    if !ops.is_empty() {
        ops.push(MapOp::Grace);
    }
    let gone: BTreeSet<ServiceKey> = gone
        .iter()
        .filter(|&&(_, &decision)| installed.may_know(decision))
        .map(|&(&key, _)| key)
        .collect();
    let changed = changed(installed, target);
    if !gone.is_empty() || rises(installed, target) {
        ops.push(MapOp::ForgetFlows(Forget { keys: gone }));
    }
    let put = target
        .entries
        .iter()
        .filter(|&(key, decision)| installed.entries.get(key) != Some(decision));
    let (services, others): (Vec<_>, Vec<_>) = put.partition(|(_, d)| d.is_service());
    let (backends, addresses): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|(_, d)| d.mode() == Some(service::Mode::Backend));
    let put = |(&key, &decision): (&ServiceKey, &Decision)| MapOp::PutEntry(key, decision);
    let features = installed.features | target.features;
    if features != installed.features {
        ops.push(MapOp::PutFeatures(features));
    }
    ops.extend(addresses.into_iter().map(put));
    for (&id, &member) in &target.members {
        match installed.members.get(&id) {
            Some(old) if *old == member => {}
            Some(old) if (old.address, old.port) == (member.address, member.port) => {
                ops.push(MapOp::PutMember(id, member));
            }
            _ => ops.extend([MapOp::ResetCounters(id), MapOp::PutMember(id, member)]),
        }
    }
    for (&block, ring) in &target.rings {
        match installed.rings.get(&block) {
            Some(old) if old.log2 == ring.log2 => {
                if !old.slots.ptr_eq(&ring.slots) {
                    let slots: Vec<_> = (0..)
                        .zip(old.slots.iter().zip(&*ring.slots))
                        .filter(|(_, (a, b))| a != b)
                        .map(|(i, (_, &b))| (i, b))
                        .collect();
                    if !slots.is_empty() {
                        ops.push(MapOp::PutSlots { block, slots });
                    }
                }
            }
            _ => ops.push(MapOp::PutRing {
                block,
                slots: ring.slots.clone(),
            }),
        }
    }
    // These lead to members that have to be there.
    ops.extend(backends.into_iter().chain(services).map(put));
    ops.extend(helpers_gone.into_iter().map(|(&key, _)| MapOp::DelEntry(key)));
    if features != target.features {
        ops.push(MapOp::PutFeatures(target.features));
    }
    let gone: Vec<_> = installed
        .members
        .keys()
        .filter(|&id| !target.members.contains_key(id))
        .collect();
    // What programs read has not changed since the last one.
    let rests = matches!(ops.last(), Some(MapOp::Grace | MapOp::ForgetFlows(_)));
    if !(rests || ops.is_empty() && gone.is_empty()) {
        ops.push(MapOp::Grace);
    }
    if let Some(keys) = changed {
        // What is written from now on is not to meet what was removed.
        ops.extend([MapOp::ForgetFlows(Forget { keys }), MapOp::Grace]);
    }
    ops.extend(gone.into_iter().map(|&id| MapOp::DelMember(id)));
    ops
}

/// Does a member come alive of whom, or in whose place, something may be known?
fn rises(installed: &Snapshot, target: &Snapshot) -> bool {
    let is_alive = |member: &Member| member.next_hop.flags() & MacFlags::ALIVE != 0;
    let risen = target.members.iter().filter(|&(id, member)| {
        let was = installed.members.get(id);
        is_alive(member) && !was.is_some_and(|was| is_alive(was) && was.address == member.address)
    });
    let mut risen = risen.map(|(&id, _)| id).peekable();
    if risen.peek().is_none() {
        return false;
    }
    let services = installed.entries.values().filter(|d| d.is_balanced());
    let services: BTreeMap<u32, Decision> = services.map(|d| (d.member_base(), *d)).collect();
    let theirs: BTreeMap<u32, Decision> = risen
        .filter_map(|MemberId(id)| services.range(..id).next_back())
        .map(|(&base, &service)| (base, service))
        .collect();
    theirs.into_values().any(|service| installed.may_know(service))
}

/// The keys whose flows go on by other rules, so that what is known of them means nothing any more; `None` when no entry
/// becomes void, and no stray either.
fn changed(installed: &Snapshot, target: &Snapshot) -> Option<BTreeSet<ServiceKey>> {
    let mut keys = BTreeSet::new();
    for (&key, &decision) in target.entries.iter().filter(|(_, d)| d.is_service()) {
        let void = match installed.entries.get(&key).filter(|d| d.is_service()) {
            Some(&old) if old == decision => false,
            Some(&old) => installed.may_know(old) && !continues(installed, target, old, decision),
            // Its port may have been one of a block's.
            None => key.blocks_around().any(|block| {
                let around = installed.entries.get(&block).filter(|d| d.is_service());
                around.is_some_and(|&around| installed.may_know(around))
            }),
        };
        if void {
            keys.insert(key);
        }
    }
    // Slots that have become stable outright leave strays.
    let strays = target.rings.iter().any(|(block, ring)| {
        installed.rings.get(block).is_some_and(|old| {
            let mut both = old.slots.iter().zip(&*ring.slots);
            !old.slots.ptr_eq(&ring.slots) && both.any(|(old, new)| !old.is_stable() && new.is_stable())
        })
    });
    (strays || !keys.is_empty()).then_some(keys)
}

/// Does what is known of a service's flows hold as well where `new` says how they go on?
pub(super) fn continues(installed: &Snapshot, target: &Snapshot, old: Decision, new: Decision) -> bool {
    let table = Table::of(old);
    let same_rules = table == Table::of(new) && (old.choice() == new.choice() || table == Some(Table::Tracked));
    let old_members = installed.members_of(old.member_base());
    let same_members = old.member_base() == new.member_base()
        || old_members.iter().all(|(&index, member)| {
            let there = target.members.get(&new.member(lb_common::id::MemberIndex(index)));
            there.is_none_or(|there| (there.address, there.port) == (member.address, member.port))
        });
    let same_slots = || {
        let rings = (
            installed.rings.get(&old.ring_block()),
            target.rings.get(&new.ring_block()),
        );
        old.ring_block() == new.ring_block() || matches!(rings, (Some(old), Some(new)) if is_spread(old, new))
    };
    same_rules && same_members && (table == Some(Table::Tracked) || same_slots())
}

/// Are the slots those of `old`?
fn is_spread(old: &Ring, new: &Ring) -> bool {
    old.log2 <= new.log2 && old.slots.iter().cycle().zip(&*new.slots).all(|(old, new)| old == new)
}
