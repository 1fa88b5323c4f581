//! Flows that are known: those of slots that change hands (`FLOWS`), and all of services that choose by turn or by load
//! (`TRACKED`). The rules are those of [`lb_common::slot`].
//!
//! Packets of stable slots do not come here.

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lb_common::id::MemberIndex;
use lb_common::nat::{NatKey, Ticks};
use lb_common::ring::Slot;
use lb_common::select::{is_alive, read_once, slot};
use lb_common::service::Decision;
use lb_common::slot::{Entry, Packet, Said, Verdict, Write, decide};
use lb_common::stats::{DropReason, FlowEvent};

use crate::flows::{EEXIST, now};
use crate::load;
use crate::maps::{FLOWS, Maps, TRACKED};
use crate::stats;

/// What is asked about a packet.
#[repr(C)]
pub(crate) struct Ask {
    pub(crate) key: NatKey,
    pub(crate) service: Decision,
    pub(crate) hash: u64,
    /// 0 SYN, 1 other segment, 2 RST, 3 datagram, 4 mention: a function of its own takes only numbers.
    pub(crate) packet: u32,
    /// TCP sequence number.
    pub(crate) number: u32,
    /// 0 nothing, 1 sends, 2 ends.
    pub(crate) said: u32,
    pub(crate) pad: u32,
}

impl Ask {
    #[inline(always)]
    pub(crate) const fn new(key: NatKey, service: Decision, hash: u64, packet: Packet, said: Said) -> Self {
        let (packet, number) = match packet {
            Packet::Syn(number) => (0, number),
            Packet::Segment(number) => (1, number),
            Packet::Reset(number) => (2, number),
            Packet::Datagram => (3, 0),
            Packet::Mention => (4, 0),
        };
        Self {
            key,
            service,
            hash,
            packet,
            number,
            said: match said {
                Said::Nothing => 0,
                Said::Sends => 1,
                Said::Ends => 2,
            },
            pad: 0,
        }
    }

    #[inline(always)]
    const fn packet(&self) -> Packet {
        match self.packet {
            0 => Packet::Syn(self.number),
            1 => Packet::Segment(self.number),
            2 => Packet::Reset(self.number),
            3 => Packet::Datagram,
            _ => Packet::Mention,
        }
    }

    #[inline(always)]
    const fn said(&self) -> Said {
        match self.said {
            0 => Said::Nothing,
            1 => Said::Sends,
            _ => Said::Ends,
        }
    }
}

/// Index of the member that serves; 0 for none, also where the maps are at fault.
///
/// A global function: the verifier looks at it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_flow(ask: *const Ask) -> u32 {
    // SAFETY: the caller's own, or the verifier has refused it.
    let Some(ask) = (unsafe { ask.as_ref() }) else {
        return 0;
    };
    let served = if ask.service.choice().is_hash() {
        in_motion(ask)
    } else {
        tracked(ask)
    };
    served.map_or(0, |index| u32::from(index.0))
}

/// Who serves a packet of a slot that may be in motion, or of a service that tracks every flow.
#[inline(always)]
pub(crate) fn member(ask: &Ask) -> MemberIndex {
    MemberIndex(fulcrum_flow(ask) as u16)
}

/// An entry as it is at this moment.
#[inline(always)]
pub(crate) fn entry_at(place: *mut Entry) -> Entry {
    // SAFETY: the entry lies in a map, its words aligned.
    unsafe {
        Entry {
            word: read_once(&(*place).word),
            sequence: read_once(&(*place).sequence),
            pad: [0; 4],
        }
    }
}

/// Changes the word of an entry if it is still as it was; when another CPU was faster, that stands.
#[inline(always)]
fn exchange(place: *mut Entry, old: u64, new: u64) -> bool {
    // SAFETY: as above.
    unsafe {
        let word = &raw mut (*place).word;
        atomic_cxchg::<_, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, old, new).1
    }
}

/// Makes an entry nobody's, if it is still as it was judged: it is for the caller to remove or to replace then.
#[inline(always)]
pub(crate) fn claim(place: *mut Entry, judged: Entry) -> bool {
    !judged.is_claimed() && exchange(place, judged.word, judged.claimed())
}

/// Tells a flow's entry of its packet; false when the entry is not what it was any more.
#[inline(always)]
fn hear(place: *mut Entry, entry: Entry, said: Said, now: Ticks) -> bool {
    let word = entry.heard(said, now);
    word == entry.word || exchange(place, entry.word, word)
}

/// A slot that moves or is settled.
#[inline(always)]
fn in_motion(ask: &Ask) -> Result<MemberIndex, DropReason> {
    let slot = slot(&Maps, ask.service, ask.hash)?;
    // What is a pointer into the caller's memory may not be a map's key on every kernel.
    let key = ask.key;
    let place = FLOWS.get_ptr_mut(&key);
    let entry = place.map(entry_at);
    let verdict = judge(ask, slot, entry);
    let now = now();
    let told = match (verdict.write, place, entry) {
        (Write::Nothing, Some(place), Some(entry))
            if entry.member() == verdict.serve && !entry.is_claimed() && !matches!(ask.packet(), Packet::Mention) =>
        {
            hear(place, entry, ask.said(), now)
        }
        (Write::Nothing, ..) => true,
        (Write::Confirm, Some(place), Some(entry)) => {
            let confirmed = entry.confirmed().heard(ask.said(), now);
            exchange(place, entry.word, confirmed)
        }
        (Write::Renumber(number), Some(place), Some(entry)) => {
            // SAFETY: the entry lies in a map.
            unsafe { (&raw mut (*place).sequence).write_volatile(number) };
            hear(place, entry, ask.said(), now)
        }
        (Write::Confirm | Write::Renumber(_), ..) => true,
        (Write::Refused, ..) => {
            stats::flow_event(FlowEvent::NoRoom);
            true
        }
        (Write::Opened(_) | Write::Known, ..) => return Ok(write(ask, slot, &key, verdict, place.zip(entry), now)),
    };
    Ok(if told { verdict.serve } else { too_late(ask, slot, &key) })
}

