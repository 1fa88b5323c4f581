//! Map capacities, each with what it costs in memory.

/// Buckets of `SERVICES_V4` and of `SERVICES_V6`: 1 MiB each. A power of two, since the bucket is a masked hash.
pub const SERVICE_BUCKETS: u32 = 1 << 14;

/// Entries of the hash behind each of the two, for buckets that are full: about 64 bytes each, allocated on use.
pub const SERVICE_OVERFLOW: u32 = 1 << 14;

/// Slots in one block, the element of the `RING` array. Single `u32` elements would be padded to 8 bytes.
pub const SLOTS_PER_BLOCK: u32 = 64;

/// Blocks of `RING`: 64 MiB, that is 16 Mi slots, or 1,024 services with the default ring of 16,384 slots.
pub const RING_BLOCKS: u32 = 1 << 18;

/// Smallest ring, log2 of its slots: one block.
pub const RING_MIN_LOG2: u8 = 6;

/// Largest ring, log2 of its slots: 4 MiB of `RING`.
pub const RING_MAX_LOG2: u8 = 20;

/// Places of `NICS`, a power of two: an interface takes the one of its index's low bits.
pub const NICS: u32 = 1 << 10;

/// Entries of `BACKENDS` (64 bytes each, 4 MiB) and of `COUNTERS` (24 bytes each and per CPU, 1.5 MiB per CPU).
pub const MEMBERS: u32 = 1 << 16;

/// Fewest ids that a service's members get, a power of two: room to grow without moving, since members that move start
/// their counters anew. A service of n backends gets the next power of two above n, but at least this.
pub const MEMBERS_PER_SERVICE: u32 = 16;

/// Entries of `NAT` and `NAT_REPLY`, `FLOWS` and `TRACKED` where the file says nothing else: flows that can be known at
/// once. 4 MiB each while empty, and about 180 bytes for each entry of the first two, 120 of the others, allocated on use.
pub const FLOW_TABLE: u32 = 1 << 18;

/// Fewest and most entries that these tables may have.
pub const FLOW_TABLE_RANGE: (u32, u32) = (1 << 10, 1 << 24);

/// Ports that a new flow tries before it is dropped for want of one.
pub const PORT_TRIES: u32 = 64;

/// Most keys that one run of the sweep looks at: 3.2 kB, as much as a packet of one page holds.
pub const SWEEP_KEYS: u32 = 80;

/// Most entries of `FLOWS` or `TRACKED` that one run of the program removes: 3.2 kB, as above.
pub const REMOVALS: u32 = 66;

/// Bytes of `NEWS`: keys of some 21,000 flows that are new, until the manager has read them.
pub const NEWS: u32 = 1 << 20;

/// Fragmented packets that are followed at once: about 2 MiB, taken at the start. The oldest give way.
pub const FRAGMENTS: u32 = 1 << 14;

/// Sets of 4 sources each that [`crate::protect::limit`] keeps something of: 4 MiB. A power of two.
pub const LIMIT_SETS: u32 = 1 << 16;

/// Programs that the first one hands packets on to: places of `STAGES`.
pub const STAGES: u32 = 8;

/// Place in `STAGES` of the program that decides what the first one does not.
pub const STAGE_FULL: u32 = 0;

/// Place in `STAGES` of the first one, for packets that are not traced while some are.
pub const STAGE_FIRST: u32 = 1;

/// Place in `STAGES` of the program that answers SYNs with cookies.
pub const STAGE_COOKIE: u32 = 2;

/// IPv6 extension headers that are followed.
pub const EXTENSION_HEADERS: u32 = 6;
