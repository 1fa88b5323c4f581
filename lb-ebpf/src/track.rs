//! Flows that are known: those of slots that change hands (`FLOWS`), and all of services that choose by turn or by load
//! (`TRACKED`). The rules are those of [`lb_common::slot`].
//!
//! Packets of stable slots do not come here.

use core::arch::asm;
use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lb_common::id::MemberIndex;
use lb_common::nat::{NatKey, Ticks};
use lb_common::parse::Segment;
use lb_common::ring::Slot;
use lb_common::select::{is_alive, read_once, slot};
use lb_common::service::Decision;
use lb_common::slot::{Entry, Packet, Said, Verdict, Write, decide};
use lb_common::stats::FlowEvent;

use crate::clock::now;
use crate::flows::EEXIST;
use crate::load;
use crate::maps::{FLOWS, Maps, TRACKED};
use crate::news;
use crate::seen::Seen;
use crate::stats;
use crate::verdict::Step;

/// A packet of a flow whose 5-tuple is [`Seen::key`] of this CPU: not on the stack, since only a map's memory may be a map's
/// key in every function on every kernel.
struct Ask {
    key: &'static NatKey,
    service: Decision,
    hash: u64,
    segment: Segment,
}

/// Who serves a packet of a slot that may be in motion, or of a service that tracks every flow.
#[inline(always)]
pub(crate) fn member(key: NatKey, service: Decision, hash: u64, segment: Segment) -> Step<MemberIndex> {
    let seen = Seen::of_this_cpu()?;
    seen.key = key;
    if !service.choice().is_hash()
        && let Some(member) = known(seen, service, segment)
    {
        return Ok(member);
    }
    Ok(MemberIndex(
        fulcrum_flow(service.0, hash, segment.bits, segment.number) as u16
    ))
}

/// The member of a flow that is written down, where the packet tells its entry nothing new. Here and not in a function of
/// its own, since such packets are nearly all.
#[inline(always)]
fn known(seen: &Seen, service: Decision, segment: Segment) -> Option<MemberIndex> {
    let entry = TRACKED.get_ptr_mut(&seen.key)?;
    // SAFETY: the entry lies in a map, its word aligned.
    let word = read_once(unsafe { &(*entry).word });
    let entry = Entry {
        word,
        ..Entry::default()
    };
    let old = entry.heard(segment.said(), now()) == entry.word && !(segment.opens() && entry.is_closing());
    (old && is_alive(&Maps, service, entry.member())).then_some(entry.member())
}

/// Index of the member that serves; 0 for none, and where the maps are at fault.
///
/// A global function: the verifier looks at it once, whoever calls it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_flow(service: u64, hash: u64, bits: u32, number: u32) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let ask = Ask {
        key: &seen.key,
        service: Decision(service),
        hash,
        segment: Segment { bits, number },
    };
    let served = if ask.service.choice().is_hash() {
        in_motion(&ask)
    } else {
        tracked(&ask)
    };
    served.0.into()
}

