//! How services, rings and members lie in the maps, and in which order their words are stored.
//!
//! An entry appears by its decision being stored last, and disappears by its decision being zeroed. Its place is used
//! again only by a later change, that is after a grace period, so a packet that has matched the old key never reads
//! the new decision.

use std::collections::BTreeMap;

use lb_common::backend::{MacFlags, Member};
use lb_common::id::MemberId;
use lb_common::limits::SLOTS_PER_BLOCK;
use lb_common::nat::Ticks;
use lb_common::ring::{RingBlock, Slot};
use lb_common::select::{Tables, read_once};
use lb_common::service::{BucketV4, BucketV6, Decision, EntryV4, EntryV6, KeyV4, KeyV6, feature};

use super::error::ApplyError;
use super::region::{Region, store_u32, store_u64};
use crate::plan::{MapOp, Ring, ServiceKey, Slots, Snapshot};

/// The hash behind one family's buckets.
pub(super) trait Overflow<K>: Send {
    /// Value of a key.
    fn get(&self, key: &K) -> Decision;
    /// Every key and value.
    fn all(&self) -> Result<Vec<(K, Decision)>, ApplyError>;
    /// Adds or replaces.
    fn put(&mut self, key: K, decision: Decision) -> Result<(), ApplyError>;
    /// Removes; a key that is not there is fine.
    fn delete(&mut self, key: &K) -> Result<(), ApplyError>;
}

/// The maps of services.
pub(super) struct Services {
    pub(super) v4: Region<BucketV4>,
    pub(super) v6: Region<BucketV6>,
    pub(super) overflow_v4: Box<dyn Overflow<KeyV4>>,
    pub(super) overflow_v6: Box<dyn Overflow<KeyV6>>,
}

impl Services {
    /// Every entry, wherever it lies.
    pub(super) fn entries(&self) -> Result<BTreeMap<ServiceKey, Decision>, ApplyError> {
        let mut entries = BTreeMap::new();
        let placed = self.v4.as_slice().iter().flat_map(|b| b.entries);
        entries.extend(
            placed
                .map(|e| (ServiceKey::V4(e.key), e.decision.unmarked()))
                .filter(exists),
        );
        let placed = self.v6.as_slice().iter().flat_map(|b| b.entries);
        entries.extend(
            placed
                .map(|e| (ServiceKey::V6(e.key), e.decision.unmarked()))
                .filter(exists),
        );
        entries.extend(
            self.overflow_v4
                .all()?
                .into_iter()
                .map(|(key, d)| (ServiceKey::V4(key), d)),
        );
        entries.extend(
            self.overflow_v6
                .all()?
                .into_iter()
                .map(|(key, d)| (ServiceKey::V6(key), d)),
        );
        Ok(entries)
    }

    /// Sets the decision of a key; [`Decision::NONE`] removes it.
    fn write(&mut self, key: ServiceKey, decision: Decision) -> Result<(), ApplyError> {
        match key {
            ServiceKey::V4(key) => {
                let missing = || out_of_bounds("SERVICES_V4", key.bucket());
                let bucket = self.v4.get_mut(key.bucket()).ok_or_else(missing)?;
                write(&mut bucket.entries, &mut *self.overflow_v4, key, decision)
            }
            ServiceKey::V6(key) => {
                let missing = || out_of_bounds("SERVICES_V6", key.bucket());
                let bucket = self.v6.get_mut(key.bucket()).ok_or_else(missing)?;
                write(&mut bucket.entries, &mut *self.overflow_v6, key, decision)
            }
        }
    }
}

fn exists((_, decision): &(ServiceKey, Decision)) -> bool {
    decision.exists()
}

/// Arrays that are laid out as the program's.
pub(super) struct Layout {
    pub(super) services: Services,
    pub(super) ring: Region<RingBlock>,
    pub(super) backends: Region<Member>,
    pub(super) features: Region<u64>,
    pub(super) load: Region<u64>,
}

impl Tables for Layout {
    fn bucket_v4(&self, index: u32) -> Option<&BucketV4> {
        self.services.v4.get(index)
    }

    fn bucket_v6(&self, index: u32) -> Option<&BucketV6> {
        self.services.v6.get(index)
    }

    fn overflow_v4(&self, key: &KeyV4) -> Decision {
        self.services.overflow_v4.get(key)
    }

    fn overflow_v6(&self, key: &KeyV6) -> Decision {
        self.services.overflow_v6.get(key)
    }

