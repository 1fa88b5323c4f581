//! Flows that are translated: opening, confirming and ending them. The rules are those of [`lb_common::nat`].
//!
//! What happens once per flow, or once per flow and tick, is in functions that are not inlined: packets between do not
//! come here.

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_loop};
use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::backend::{MacFlags, Member};
use lb_common::flow::Ports;
use lb_common::id::MemberId;
use lb_common::limits::{PORT_TRIES, SWEEP_KEYS};
use lb_common::nat::{Event, NatKey, Phase, Side, Stamp, Ticks, Translation};
use lb_common::parse::{Frame as _, Segment};
use lb_common::select::read_once;
use lb_common::stats::DropReason;

use crate::clock::now;
use crate::load;
use crate::maps::{NAT, NAT_REPLY};
use crate::packet::Packet;
use crate::seen::Seen;

/// The kernel's "it is there already".
pub(crate) const EEXIST: i32 = -17;

/// What a client's packet says to its flow, besides its 5-tuple.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    /// Where it came from on the wire: its source MAC, its destination MAC, and the interface.
    pub(crate) client: MacFlags,
    pub(crate) local: MacFlags,
    pub(crate) interface: u32,
    pub(crate) now: Ticks,
    pub(crate) segment: Segment,
}

/// Changes the stamp of an entry from `old` to `new`; false when it was not `old` any more.
#[inline(always)]
fn exchange(entry: *mut Translation, old: Stamp, new: Stamp) -> bool {
    // SAFETY: the entry lies in a map, and the stamp in it aligned.
    let stamp = unsafe { &raw mut (*entry).stamp }.cast::<u64>();
    // SAFETY: as above.
    unsafe { atomic_cxchg::<_, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(stamp, old.0, new.0).1 }
}

/// The stamp of an entry.
#[inline(always)]
pub(crate) fn stamp(entry: *mut Translation) -> Stamp {
    // SAFETY: the entry lies in a map.
    read_once(unsafe { &(*entry).stamp })
}

/// Removes the entry of a flow whose lease is gone. Whoever claims it removes it; nobody else makes another meanwhile.
#[inline(always)]
fn forget(key: &NatKey, entry: *mut Translation) {
    // A packet on another CPU may just have changed it, which it does not do twice within a tick.
    for _ in 0..2 {
        let known = stamp(entry);
        if known.is_claimed() {
            return;
        }
        if exchange(entry, known, known.claimed()) {
            let _ = NAT.remove(key);
            return;
        }
    }
}

/// Makes a lease nobody's, if it is still as it was judged, and removes its flow's entry. The lease itself is for the
/// caller to remove or to replace.
#[inline(always)]
fn claim(key: &NatKey, lease: *mut Translation, judged: Stamp) -> bool {
    if !exchange(lease, judged, judged.claimed()) {
        return false;
    }
    // SAFETY: the entry lies in a map.
    let flow = unsafe { (*lease).other(key.protocol) };
    if let Some(entry) = NAT.get_ptr_mut(&flow)
        // SAFETY: as above.
        && unsafe { (*entry).other(key.protocol) } == *key
    {
        forget(&flow, entry);
    }
    true
}

/// Ends the flows that are over among those whose keys are listed where a packet's bytes would be; how many they were.
#[inline(always)]
pub(crate) fn sweep(list: &Packet) -> u32 {
    let mut sweep = Sweep {
        ctx: list.ctx(),
        now: now(),
        ended: 0,
    };
    // SAFETY: the callback takes what it is given here.
    unsafe { bpf_loop(SWEEP_KEYS, sweep_one as *mut c_void, (&raw mut sweep).cast(), 0) };
    sweep.ended
}

/// What [`sweep_one`] goes by.
#[repr(C)]
struct Sweep {
    ctx: *mut xdp_md,
    now: Ticks,
    ended: u32,
}

/// The flow whose key stands at this place of the list; 1 at its end.
unsafe extern "C" fn sweep_one(place: u32, sweep: *mut Sweep) -> u64 {
    // SAFETY: `sweep` hands over its own.
    let sweep = unsafe { &mut *sweep };
    let list = Packet::of(sweep.ctx);
    let at = (place & (SWEEP_KEYS.next_power_of_two() - 1)) as usize * size_of::<NatKey>();
    let Some(key) = list.peek::<NatKey>(at) else {
        return 1;
    };
    // SAFETY: `peek` checked it.
    let key = unsafe { key.read_unaligned() };
    sweep.ended += u32::from(end_if_over(&key, sweep.now));
    0
}

