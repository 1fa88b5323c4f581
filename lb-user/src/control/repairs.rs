//! What somebody else has changed, and is put right: counted by kind, and said.
//!
//! A manager knows what it has written, so what it reads back tells what others have done, as long as the last plan was
//! carried out to its end. Nothing follows from it but words: the round puts everything right, whoever has changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::status::Repairs;
use crate::plan::Snapshot;

/// What a manager has found changed since it started.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    counts: Repairs,
    /// VIPs that this manager has put, or found, on the node: one that is there no more was taken off by somebody.
    vips: BTreeSet<IpAddr>,
}

impl Repaired {
    /// So far.
    pub(super) const fn counts(&self) -> Repairs {
        self.counts
    }

    /// The maps are read back, and should be as they were left.
    pub(super) fn read_back(&mut self, left: &Snapshot, found: &Snapshot) {
        let Repairs {
            entries,
            slots,
            members,
            ..
        } = differences(left, found);
        if entries + slots + members > 0 {
            tracing::warn!(
                entries,
                slots,
                members,
                "somebody else has changed the maps: they are put right"
            );
            self.counts.entries += entries;
            self.counts.slots += slots;
            self.counts.members += members;
        }
    }

    /// The program had to be put back on an interface where it was.
    pub(super) fn attached(&mut self, interface: &str) {
        tracing::warn!(
            interface,
            "somebody else has taken the program off: it is attached again"
        );
        self.counts.programs += 1;
    }

    /// These addresses are on the node.
    pub(super) fn present<'v>(&mut self, vips: impl Iterator<Item = &'v IpAddr>) {
        self.vips.extend(vips);
    }

    /// A VIP has been put on the node that had none of its kind. True when it had been there before.
    pub(super) fn put(&mut self, vip: IpAddr) -> bool {
        let was_there = !self.vips.insert(vip);
        if was_there {
            tracing::warn!(%vip, "somebody else has taken the VIP off the node: it is back");
            self.counts.addresses += 1;
        }
        was_there
    }

    /// Other interfaces are there: what was on those that went is gone with them.
    pub(super) fn forget_addresses(&mut self) {
        self.vips.clear();
    }

    /// A VIP has been taken off.
    pub(super) fn taken_off(&mut self, vip: IpAddr) {
        self.vips.remove(&vip);
    }
}

/// What differs, by kind. A ring is known by its place; one that no entry leads to any more counts with the entry.
fn differences(left: &Snapshot, found: &Snapshot) -> Repairs {
    fn differing<K: Ord, V: PartialEq>(left: &BTreeMap<K, V>, found: &BTreeMap<K, V>) -> u64 {
        let gone = left.iter().filter(|&(key, value)| found.get(key) != Some(value));
        let come = found.keys().filter(|&key| !left.contains_key(key));
        (gone.count() + come.count()) as u64
    }
    let slots = left.rings.iter().map(|(block, ring)| {
        let now = found.rings.get(block).filter(|now| !now.slots.ptr_eq(&ring.slots));
        let both = now.into_iter().flat_map(|now| ring.slots.iter().zip(&*now.slots));
        both.filter(|(left, now)| left != now).count() as u64
    });
    Repairs {
        entries: differing(&left.entries, &found.entries) + u64::from(left.features != found.features),
        slots: slots.sum(),
        members: differing(&left.members, &found.members),
        ..Repairs::default()
    }
}