    fn ring_block(&self, index: u32) -> Option<&RingBlock> {
        self.ring.get(index)
    }

    fn member(&self, id: MemberId) -> Option<&Member> {
        self.backends.get(id.0)
    }
}

/// Features that follow from what is desired; the others are [`super::kernel`]'s own.
const DERIVED: u64 = feature::CLIENT_SOURCE | feature::NEWS;

/// One family of services: its key, and a place of its buckets.
trait Place {
    type Key: Copy + PartialEq;
    fn bucket(key: Self::Key) -> u32;
    fn key(&self) -> Self::Key;
    fn set_key(&mut self, key: Self::Key);
    fn decision(&self) -> Decision;
    fn decision_mut(&mut self) -> &mut Decision;
}

macro_rules! place {
    ($entry:ident, $key:ident) => {
        impl Place for $entry {
            type Key = $key;
            fn bucket(key: $key) -> u32 {
                key.bucket()
            }
            fn key(&self) -> $key {
                self.key
            }
            fn set_key(&mut self, key: $key) {
                self.key = key;
            }
            fn decision(&self) -> Decision {
                self.decision
            }
            fn decision_mut(&mut self) -> &mut Decision {
                &mut self.decision
            }
        }
    };
}

place!(EntryV4, KeyV4);
place!(EntryV6, KeyV6);

/// Stores a decision, keeping the bucket's mark.
fn store(decision: &mut Decision, value: Decision) {
    let mark = decision.0 & Decision::OVERFLOWED;
    store_u64(&mut decision.0, value.0 | mark);
}

/// Sets or clears the mark of a bucket, which its last place holds.
fn mark<P: Place>(bucket: &mut [P], overflowed: bool) {
    if let Some(last) = bucket.last_mut() {
        let flag = if overflowed { Decision::OVERFLOWED } else { 0 };
        let marked = last.decision().unmarked().0 | flag;
        store_u64(&mut last.decision_mut().0, marked);
    }
}

/// Writes the decision of `key` where the key is: in its bucket, or in the hash behind it. A new key takes a free place
/// of the bucket, or goes into the hash; [`Decision::NONE`] takes it out.
fn write<P: Place>(
    bucket: &mut [P],
    overflow: &mut dyn Overflow<P::Key>,
    key: P::Key,
    decision: Decision,
) -> Result<(), ApplyError> {
    if let Some(place) = bucket.iter_mut().find(|p| p.key() == key && p.decision().exists()) {
        store(place.decision_mut(), decision);
        return Ok(());
    }
    let in_hash = overflow.get(&key).exists();
    if !decision.exists() {
        if in_hash {
            overflow.delete(&key)?;
            let shared = overflow
                .all()?
                .iter()
                .any(|&(other, _)| P::bucket(other) == P::bucket(key));
            mark(bucket, shared);
        }
        return Ok(());
    }
    if !in_hash && let Some(place) = bucket.iter_mut().find(|p| !p.decision().exists()) {
        place.set_key(key);
        store(place.decision_mut(), decision);
        return Ok(());
    }
    // The mark first: without the key it costs a lookup, but a key without the mark would never be found, and nobody
    // would notice.
    mark(bucket, true);
    overflow.put(key, decision)
}

fn out_of_bounds(map: &'static str, index: u32) -> ApplyError {
    ApplyError::OutOfBounds { map, index }
}

impl Layout {
    /// Performs an operation on these arrays; counters, entries of flows and grace periods are not theirs.
    pub(super) fn apply(&mut self, op: &MapOp) -> Result<(), ApplyError> {
        match op {
            MapOp::PutMember(id, member) => self.put_member(*id, member),
            MapOp::DelMember(id) => self.put_member(*id, &Member::default()),
            MapOp::PutRing { block, slots } => self.put_slots(*block, (0..).zip(slots.iter().copied())),
            MapOp::PutSlots { block, slots } => self.put_slots(*block, slots.iter().copied()),
            MapOp::PutEntry(key, decision) => self.services.write(*key, *decision),
            MapOp::DelEntry(key) => self.services.write(*key, Decision::NONE),
            MapOp::PutFeatures(bits) => self.put_features(*bits),
            MapOp::ResetCounters(_) | MapOp::Grace | MapOp::ForgetFlows(_) => Ok(()),
        }
    }

    fn put_features(&mut self, bits: u64) -> Result<(), ApplyError> {
        let word = self.features.get_mut(0).ok_or_else(|| out_of_bounds("FEATURES", 0))?;
        let others = *word & !DERIVED;
        store_u64(word, others | bits);
        Ok(())
    }

