//! The operations between two states of the maps, and their order.

use std::sync::Arc;

use lb_common::backend::Member;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::service::Decision;

use super::snapshot::{ServiceKey, Snapshot};

/// One write to the maps. A packet meets each slot and each entry as it was before or as it is after; a ring and a member
/// that are new cannot be reached yet. The next hop of a member that serves changes in three words (MAC with flags, own
/// MAC, interface): a frame in between may go to the right MAC from the wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOp {
    /// Sets a member's counters to zero, before another backend takes its place.
    ResetCounters(MemberId),
    /// Writes a member. Of one that serves already, only the next hop and the flags change.
    PutMember(MemberId, Member),
    /// Writes a whole ring into a region that nothing refers to.
    PutRing {
        /// First block.
        block: u32,
        /// Every slot, in order.
        slots: Arc<[MemberIndex]>,
    },
    /// Changes slots of a ring that is in use.
    PutSlots {
        /// First block of the ring.
        block: u32,
        /// Slot and new member.
        slots: Vec<(u32, MemberIndex)>,
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
}

/// What turns `installed` into `target`, in order: entries that go; members, rings, entries; members that go. Empty when
/// nothing differs.
///
/// Entries that go do so first, since what they lead to may be about to become another service's. A grace period
/// follows them, before their places are taken; another one ends the change.
#[must_use]
pub fn diff(installed: &Snapshot, target: &Snapshot) -> Vec<MapOp> {
    let gone = installed
        .entries
        .keys()
        .filter(|&key| !target.entries.contains_key(key));
    let mut ops: Vec<MapOp> = gone.map(|&key| MapOp::DelEntry(key)).collect();
    if !ops.is_empty() {
        ops.push(MapOp::Grace);
    }
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
                if !Arc::ptr_eq(&old.slots, &ring.slots) {
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
                slots: Arc::clone(&ring.slots),
            }),
        }
    }
    if installed.features != target.features {
        ops.push(MapOp::PutFeatures(target.features));
    }
    let put = target
        .entries
        .iter()
        .filter(|&(key, decision)| installed.entries.get(key) != Some(decision));
    // Services last: what their packets and the answers need is there before.
    let (services, others): (Vec<_>, Vec<_>) = put.partition(|(_, decision)| decision.is_service());
    let put = others.into_iter().chain(services);
    ops.extend(put.map(|(&key, &decision)| MapOp::PutEntry(key, decision)));
    let gone: Vec<_> = installed
        .members
        .keys()
        .filter(|&id| !target.members.contains_key(id))
        .collect();
    if !(ops.is_empty() && gone.is_empty()) && ops.last() != Some(&MapOp::Grace) {
        ops.push(MapOp::Grace);
    }
    ops.extend(gone.into_iter().map(|&id| MapOp::DelMember(id)));
    ops
}
