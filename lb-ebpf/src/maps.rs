//! Every map, and [`lb_common::select::Tables`] over them. Names and sizes are those of `lb_common::layout`.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, DevMap, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use aya_ebpf::macros::btf_map;
use lb_common::backend::{Member, Nic};
use lb_common::decap::Sources;
use lb_common::fragment::{Fragment, FragmentKey};
use lb_common::id::MemberId;
use lb_common::limits::{
    FLOW_TABLE, FRAGMENTS as FRAGMENT_PLACES, MEMBERS, RING_BLOCKS, SERVICE_BUCKETS, SERVICE_OVERFLOW,
    STAGES as STAGE_PLACES,
};
use lb_common::nat::{NatKey, Translation};
use lb_common::ring::RingBlock;
use lb_common::select::{Tables, read_once};
use lb_common::service::{BucketV4, BucketV6, Decision, KeyV4, KeyV6};
use lb_common::slot::Entry;
use lb_common::stats::{Counters, DROP_CODES, FLOW_EVENT_CODES};

use crate::seen::Seen;

const MAPPED: usize = BPF_F_MMAPABLE as usize;
const ON_USE: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static SERVICES_V4: Array<BucketV4, { SERVICE_BUCKETS as usize }, MAPPED> = Array::new();

#[btf_map]
static SERVICES_V6: Array<BucketV6, { SERVICE_BUCKETS as usize }, MAPPED> = Array::new();

#[btf_map]
static OVERFLOW_V4: HashMap<KeyV4, Decision, { SERVICE_OVERFLOW as usize }, ON_USE> = HashMap::new();

#[btf_map]
static OVERFLOW_V6: HashMap<KeyV6, Decision, { SERVICE_OVERFLOW as usize }, ON_USE> = HashMap::new();

#[btf_map]
static RING: Array<RingBlock, { RING_BLOCKS as usize }, MAPPED> = Array::new();

#[btf_map]
static BACKENDS: Array<Member, { MEMBERS as usize }, MAPPED> = Array::new();

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

/// By member: flows that live, where load decides. At a service's member base, which is no member: whose turn it is.
#[btf_map]
pub(crate) static LOAD: Array<u64, { MEMBERS as usize }, MAPPED> = Array::new();

/// By `lb_common::stats::FlowEvent`.
#[btf_map]
pub(crate) static FLOW_EVENTS: PerCpuArray<u64, { FLOW_EVENT_CODES as usize }> = PerCpuArray::new();

/// What first fragments have taught.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, Fragment, { FRAGMENT_PLACES as usize }> = LruHashMap::new();

/// The other programs that a packet may be handed to; filled by the loader, before the first one is attached.
#[btf_map]
pub(crate) static STAGES: ProgramArray<{ STAGE_PLACES as usize }> = ProgramArray::new();

/// One word of `lb_common::service::feature`, so that what nobody uses costs nobody anything.
#[btf_map]
static FEATURES: Array<u64, 1, MAPPED> = Array::new();

/// Made anew with each load, and filled before the program is attached.
#[btf_map]
pub(crate) static NICS: Array<Nic, { lb_common::limits::NICS as usize }> = Array::new();

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

/// Not read here: the manager updates it to wait until programs that were running have ended.
#[btf_map]
static GRACE: ArrayOfMaps<Array<u32, 1>, 1> = ArrayOfMaps::new();

/// The maps of the running program.
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn bucket_v4(&self, index: u32) -> Option<&BucketV4> {
        SERVICES_V4.get(index)
    }

    #[inline(always)]
    fn bucket_v6(&self, index: u32) -> Option<&BucketV6> {
        SERVICES_V6.get(index)
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
        RING.get(index)
    }

    #[inline(always)]
    fn member(&self, id: MemberId) -> Option<&Member> {
        BACKENDS.get(id.0)
    }
}

/// The word of features.
#[inline(always)]
pub(crate) fn features() -> u64 {
    FEATURES.get(0).map_or(0, read_once)
}