/// Ends a flow if its lease is over; says whether it did.
#[inline(always)]
fn end_if_over(key: &NatKey, now: Ticks) -> bool {
    let Some(lease) = NAT_REPLY.get_ptr_mut(key) else {
        return false;
    };
    let known = stamp(lease);
    // SAFETY: the entry lies in a map.
    let idle = unsafe { (*lease).idle };
    let over = !known.is_claimed() && known.is_over(key.protocol, idle, now);
    over && claim(key, lease, known) && NAT_REPLY.remove(key).is_ok()
}

/// Ends a flow that cannot go on, such as one whose backend is gone.
#[inline(never)]
pub(crate) fn end(flow: &NatKey, entry: *mut Translation) {
    // SAFETY: the entry lies in a map.
    let key = unsafe { (*entry).other(flow.protocol) };
    match NAT_REPLY.get_ptr_mut(&key) {
        // SAFETY: as above.
        Some(lease) if unsafe { (*lease).other(flow.protocol) } == *flow => {
            let known = stamp(lease);
            if !known.is_claimed() && claim(&key, lease, known) {
                let _ = NAT_REPLY.remove(&key);
            }
        }
        _ => forget(flow, entry),
    }
}

/// Says whether a flow's entry still has its lease, and tells the lease of this packet. An entry that has none is
/// removed.
#[inline(never)]
pub(crate) fn confirm(seen: &Seen, entry: *mut Translation) -> bool {
    let (flow, heard) = (&seen.key, &seen.heard);
    // SAFETY: the entry lies in a map.
    let key = unsafe { (*entry).other(flow.protocol) };
    let Some(lease) = NAT_REPLY.get_ptr_mut(&key) else {
        forget(flow, entry);
        return false;
    };
    let known = stamp(lease);
    // SAFETY: as above.
    let (owner, idle) = unsafe { ((*lease).other(flow.protocol), (*lease).idle) };
    if known.is_claimed() || owner != *flow {
        forget(flow, entry);
        return false;
    }
    let over = known.is_over(flow.protocol, idle, heard.now);
    if over || heard.segment.opens() && matches!(known.phase(), Phase::Closed) && !known.tries_again() {
        if claim(&key, lease, known) {
            let _ = NAT_REPLY.remove(&key);
        }
        return false;
    }
    let told = known.heard(Side::Client, heard.segment.event(), heard.now);
    if exchange(lease, known, told) {
        // SAFETY: as above.
        count(unsafe { (*lease).member }, known, told);
    } else {
        // Either the backend answers on another CPU at this moment, and the next packet tells the lease; or somebody has
        // just ended the flow.
        return !stamp(lease).is_claimed();
    }
    // Not by a plain store: a claim stays. An entry that is not told looks again.
    let seen = stamp(entry);
    if !seen.is_claimed() {
        let _ = exchange(entry, seen, told);
    }
    // SAFETY: as above. The way back changes in three words; an answer in between may go to the right MAC from the
    // wrong one.
    unsafe {
        (*entry).client = heard.client;
        (*lease).client = heard.client;
        (*lease).local = heard.local;
        (*lease).interface = heard.interface;
    }
    true
}

/// Tells a flow and its lease where their backend's member lies now. Packets in both directions are counted there.
#[inline(never)]
pub(crate) fn follow(flow: &NatKey, entry: *mut Translation, member: MemberId) {
    // SAFETY: the entry lies in a map.
    let key = unsafe {
        (*entry).member = member;
        (*entry).other(flow.protocol)
    };
    if let Some(lease) = NAT_REPLY.get_ptr_mut(&key)
        // SAFETY: as above.
        && unsafe { (*lease).other(flow.protocol) } == *flow
    {
        // SAFETY: as above.
        unsafe { (*lease).member = member };
    }
}

/// Tells a lease of a packet from its backend.
#[inline(always)]
pub(crate) fn answered(lease: *mut Translation, event: Event, now: Ticks) {
    let known = stamp(lease);
    let told = known.heard(Side::Backend, event, now);
    // When the client's packet was faster, the next answer tells it.
    if told != known && !known.is_claimed() && exchange(lease, known, told) {
        // SAFETY: the entry lies in a map.
        count(unsafe { (*lease).member }, known, told);
    }
}

