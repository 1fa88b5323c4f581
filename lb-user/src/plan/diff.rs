//! The operations between two states of the maps, and their order.

use std::sync::Arc;

use lb_common::backend::Member;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::service::{self, Decision};

use super::snapshot::{ServiceKey, Snapshot};

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

/// What turns `installed` into `target`, in order: services and VIPs that go; addresses; members, rings, services; what
/// `nat` needs no longer, members that go. Empty when nothing differs.
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
    if !(ops.is_empty() && gone.is_empty()) && ops.last() != Some(&MapOp::Grace) {
        ops.push(MapOp::Grace);
    }
    ops.extend(gone.into_iter().map(|&id| MapOp::DelMember(id)));
    ops
}
