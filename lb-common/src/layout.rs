//! Sizes of everything that lies in a map or goes from one side to the other, and the number that names the whole layout.

use crate::backend::{MacFlags, Member, Nic};
use crate::decap::Sources;
use crate::fragment::{Fragment, FragmentKey};
use crate::limits::{
    FLOW_TABLE, FRAGMENTS, LIMIT_SETS, MEMBERS, NICS, RING_BLOCKS, SERVICE_BUCKETS, SERVICE_OVERFLOW, STAGES,
};
use crate::nat::{NatKey, Translation};
use crate::protect::kept::Kept;
use crate::protect::limit::Set;
use crate::protect::prefixes::Line;
use crate::protect::{PLACES, Refusals};
use crate::removal::{Removal, Removals};
use crate::ring::{RingBlock, Slot};
use crate::service::{BucketV4, BucketV6, Decision, KeyV4, KeyV6};
use crate::slot::Entry;
use crate::stats::{Counters, DROP_CODES, FLOW_EVENT_CODES};
use crate::trace::{Budget, Sample, Wanted};

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
    Counters = 40,
    NatKey = 40,
    Translation = 80,
    Entry = 16,
    Removal = 48,
    Removals = 3184,
    FragmentKey = 40,
    Fragment = 8,
    Sources = 32,
    Wanted = 56,
    Sample = 184,
    Budget = 16,
    Line = 64,
    Set = 64,
    Refusals = 152,
}

/// What sort of map it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MapKind {
    /// Looked up and written by system calls.
    Plain = 0,
    /// A [`Direct`] array.
    Mapped = 1,
    /// A hash of flows, with as many entries as the file says, allocated on use.
    Flows = 2,
    /// Programs, which belong to one load of the object: never taken over from another layout.
    Programs = 3,
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
    /// What sort of map it is.
    pub kind: MapKind,
    /// Changes whenever the map's meaning changes while its sizes stay.
    pub version: u32,
}

const fn map(name: &'static str, key: usize, value: usize, entries: u32, kind: MapKind) -> MapLayout {
    assert!(name.len() <= 15);
    MapLayout {
        name,
        key: key as u32,
        value: value as u32,
        entries,
        kind,
        version: 1,
    }
}

/// An array that the manager maps into its memory and the program addresses directly: to the kernel it has one element. A
/// lookup in an array of many costs three times as many instructions, and a way through memory for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direct {
    /// By hash of the key: [`BucketV4`].
    ServicesV4,
    /// By hash of the key: [`BucketV6`].
    ServicesV6,
    /// [`RingBlock`].
    Ring,
    /// By [`crate::id::MemberId`]: [`Member`].
    Backends,
    /// By member: flows that live, where load decides. At a service's member base, which is no member: whose turn it is.
    Load,
    /// One word of [`crate::service::feature`]. Not pinned: it is made anew with each load, as is the next.
    Features,
    /// [`Nic`], by [`Nic::place`].
    Nics,
    /// [`Set`], by [`set_of`](crate::protect::limit::set_of): how much sources have sent.
    Limits,
    /// One [`Kept`].
    Cookies,
}

impl Direct {
    /// Every array.
    pub const ALL: [Self; 9] = [
        Self::ServicesV4,
        Self::ServicesV6,
        Self::Ring,
        Self::Backends,
        Self::Load,
        Self::Features,
        Self::Nics,
        Self::Limits,
        Self::Cookies,
    ];

    /// What the program has in place of the array's address, which the loader puts there: `FULCRUM` and the number.
    #[must_use]
    pub const fn marker(self) -> u64 {
        0x4655_4c43_5255_4d00 | self as u64
    }

