//! Every map, and [`lb_common::select::Tables`] over them. Names and sizes are those of `lb_common::layout`.

use core::arch::asm;

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use aya_ebpf::macros::btf_map;
use lb_common::backend::{Member, Nic};
use lb_common::decap::Sources;
use lb_common::fragment::{Fragment, FragmentKey};
use lb_common::id::MemberId;
use lb_common::layout::Direct;
use lb_common::limits::{
    FLOW_TABLE, FRAGMENTS as FRAGMENT_PLACES, LIMIT_SETS, MEMBERS, NICS, RING_BLOCKS, SERVICE_BUCKETS,
    SERVICE_OVERFLOW, STAGES as STAGE_PLACES,
};
use lb_common::nat::{NatKey, Translation};
use lb_common::protect::kept::{Giver, Kept, STAMPS};
use lb_common::protect::limit::Set;
use lb_common::protect::prefixes::Line;
use lb_common::protect::{HEAD, Header, PLACES, Refusals};
use lb_common::ring::RingBlock;
use lb_common::select::{Tables, read_once};
use lb_common::service::{BucketV4, BucketV6, Decision, KeyV4, KeyV6};
use lb_common::slot::Entry;
use lb_common::stats::{Counters, DROP_CODES, FLOW_EVENT_CODES};
use lb_common::trace::{Budget, EVENTS as EVENTS_BYTES, Sample, Wanted};

use crate::clock::Clock;
use crate::protect::cookie::Scratch;
use crate::seen::Seen;

const ON_USE: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static OVERFLOW_V4: HashMap<KeyV4, Decision, { SERVICE_OVERFLOW as usize }, ON_USE> = HashMap::new();

#[btf_map]
static OVERFLOW_V6: HashMap<KeyV6, Decision, { SERVICE_OVERFLOW as usize }, ON_USE> = HashMap::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counters, { MEMBERS as usize }> = PerCpuArray::new();

#[btf_map]
pub(crate) static DROPS: PerCpuArray<u64, { DROP_CODES as usize }> = PerCpuArray::new();

/// Flows that are translated, as their clients send them.
#[btf_map]
pub(crate) static NAT: HashMap<NatKey, Translation, { FLOW_TABLE as usize }, ON_USE> = HashMap::new();

/// The same flows, as their backends answer.
#[btf_map]
pub(crate) static NAT_REPLY: HashMap<NatKey, Translation, { FLOW_TABLE as usize }, ON_USE> = HashMap::new();

/// Flows that have to be told apart while their slots move: see `lb_common::slot`.
#[btf_map]
pub(crate) static FLOWS: HashMap<NatKey, Entry, { FLOW_TABLE as usize }, ON_USE> = HashMap::new();

/// Every flow of the services that choose by turn or by load.
#[btf_map]
pub(crate) static TRACKED: HashMap<NatKey, Entry, { FLOW_TABLE as usize }, ON_USE> = HashMap::new();

/// By `lb_common::stats::FlowEvent`.
#[btf_map]
pub(crate) static FLOW_EVENTS: PerCpuArray<u64, { FLOW_EVENT_CODES as usize }> = PerCpuArray::new();

/// What first fragments have taught.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, Fragment, { FRAGMENT_PLACES as usize }> = LruHashMap::new();

/// The other programs that a packet may be handed to; filled by the loader, before the first one is attached.
#[btf_map]
pub(crate) static STAGES: ProgramArray<{ STAGE_PLACES as usize }> = ProgramArray::new();

/// Where packets may be redirected to, at the place of each interface in [`NICS`]; made and filled as that is. The
/// kernel empties the place of an interface that goes.
#[btf_map]
pub(crate) static PORTS: DevMap<{ lb_common::limits::NICS as usize }> = DevMap::new();

/// Packets that [`crate::decap`] has taken out of others; of no use to the balancer.
#[btf_map]
pub(crate) static DECAPPED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Whose outer packets [`crate::decap`] opens; what is left as it is made is everybody's. Of no use to the balancer.
#[btf_map]
pub(crate) static DECAP_FROM: Array<Sources, { lb_common::decap::SOURCES as usize }> = Array::new();

/// What is known of the packet that this CPU is at. Not on the stack: functions that are called would have less of it, and
/// not every kernel takes a pointer into the caller's stack for a map's key.
#[btf_map]
pub(crate) static SEEN: PerCpuArray<Seen, 1> = PerCpuArray::new();