#[inline(always)]
fn judge(ask: &Ask, slot: Slot, entry: Option<Entry>) -> Verdict {
    decide(slot, entry, ask.packet(), &|index| is_alive(&Maps, ask.service, index))
}

/// Writes a flow down, in the place of an entry if it has one. Who finds that another CPU has just done so follows it.
#[inline(always)]
fn write(
    ask: &Ask,
    slot: Slot,
    key: &NatKey,
    verdict: Verdict,
    replaces: Option<(*mut Entry, Entry)>,
    now: Ticks,
) -> MemberIndex {
    let new = match verdict.write {
        Write::Opened(number) => Entry::opened(verdict.serve, number, now),
        _ => Entry::new(verdict.serve, now),
    };
    let flags = match replaces {
        Some((place, old)) if claim(place, old) => BPF_ANY,
        Some(_) => return too_late(ask, slot, key),
        None => BPF_NOEXIST,
    };
    match FLOWS.insert(key, &new, flags.into()) {
        Ok(()) => {
            stats::flow_event(FlowEvent::Written);
            verdict.serve
        }
        Err(EEXIST) => too_late(ask, slot, key),
        Err(_) => {
            if replaces.is_some() {
                // It is claimed, and nobody else removes it.
                let _ = FLOWS.remove(key);
            }
            stats::flow_event(FlowEvent::NoRoom);
            verdict.otherwise
        }
    }
}

/// Who serves a packet that finds another entry than it has looked up. One that had to write again does not.
#[inline(always)]
fn too_late(ask: &Ask, slot: Slot, key: &NatKey) -> MemberIndex {
    let verdict = judge(ask, slot, FLOWS.get_ptr_mut(key).map(entry_at));
    if matches!(verdict.write, Write::Opened(_) | Write::Known | Write::Refused) {
        stats::flow_event(FlowEvent::NoRoom);
        return verdict.otherwise;
    }
    verdict.serve
}

/// A service that tracks every flow. One that finds no room goes by its hash, which is the same for all its packets.
#[inline(always)]
fn tracked(ask: &Ask) -> Result<MemberIndex, DropReason> {
    let key = ask.key;
    let place = TRACKED.get_ptr_mut(&key);
    // Not an `Option`: what is left of its word where there is none, LLVM compares all the same, and the verifier refuses.
    let entry = place.map_or(Entry::default(), entry_at);
    let opens = matches!(ask.packet(), Packet::Syn(_));
    if let Some(place) = place
        && is_alive(&Maps, ask.service, entry.member())
        && !(opens && entry.is_closing())
    {
        if matches!(ask.packet(), Packet::Mention) {
            return Ok(entry.member());
        }
        if !hear(place, entry, ask.said(), now()) {
            return tracked_by_now(ask, &key);
        }
        count(ask.service, entry, entry.heard(ask.said(), 0));
        return Ok(entry.member());
    }
    if !opens && !matches!(ask.packet(), Packet::Datagram) {
        return Ok(slot(&Maps, ask.service, ask.hash)?.current());
    }
    let chosen = load::choose(ask.service, ask.hash)?;
    if chosen == MemberIndex::NONE {
        return Ok(chosen);
    }
    let flags = match place {
        Some(place) if claim(place, entry) => BPF_ANY,
        Some(_) => return tracked_by_now(ask, &key),
        None => BPF_NOEXIST,
    };
    match TRACKED.insert(&key, &Entry::new(chosen, now()), flags.into()) {
        Ok(()) => {
            stats::flow_event(FlowEvent::TrackedWritten);
            load::begins(ask.service.member(chosen));
            Ok(chosen)
        }
        Err(EEXIST) => tracked_by_now(ask, &key),
        Err(_) => {
            if place.is_some() {
                // It is claimed, and nobody else removes it.
                let _ = TRACKED.remove(&key);
            }
            untracked(ask)
        }
    }
}

/// Who serves a packet that finds another entry than it has looked up, or whose flow another CPU has written down.
#[inline(always)]
fn tracked_by_now(ask: &Ask, key: &NatKey) -> Result<MemberIndex, DropReason> {
    match TRACKED.get_ptr_mut(key).map(entry_at) {
        Some(entry) if is_alive(&Maps, ask.service, entry.member()) => Ok(entry.member()),
        _ => untracked(ask),
    }
}

/// Who serves a packet that should have an entry and finds no room for one.
#[inline(always)]
fn untracked(ask: &Ask) -> Result<MemberIndex, DropReason> {
    stats::flow_event(FlowEvent::TrackedNoRoom);
    Ok(slot(&Maps, ask.service, ask.hash)?.current())
}

/// Counts that a flow has begun to close, or goes on after all.
#[inline(always)]
fn count(service: Decision, before: Entry, word: u64) {
    let after = Entry { word, ..before };
    let member = service.member(before.member());
    match (before.is_closing(), after.is_closing()) {
        (false, true) => load::ends(member),
        (true, false) => load::begins(member),
        (true, true) | (false, false) => {}
    }
}