/// Counts that a flow has closed, or goes on after all. A sweep puts right what is not seen here.
#[inline(always)]
fn count(member: MemberId, before: Stamp, after: Stamp) {
    match (before.phase(), after.phase()) {
        (Phase::Closed, Phase::Closed) => {}
        (_, Phase::Closed) => load::ends(member),
        (Phase::Closed, _) => load::begins(member),
        _ => {}
    }
}

/// Copies an address of a member by words. LLVM 22 crashes over a copy that it knows to be aligned to more than 8 bytes
/// (docs/verifier-notes.md), as elements of `BACKENDS` are.
#[inline(always)]
fn address(of: &Ipv6Be) -> Ipv6Be {
    Ipv6Be([read_once(&of.0[0]), read_once(&of.0[1])])
}

/// A flow that is new.
pub(crate) struct Opening<'a> {
    pub(crate) seen: &'a Seen,
    /// The backend that it goes to.
    pub(crate) member: &'a Member,
    pub(crate) id: MemberId,
    /// Which port is tried first, counted from the first one.
    pub(crate) turn: u32,
}

impl Opening<'_> {
    /// Does the backend see the client's own address?
    #[inline(always)]
    fn keeps_client(&self) -> bool {
        let Ipv6Be([a, b]) = address(&self.member.source);
        a | b == 0
    }

    /// The key of the answers, if the backend sees this port.
    #[inline(always)]
    fn lease(&self, port: PortBe) -> NatKey {
        NatKey {
            source: address(&self.member.address),
            destination: if self.keeps_client() {
                self.seen.key.source
            } else {
                address(&self.member.source)
            },
            ports: Ports {
                source: if read_once(&self.member.next_hop).flags() & MacFlags::KEEPS_PORT != 0 {
                    self.seen.key.ports.destination
                } else {
                    self.member.port
                },
                destination: port,
            },
            protocol: self.seen.key.protocol,
        }
    }

    /// What packets with the key `from` become: those that packets with the key `other` answer.
    #[inline(always)]
    fn translation(&self, from: &NatKey, other: &NatKey) -> Translation {
        let heard = &self.seen.heard;
        // A sum does not see which address and port is whose.
        let (ip_delta, l4_delta) = from.differences(other);
        Translation {
            stamp: Stamp::opened(heard.now),
            source: other.destination,
            destination: other.source,
            ports: Ports {
                source: other.ports.destination,
                destination: other.ports.source,
            },
            member: self.id,
            client: heard.client,
            local: heard.local,
            interface: heard.interface,
            idle: self.member.idle,
            ip_delta,
            l4_delta,
            pad: [0; 4],
        }
    }
}

/// Tries of a new flow before it takes a port whose flow may yield.
const PATIENT_TRIES: u32 = PORT_TRIES / 4;

/// Tries after that before it takes one that its backend may still keep in TIME-WAIT.
const WARY_TRIES: u32 = PORT_TRIES / 2;

/// The first of these tries go on from the port whose turn it is: of those that may yield, they have rested longest.
const OLDEST_TRIES: u32 = WARY_TRIES * 3 / 4;

/// So many ports are all tried before a flow is dropped, also for those that may yield.
const FEW_PORTS: u32 = PORT_TRIES - PATIENT_TRIES;

/// Gives a new flow a port and both its entries. When another CPU has just done the same, that stands.
#[inline(always)]
pub(crate) fn open(opening: &Opening<'_>) -> Result<(), DropReason> {
    let member = opening.member;
    let own = opening.seen.key.ports.source;
    let mut search = Search {
        key: opening.lease(own),
        now: opening.seen.heard.now,
        turn: opening.turn,
        first_port: member.first_port.into(),
        ports: member.ports.into(),
        own: u32::from(opening.keeps_client()),
        found: 0,
    };
    for _ in 0..2 {
        if !pick(&mut search) {
            if search.own == 0 {
                break;
            }
            // The client's own port again: `take` says whether its flow yields.
            search.key.ports.destination = own;
        }
        match take(opening, &search.key) {
            Taken::Yes if enter(opening, &search.key) => return Ok(()),
            Taken::Yes | Taken::NoRoom => return Err(DropReason::NatTable),
            // Somebody was faster.
            Taken::No => {}
        }
        search.key.ports.destination = own;
    }
    Err(DropReason::NatPorts)
}

/// Says what came of taking a port.
enum Taken {
    /// It is the flow's.
    Yes,
    /// It is another's.
    No,
    /// There is no room for the lease.
    NoRoom,
}