    /// The array, as a map.
    #[must_use]
    pub const fn layout(self) -> MapLayout {
        const fn array(name: &'static str, element: usize, count: u32) -> MapLayout {
            map(name, 4, element * count as usize, 1, MapKind::Mapped)
        }
        match self {
            Self::ServicesV4 => array("SERVICES_V4", size_of::<BucketV4>(), SERVICE_BUCKETS),
            Self::ServicesV6 => array("SERVICES_V6", size_of::<BucketV6>(), SERVICE_BUCKETS),
            Self::Ring => array("RING", size_of::<RingBlock>(), RING_BLOCKS),
            Self::Backends => array("BACKENDS", size_of::<Member>(), MEMBERS),
            Self::Load => array("LOAD", size_of::<u64>(), MEMBERS),
            Self::Features => array("FEATURES", size_of::<u64>(), 1),
            Self::Nics => array("NICS", size_of::<Nic>(), NICS),
            Self::Limits => array("LIMITS", size_of::<Set>(), LIMIT_SETS),
            Self::Cookies => array("COOKIES", size_of::<Kept>(), 1),
        }
    }
}

/// Every map that is pinned and adopted, with tables of flows of the size that they have by default.
const MAPS: [MapLayout; 21] = {
    use MapKind::{Flows, Plain, Programs};
    const DECISION: usize = size_of::<Decision>();
    const COUNTERS: usize = size_of::<Counters>();
    const NAT: (usize, usize) = (size_of::<NatKey>(), size_of::<Translation>());
    [
        Direct::ServicesV4.layout(),
        Direct::ServicesV6.layout(),
        map("OVERFLOW_V4", size_of::<KeyV4>(), DECISION, SERVICE_OVERFLOW, Plain),
        map("OVERFLOW_V6", size_of::<KeyV6>(), DECISION, SERVICE_OVERFLOW, Plain),
        Direct::Ring.layout(),
        Direct::Backends.layout(),
        map("COUNTERS", 4, COUNTERS, MEMBERS, Plain),
        map("DROPS", 4, size_of::<u64>(), DROP_CODES, Plain),
        map("NAT", NAT.0, NAT.1, FLOW_TABLE, Flows),
        map("NAT_REPLY", NAT.0, NAT.1, FLOW_TABLE, Flows),
        map("FLOWS", NAT.0, size_of::<Entry>(), FLOW_TABLE, Flows),
        map("TRACKED", NAT.0, size_of::<Entry>(), FLOW_TABLE, Flows),
        Direct::Load.layout(),
        map("FLOW_EVENTS", 4, size_of::<u64>(), FLOW_EVENT_CODES, Plain),
        map(
            "FRAGMENTS",
            size_of::<FragmentKey>(),
            size_of::<Fragment>(),
            FRAGMENTS,
            Plain,
        ),
        map("STAGES", 4, 4, STAGES, Programs),
        Direct::Limits.layout(),
        Direct::Cookies.layout(),
        map("PROTECTION", 4, 4, 1, Plain),
        map("LISTS", 4, 4, 2, Plain),
        map("REFUSALS", 4, size_of::<Refusals>(), PLACES, Plain),
    ]
};

/// Every map that is pinned and adopted, where tables of flows have `flow_table` entries.
pub const fn maps(flow_table: u32) -> [MapLayout; MAPS.len()] {
    let mut maps = MAPS;
    let mut i = 0;
    while i < maps.len() {
        if matches!(maps[i].kind, MapKind::Flows) {
            maps[i].entries = flow_table;
        }
        i += 1;
    }
    maps
}

/// Digest of a layout (64-bit FNV-1a): the name of the folder that holds the pins.
pub const fn digest(maps: &[MapLayout]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < maps.len() {
        let m = maps[i];
        hash = fnv(hash, m.name.as_bytes());
        hash = fnv(hash, &m.key.to_le_bytes());
        hash = fnv(hash, &m.value.to_le_bytes());
        hash = fnv(hash, &m.entries.to_le_bytes());
        hash = fnv(hash, &[m.kind as u8]);
        hash = fnv(hash, &m.version.to_le_bytes());
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