/// Headers of the packet that this CPU is at, for functions of the kernel that want them elsewhere.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// What time it is on this CPU.
#[btf_map]
pub(crate) static CLOCK: PerCpuArray<Clock, 1> = PerCpuArray::new();

/// What is to be traced, while [`crate::trace`] runs.
#[btf_map]
pub(crate) static TRACING: Array<Wanted, 1> = Array::new();

/// What this CPU may still show of it.
#[btf_map]
pub(crate) static TRACE_BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Where a sample is made.
#[btf_map]
pub(crate) static SAMPLE: PerCpuArray<Sample, 1> = PerCpuArray::new();

/// The way of samples to the manager.
#[btf_map]
pub(crate) static EVENTS: RingBuf<Sample, { EVENTS_BYTES as usize }> = RingBuf::new();

/// The way of flows that are new to the manager.
#[btf_map]
pub(crate) static NEWS: RingBuf<NatKey, { lb_common::limits::NEWS as usize }> = RingBuf::new();

/// The lines of a sheet that are addressed directly.
#[repr(C)]
pub(crate) struct Head([Line; HEAD as usize]);

impl Head {
    /// The first line.
    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: a line of numbers, as long as a header.
        unsafe { &*(&raw const self.0).cast() }
    }

    /// A line; any one for a number of those behind.
    #[inline(always)]
    pub(crate) fn line(&self, index: u32) -> &Line {
        // SAFETY: inside the array.
        unsafe { &*(&raw const self.0).cast::<Line>().add(masked::<HEAD>(index)) }
    }
}

/// An index below `COUNT`, a power of two, as the verifier believes it. LLVM compares an index in one register and scales it in
/// another, of which the verifier then knows no bound.
#[inline(always)]
pub(crate) fn masked<const COUNT: u32>(index: u32) -> usize {
    const { assert!(COUNT.is_power_of_two()) };
    let mut at = u64::from(index);
    // SAFETY: the instruction has no effect but its result.
    unsafe {
        asm!(
            "{at} &= {mask}",
            at = inout(reg) at,
            mask = const COUNT - 1,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    at as usize
}

/// The sheet that protects services, if one does: see [`lb_common::protect`]. All heads are as long, so looking there is no call.
#[btf_map]
static PROTECTION: ArrayOfMaps<Array<[u64; WORDS * HEAD as usize], 1, { BPF_F_MMAPABLE as usize }>, 1> =
    ArrayOfMaps::new();

/// The lines of a sheet that are not in there: the manager's maps, with as many elements as each needs.
#[btf_map]
static LISTS: ArrayOfMaps<Array<[u64; WORDS], 1, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>, 2> =
    ArrayOfMaps::new();

/// Words of a line. In the types of maps inside maps: Linux 6.1 takes a map of the manager's, which has no BTF, only in place of
/// one whose values are no structs.
const WORDS: usize = size_of::<Line>() / 8;

/// The head of the sheet that protects services, if one does.
#[inline(always)]
pub(crate) fn head() -> Option<&'static Head> {
    // SAFETY: as many words, at the beginning of a page.
    PROTECTION
        .get_value(0, &0)
        .map(|words| unsafe { &*core::ptr::from_ref(words).cast() })
}

/// The line with this number, of those that are not in the head of the sheet whose others are at `place`.
#[inline(always)]
pub(crate) fn line_behind(place: u32, number: u32) -> Option<&'static Line> {
    // SAFETY: as many words, at a multiple of their size from the beginning of a page.
    LISTS
        .get_value(place, &number)
        .map(|words| unsafe { &*core::ptr::from_ref(words).cast() })
}

/// What has been refused, by [`lb_common::protect::place`].
#[btf_map]
pub(crate) static REFUSALS: PerCpuArray<Refusals, { PLACES as usize }> = PerCpuArray::new();

/// Not read here: the manager updates it to wait until programs that were running have ended.
#[btf_map]
static GRACE: ArrayOfMaps<Array<u32, 1>, 1> = ArrayOfMaps::new();