/// What [`pick`] goes by, and what it finds.
#[repr(C)]
struct Search {
    /// The key of the answers, with the port that was tried last.
    key: NatKey,
    now: Ticks,
    turn: u32,
    first_port: u32,
    ports: u32,
    /// How many tries the client's own port takes: 1 where its address is kept, else 0.
    own: u32,
    /// Was the last port free?
    found: u32,
}

/// A port that can be had: one that is free, or whose flow is over; after some tries also one whose flow may yield. It is
/// in the key then; false when there is none.
#[inline(always)]
fn pick(search: &mut Search) -> bool {
    search.found = 0;
    // SAFETY: the callback takes what it is given here.
    unsafe { bpf_loop(PORT_TRIES, try_port as *mut c_void, (&raw mut *search).cast(), 0) };
    search.found != 0
}

/// One try; 1 ends the loop. The verifier walks through a callback once, and through a loop of our own once for each round.
unsafe extern "C" fn try_port(tried: u32, search: *mut Search) -> u64 {
    // SAFETY: `pick` hands over its own.
    let search = unsafe { &mut *search };
    let count = u64::from(search.ports);
    // The client's own port where its address is kept; then the one whose turn it is, so that a port rests long before
    // it is used again; then any that is free; in need the oldest ones, and again any. Of few ports all are tried, one
    // after the other.
    if tried >= search.own {
        let by_turn = if tried == search.own || count <= u64::from(FEW_PORTS) {
            Some(tried - search.own)
        } else if (PATIENT_TRIES..PATIENT_TRIES + OLDEST_TRIES).contains(&tried) {
            Some(tried - PATIENT_TRIES)
        } else {
            None
        };
        let index = match by_turn {
            Some(ahead) => (u64::from(search.turn) + u64::from(ahead))
                .checked_rem(count)
                .unwrap_or(0),
            // SAFETY: the helper has no preconditions.
            None => (u64::from(unsafe { bpf_get_prandom_u32() }) * count) >> 32,
        };
        search.key.ports.destination = PortBe::new((search.first_port as u16).wrapping_add(index as u16));
    }
    let free = match NAT_REPLY.get_ptr_mut(&search.key) {
        None => true,
        Some(lease) => {
            let wary = tried < PATIENT_TRIES + WARY_TRIES && count > u64::from(FEW_PORTS);
            let need = tried >= PATIENT_TRIES && !(wary && stamp(lease).is_in_time_wait());
            has_ended(lease, &search.key, search.now, need)
        }
    };
    search.found = u32::from(free);
    u64::from(free)
}

/// May the port of this lease be had?
#[inline(always)]
fn has_ended(lease: *mut Translation, key: &NatKey, now: Ticks, need: bool) -> bool {
    let known = stamp(lease);
    // SAFETY: the entry lies in a map.
    let idle = unsafe { (*lease).idle };
    let ended = known.is_over(key.protocol, idle, now) || need && known.may_yield(key.protocol, idle, now);
    ended && !known.is_claimed()
}

/// Makes the lease of a port that [`pick`] has found, unless somebody else has it by now.
#[inline(never)]
fn take(opening: &Opening<'_>, key: &NatKey) -> Taken {
    let mut flags = u64::from(BPF_NOEXIST);
    if let Some(lease) = NAT_REPLY.get_ptr_mut(key) {
        let known = stamp(lease);
        if !has_ended(lease, key, opening.seen.heard.now, true) || !claim(key, lease, known) {
            return Taken::No;
        }
        // Nobody else replaces what is claimed.
        flags = 0;
    }
    let answer = opening.translation(key, &opening.seen.key);
    match NAT_REPLY.insert(key, &answer, flags) {
        Ok(()) => Taken::Yes,
        Err(EEXIST) => Taken::No,
        Err(_) => {
            // What is claimed and stays would be nobody's for ever.
            if flags == 0 {
                let _ = NAT_REPLY.remove(key);
            }
            Taken::NoRoom
        }
    }
}

/// Makes the entry of a flow that has its lease; false when there is no room for it.
#[inline(never)]
fn enter(opening: &Opening<'_>, key: &NatKey) -> bool {
    let flow = &opening.seen.key;
    let there = opening.translation(flow, key);
    let result = NAT.insert(flow, &there, u64::from(BPF_NOEXIST));
    if result.is_err() {
        let _ = NAT_REPLY.remove(key);
    }
    matches!(result, Ok(()) | Err(EEXIST))
}
