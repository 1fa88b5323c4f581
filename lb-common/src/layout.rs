//! Sizes of everything that lies in a map, and the number that names the whole layout.

use crate::backend::{MacFlags, Member, Nic};
use crate::limits::{MEMBERS, RING_BLOCKS, SERVICE_BUCKETS, SERVICE_OVERFLOW};
use crate::ring::{RingBlock, Slot};
use crate::service::{BucketV4, BucketV6, Decision, KeyV4, KeyV6};
use crate::stats::{Counters, DROP_CODES};

macro_rules! shared {
    ($($ty:ty = $bytes:literal),* $(,)?) => { $(
        const _: () = assert!(size_of::<$ty>() == $bytes);
        // SAFETY: repr(C) or repr(transparent), Copy, no pointers, every padding byte is a field.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $ty {}
    )* };
}

shared! {
    KeyV4 = 8,
    KeyV6 = 24,
    Decision = 8,
    BucketV4 = 64,
    BucketV6 = 64,
    Slot = 4,
    RingBlock = 256,
    MacFlags = 8,
    Nic = 8,
    Member = 64,
    Counters = 24,
}

/// A map as both sides expect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLayout {
    /// Name in the object and in the kernel (at most 15 bytes), and of its pin.
    pub name: &'static str,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// Most entries.
    pub entries: u32,
    /// Is it an array that the manager maps into its memory?
    pub mapped: bool,
}

const fn map(name: &'static str, key: usize, value: usize, entries: u32, mapped: bool) -> MapLayout {
    assert!(name.len() <= 15);
    MapLayout {
        name,
        key: key as u32,
        value: value as u32,
        entries,
        mapped,
    }
}

/// Changes whenever the meaning of a map changes while its sizes stay.
pub const LAYOUT_VERSION: u32 = 1;

/// Every map that is pinned and adopted.
pub const MAPS: &[MapLayout] = &[
    map("SERVICES_V4", 4, size_of::<BucketV4>(), SERVICE_BUCKETS, true),
    map("SERVICES_V6", 4, size_of::<BucketV6>(), SERVICE_BUCKETS, true),
    map(
        "OVERFLOW_V4",
        size_of::<KeyV4>(),
        size_of::<Decision>(),
        SERVICE_OVERFLOW,
        false,
    ),
    map(
        "OVERFLOW_V6",
        size_of::<KeyV6>(),
        size_of::<Decision>(),
        SERVICE_OVERFLOW,
        false,
    ),
    map("RING", 4, size_of::<RingBlock>(), RING_BLOCKS, true),
    map("BACKENDS", 4, size_of::<Member>(), MEMBERS, true),
    map("COUNTERS", 4, size_of::<Counters>(), MEMBERS, false),
    map("DROPS", 4, size_of::<u64>(), DROP_CODES, false),
];

/// Digest of [`MAPS`] and [`LAYOUT_VERSION`] (64-bit FNV-1a): the name of the folder that holds the pins.
pub const fn digest() -> u64 {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, &LAYOUT_VERSION.to_le_bytes());
    let mut i = 0;
    while i < MAPS.len() {
        let m = MAPS[i];
        hash = fnv(hash, m.name.as_bytes());
        hash = fnv(hash, &m.key.to_le_bytes());
        hash = fnv(hash, &m.value.to_le_bytes());
        hash = fnv(hash, &m.entries.to_le_bytes());
        hash = fnv(hash, &[m.mapped as u8]);
        i += 1;
    }
    hash
}

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}