/// The first element of a [`Direct`] array: the loader puts the address in place of the marker.
macro_rules! first {
    ($direct:ident, $element:ty, $count:expr) => {{
        const { assert!(size_of::<[$element; $count as usize]>() == Direct::$direct.layout().value as usize) };
        let first: *mut $element;
        // SAFETY: the instruction has no effect but its result.
        unsafe {
            asm!(
                "{first} = {marker} ll",
                first = out(reg) first,
                marker = const Direct::$direct.marker(),
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        // SAFETY: the address of a map's memory is not 0.
        unsafe { core::hint::assert_unchecked(!first.is_null()) };
        first
    }};
}

/// The element of a [`Direct`] array at an index, of which there are a power of two; `None` behind its end.
macro_rules! element {
    ($direct:ident, $element:ty, $count:expr, $index:expr) => {{
        let index: u32 = $index;
        let at = masked::<{ $count }>(index);
        let first = first!($direct, $element, $count);
        // SAFETY: inside the array.
        (index < $count).then(|| unsafe { first.add(at) })
    }};
}

/// The element of a member in `LOAD`.
#[inline(always)]
pub(crate) fn load(id: MemberId) -> Option<*mut u64> {
    element!(Load, u64, MEMBERS, id.0)
}

/// The set of a source in `LIMITS`.
#[inline(always)]
pub(crate) fn limits(set: u32) -> Option<*mut Set> {
    element!(Limits, Set, LIMIT_SETS, set)
}

/// From when the stamps in `COOKIES` can be believed.
#[inline(always)]
pub(crate) fn stamps_from() -> u64 {
    let kept = first!(Cookies, Kept, 1);
    // SAFETY: a word in the map.
    read_once(unsafe { &(*kept).from })
}

/// What `COOKIES` keeps of the service at a place.
#[inline(always)]
pub(crate) fn giver(place: u32) -> *mut Giver {
    let kept = first!(Cookies, Kept, 1);
    // SAFETY: inside the array.
    unsafe { (&raw mut (*kept).givers).cast::<Giver>().add(masked::<PLACES>(place)) }
}

/// A place for a stamp, in `COOKIES`.
#[inline(always)]
pub(crate) fn stamp(index: u32) -> *mut u8 {
    let kept = first!(Cookies, Kept, 1);
    // SAFETY: inside the array.
    unsafe { (&raw mut (*kept).stamps).cast::<u8>().add(masked::<STAMPS>(index)) }
}

/// The element of an interface in `NICS`.
#[inline(always)]
pub(crate) fn nic(interface: u32) -> Option<Nic> {
    // SAFETY: a word in the map.
    element!(Nics, Nic, NICS, Nic::place(interface)).map(|nic| read_once(unsafe { &*nic }))
}

/// The maps of the running program.
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn bucket_v4(&self, index: u32) -> Option<&BucketV4> {
        // SAFETY: the manager never lends it, and stores words.
        element!(ServicesV4, BucketV4, SERVICE_BUCKETS, index).map(|it| unsafe { &*it })
    }

    #[inline(always)]
    fn bucket_v6(&self, index: u32) -> Option<&BucketV6> {
        // SAFETY: the manager never lends it, and stores words.
        element!(ServicesV6, BucketV6, SERVICE_BUCKETS, index).map(|it| unsafe { &*it })
    }

    #[inline(always)]
    fn overflow_v4(&self, key: &KeyV4) -> Decision {
        // SAFETY: the value is one word, which is copied out at once.
        unsafe { OVERFLOW_V4.get(key) }.copied().unwrap_or(Decision::NONE)
    }

    #[inline(always)]
    fn overflow_v6(&self, key: &KeyV6) -> Decision {
        // SAFETY: as above.
        unsafe { OVERFLOW_V6.get(key) }.copied().unwrap_or(Decision::NONE)
    }

    #[inline(always)]
    fn ring_block(&self, index: u32) -> Option<&RingBlock> {
        // SAFETY: the manager never lends it, and stores words.
        element!(Ring, RingBlock, RING_BLOCKS, index).map(|it| unsafe { &*it })
    }

    #[inline(always)]
    fn member(&self, id: MemberId) -> Option<&Member> {
        // SAFETY: the manager never lends it, and stores words.
        element!(Backends, Member, MEMBERS, id.0).map(|it| unsafe { &*it })
    }
}

/// The word of features.
#[inline(always)]
pub(crate) fn features() -> u64 {
    let features = first!(Features, u64, 1);
    // SAFETY: a word in the map.
    read_once(unsafe { &*features })
}