    /// Has the program hold flows that it does not know, until then; 0 for no longer. See [`feature::holds`].
    pub(super) fn hold(&mut self, until: Ticks) {
        if let Some(word) = self.features.get_mut(0) {
            let derived = *word & DERIVED;
            store_u64(word, derived | u64::from(until) << feature::HOLD_UNTIL);
        }
    }

    /// Stores slots of the ring that begins at `block`.
    fn put_slots(&mut self, block: u32, slots: impl IntoIterator<Item = (u32, Slot)>) -> Result<(), ApplyError> {
        for (slot, Slot(word)) in slots {
            let index = block + slot / SLOTS_PER_BLOCK;
            let block = self.ring.get_mut(index).ok_or_else(|| out_of_bounds("RING", index))?;
            store_u32(&mut block.slots[(slot % SLOTS_PER_BLOCK) as usize].0, word);
        }
        Ok(())
    }

    /// Writes a member. Where the same backend is already, packets may be reading: the two words change one by one,
    /// the one with the flags last when it appears and first when it goes.
    fn put_member(&mut self, MemberId(id): MemberId, member: &Member) -> Result<(), ApplyError> {
        let place = self.backends.get_mut(id).ok_or_else(|| out_of_bounds("BACKENDS", id))?;
        let resolved = member.next_hop.flags() & MacFlags::RESOLVED != 0;
        if !resolved {
            store_u64(&mut place.next_hop.0, member.next_hop.0);
        }
        place.address = member.address;
        place.port = member.port;
        for (place, word) in place.source.0.iter_mut().zip(member.source.0) {
            store_u64(place, word);
        }
        store_u32(&mut place.idle, member.idle);
        place.first_port = member.first_port;
        place.ports = member.ports;
        place.weight = member.weight;
        store_u64(&mut place.local.0, member.local.0);
        store_u32(&mut place.interface, member.interface);
        if resolved {
            store_u64(&mut place.next_hop.0, member.next_hop.0);
        }
        Ok(())
    }

    /// How many flows a member serves, where load decides.
    pub(super) fn load(&self, MemberId(id): MemberId) -> u64 {
        self.load.get(id).map_or(0, read_once)
    }

    /// Sets that. The program may be counting meanwhile.
    pub(super) fn set_load(&mut self, MemberId(id): MemberId, flows: u64) -> Result<(), ApplyError> {
        let word = self.load.get_mut(id).ok_or_else(|| out_of_bounds("LOAD", id))?;
        store_u64(word, flows);
        Ok(())
    }

    /// Reads everything back; what no entry refers to is left out, except members, which want to be removed. Rings that are
    /// as in `known` are taken from there.
    pub(super) fn snapshot(&self, known: &Snapshot) -> Result<Snapshot, ApplyError> {
        let entries = self.services.entries()?;
        let mut rings = BTreeMap::new();
        for decision in entries.values().filter(|d| d.is_balanced()) {
            let (block, log2) = (decision.ring_block(), decision.ring_log2());
            rings.entry(block).or_insert_with(|| Ring {
                log2,
                slots: self.slots(block, log2, known.rings.get(&block)),
            });
        }
        let members = (0..)
            .map(MemberId)
            .zip(self.backends.as_slice())
            .filter(|(_, member)| member.exists());
        Ok(Snapshot {
            members: members.map(|(id, &member)| (id, member)).collect(),
            entries,
            rings,
            features: self.features.get(0).map_or(0, |word| word & DERIVED),
        })
    }

    fn slots(&self, block: u32, log2: u8, known: Option<&Ring>) -> Slots {
        let blocks = (1u32 << (log2 & 31)) / SLOTS_PER_BLOCK;
        let end = self.ring.as_slice().len().min((block + blocks) as usize);
        let blocks = self.ring.as_slice().get(block as usize..end).unwrap_or_default();
        if let Some(known) = known.filter(|known| known.log2 == log2) {
            let mut both = blocks.iter().zip(known.slots.chunks(SLOTS_PER_BLOCK as usize));
            if both.all(|(now, known)| now.slots == *known) {
                return known.slots.clone();
            }
        }
        let mut slots = Vec::with_capacity(blocks.len() * SLOTS_PER_BLOCK as usize);
        blocks.iter().for_each(|block| slots.extend_from_slice(&block.slots));
        slots.into()
    }
}