/// An entry as it is at this moment. What is not there is zeros and not undefined, which the verifier would refuse to see
/// carried about.
#[inline(always)]
pub(crate) fn entry_at(place: Option<*mut Entry>) -> Option<Entry> {
    let entry = place.map_or(Entry::default(), |place| {
        // SAFETY: the entry lies in a map, its words aligned.
        let (word, sequence) = unsafe { (read_once(&(*place).word), read_once(&(*place).sequence)) };
        Entry {
            word,
            sequence,
            pad: [0; 4],
        }
    });
    let mut there = u64::from(place.is_some());
    // LLVM is not to know what this has to do with the entry.
    // SAFETY: the instruction does nothing.
    unsafe { asm!("{0} = {0}", inout(reg) there, options(pure, nomem, nostack, preserves_flags)) };
    (there != 0).then_some(entry)
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
fn in_motion(ask: &Ask) -> MemberIndex {
    let Ok(slot) = slot(&Maps, ask.service, ask.hash) else {
        return MemberIndex::NONE;
    };
    let place = FLOWS.get_ptr_mut(ask.key);
    let entry = entry_at(place);
    let verdict = judge(ask, slot, entry);
    let now = now();
    let told = match (verdict.write, place, entry) {
        (Write::Nothing, Some(place), Some(entry))
            if entry.member() == verdict.serve
                && !entry.is_claimed()
                && !matches!(ask.segment.packet(), Packet::Mention) =>
        {
            hear(place, entry, ask.segment.said(), now)
        }
        (Write::Nothing, ..) => true,
        (Write::Confirm, Some(place), Some(entry)) => {
            let confirmed = entry.confirmed().heard(ask.segment.said(), now);
            let told = exchange(place, entry.word, confirmed);
            if told {
                news::tell(ask.key);
            }
            told
        }
        (Write::Renumber(number), Some(place), Some(entry)) => {
            // SAFETY: the entry lies in a map.
            unsafe { (&raw mut (*place).sequence).write_volatile(number) };
            hear(place, entry, ask.segment.said(), now)
        }
        (Write::Confirm | Write::Renumber(_), ..) => true,
        (Write::Refused, ..) => {
            stats::flow_event(FlowEvent::NoRoom);
            true
        }
        (Write::Opened(_) | Write::Known, ..) => return write(ask, slot, verdict, place.zip(entry), now),
    };
    if told { verdict.serve } else { too_late(ask, slot) }
}

#[inline(always)]
fn judge(ask: &Ask, slot: Slot, entry: Option<Entry>) -> Verdict {
    decide(slot, entry, ask.segment.packet(), &|index| {
        is_alive(&Maps, ask.service, index)
    })
}

/// Writes a flow down, in the place of an entry if it has one. Who finds that another CPU has just done so follows it.
#[inline(always)]
fn write(ask: &Ask, slot: Slot, verdict: Verdict, replaces: Option<(*mut Entry, Entry)>, now: Ticks) -> MemberIndex {
    let new = match verdict.write {
        Write::Opened(number) => Entry::opened(verdict.serve, number, now),
        _ => Entry::new(verdict.serve, now),
    };
    let flags = match replaces {
        Some((place, old)) if claim(place, old) => BPF_ANY,
        Some(_) => return too_late(ask, slot),
        None => BPF_NOEXIST,
    };
    match FLOWS.insert(ask.key, &new, flags.into()) {
        Ok(()) => {
            stats::flow_event(FlowEvent::Written);
            news::tell(ask.key);
            verdict.serve
        }
        Err(EEXIST) => too_late(ask, slot),
        Err(_) => {
            if replaces.is_some() {
                // It is claimed, and nobody else removes it.
                let _ = FLOWS.remove(ask.key);
            }
            stats::flow_event(FlowEvent::NoRoom);
            verdict.otherwise
        }
    }
}

/// Who serves a packet that finds another entry than it has looked up. One that had to write again does not.
#[inline(always)]
fn too_late(ask: &Ask, slot: Slot) -> MemberIndex {
    let verdict = judge(ask, slot, entry_at(FLOWS.get_ptr_mut(ask.key)));
    if matches!(verdict.write, Write::Opened(_) | Write::Known | Write::Refused) {
        stats::flow_event(FlowEvent::NoRoom);
        return verdict.otherwise;
    }
    verdict.serve
}

/// A service that tracks every flow. One that finds no room goes by its hash, which is the same for all its packets.
#[inline(always)]
fn tracked(ask: &Ask) -> MemberIndex {
    let place = TRACKED.get_ptr_mut(ask.key);
    let entry = entry_at(place);
    let packet = ask.segment.packet();
    let opens = matches!(packet, Packet::Syn(_));
    if let (Some(place), Some(entry)) = (place, entry)
        && is_alive(&Maps, ask.service, entry.member())
        && !(opens && entry.is_closing())
    {
        if matches!(packet, Packet::Mention) || hear(place, entry, ask.segment.said(), now()) {
            count(ask.service, entry, entry.heard(ask.segment.said(), 0));
            return entry.member();
        }
    } else if opens || matches!(packet, Packet::Datagram) {
        let chosen = load::choose(ask.service, ask.hash).unwrap_or(MemberIndex::NONE);
        if chosen == MemberIndex::NONE || begin(ask, place.zip(entry), chosen) {
            return chosen;
        }
    } else {
        return by_hash(ask);
    }
    // Another CPU has just written the flow down, or removed its entry, or there is no room.
    match entry_at(TRACKED.get_ptr_mut(ask.key)) {
        Some(entry) if is_alive(&Maps, ask.service, entry.member()) => entry.member(),
        _ => {
            stats::flow_event(FlowEvent::TrackedNoRoom);
            by_hash(ask)
        }
    }
}

/// Who serves a packet of a flow that is not written down.
#[inline(always)]
fn by_hash(ask: &Ask) -> MemberIndex {
    slot(&Maps, ask.service, ask.hash).map_or(MemberIndex::NONE, Slot::current)
}

/// Writes a new flow of `chosen` down, in the place of an entry if it has one; false when that cannot be.
#[inline(always)]
fn begin(ask: &Ask, replaces: Option<(*mut Entry, Entry)>, chosen: MemberIndex) -> bool {
    let flags = match replaces {
        Some((place, old)) if claim(place, old) => BPF_ANY,
        Some(_) => return false,
        None => BPF_NOEXIST,
    };
    match TRACKED.insert(ask.key, &Entry::new(chosen, now()), flags.into()) {
        Ok(()) => {
            stats::flow_event(FlowEvent::TrackedWritten);
            load::begins(ask.service.member(chosen));
            news::tell(ask.key);
            return true;
        }
        Err(EEXIST) => {}
        Err(_) if replaces.is_some() => {
            // It is claimed, and nobody else removes it.
            let _ = TRACKED.remove(ask.key);
        }
        Err(_) => {}
    }
    false
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
