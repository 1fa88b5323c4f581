//! The rules of slots: who serves a packet while a service's backends change, and what is remembered of it.
//!
//! A slot is *stable*, *moving* or *settled*. Flows are remembered only where the ring disagrees with itself: while a
//! slot moves from one living backend to another, its flows are written down with the backend that they have; when the
//! window has closed, those that are known go where they went, and all others to the new backend; when none is known
//! any more, the slot is stable again and nothing is looked up. What is promised: an established flow to a living
//! backend keeps it, if its client sends at least once per window.
//!
//! Both sides use these functions, the program [`decide`] and the manager [`next`], [`settle`] and [`Entry::is_over`]; a
//! model of one slot under every interleaving of packets, changes, deaths and crashes checks them
//! (`lb-common/tests/model`), and the order of the manager's writes. Change none of them without it.

use crate::id::MemberIndex;
use crate::nat::Ticks;
use crate::ring::{Slot, State};

/// A member of [`crate::ring::Slot`] that is alive, as the caller knows it. Nobody, [`MemberIndex::NONE`], is not alive.
pub trait Alive {
    /// Is this member alive?
    fn is_alive(&self, member: MemberIndex) -> bool;
}

impl<F: Fn(MemberIndex) -> bool> Alive for F {
    #[inline(always)]
    fn is_alive(&self, member: MemberIndex) -> bool {
        self(member)
    }
}

/// What becomes of a slot that `to` shall serve from now on. Deaths are told by `alive` alone: call it for every slot of
/// the service when a member has died. A window begins whenever the slot moves and had another `previous` before, or none.
///
/// Before a member comes alive that a slot still has as its `previous`, from before its death, the slot is to be given to
/// its current member by this, and packets that saw it so are to have ended.
#[must_use]
pub fn next(slot: Slot, to: MemberIndex, alive: &impl Alive) -> Slot {
    let current = slot.current();
    match slot.state() {
        State::Stable | State::Settled if current == to => slot,
        State::Stable if !alive.is_alive(current) => Slot::stable(to),
        State::Moving(previous) if alive.is_alive(previous) => {
            if current == to {
                slot
            } else if previous == to {
                Slot::settled(to)
            } else {
                Slot::moving(to, previous)
            }
        }
        // What the dead had is lost. Those that found no room since are with the current member and not written down, so
        // it is remembered, as it is in a settled slot.
        State::Moving(_) | State::Settled if current == to || !alive.is_alive(current) => Slot::settled(to),
        State::Stable | State::Moving(_) | State::Settled => Slot::moving(to, current),
    }
}

/// The window has closed: what has not spoken by now is not known any more.
#[must_use]
pub fn settle(slot: Slot) -> Slot {
    match slot.state() {
        State::Moving(_) => Slot::settled(slot.current()),
        State::Stable | State::Settled => slot,
    }
}

/// What a packet says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// TCP with SYN and without ACK, and its sequence number: it may open a flow.
    Syn(u32),
    /// Any other TCP segment, and its sequence number.
    Segment(u32),
    /// TCP with RST, and its sequence number: it ends a flow, so none is written for it.
    Reset(u32),
    /// A datagram of a protocol without an opening that could be trusted.
    Datagram,
    /// A fragment or an ICMP error: it belongs to a flow, and says nothing of it.
    Mention,
}

/// What is to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing.
    Nothing,
    /// A flow of which only a SYN with this sequence number was seen: if there is no entry of the flow, or a dead one.
    Opened(u32),
    /// A flow that is older than the change: as above; an entry of a SYN that was not the flow's gives way.
    Known,
    /// The entry's SYN was repeated, with this sequence number.
    Renumber(u32),
    /// The entry's flow has been confirmed.
    Confirm,
    /// Something should be written, but the entry is claimed: somebody removes or replaces it at this moment. To be counted
    /// as a write that found no room.
    Refused,
}

/// The answer of [`decide`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who serves the packet.
    pub serve: MemberIndex,
    /// Who serves it when there is no room for what is to be written.
    pub otherwise: MemberIndex,
    /// What is to be written, with `serve` as its member.
    pub write: Write,
}

impl Verdict {
    #[inline(always)]
    const fn only(serve: MemberIndex) -> Self {
        Self {
            serve,
            otherwise: serve,
            write: Write::Nothing,
        }
    }
}

/// Who serves a packet of a flow whose entry is `entry`, in a slot that is not stable. (Of stable slots no entry is looked
/// up: [`Slot::current`] serves.)
///
/// Entries are written without locks, so that one packet may look one up that another one or the manager is about to
/// change:
///
/// - A new entry is written only where there is none (`BPF_NOEXIST`).
/// - Whoever removes an entry, or puts another one in its place, claims it first: exchanges the word that it has seen for
///   [`Entry::claimed`]. Nobody else touches it then. The manager has the program do so ([`crate::removal`]).
/// - Who comes too late with either, or wants to tell an entry of its packet and finds it changed, decides again by what is
///   there now; one that had to write even then takes it for a table without room, as it does [`Write::Refused`].
#[inline(always)]
#[must_use]
pub fn decide(slot: Slot, entry: Option<Entry>, packet: Packet, alive: &impl Alive) -> Verdict {
    let verdict = wish(slot, entry, packet, alive);
    let writes = matches!(verdict.write, Write::Opened(_) | Write::Known);
    if writes && entry.is_some_and(Entry::is_claimed) {
        return Verdict {
            write: Write::Refused,
            ..Verdict::only(verdict.otherwise)
        };
    }
    verdict
}

/// [`decide`], as if nobody else were about to write.
#[inline(always)]
fn wish(slot: Slot, entry: Option<Entry>, packet: Packet, alive: &impl Alive) -> Verdict {
    let current = slot.current();
    if let Some(entry) = entry
        && alive.is_alive(entry.member())
    {
        let member = entry.member();
        if !entry.is_syn_only() {
            return Verdict::only(member);
        }
        let write = match packet {
            Packet::Syn(number) => Write::Renumber(number),
            Packet::Segment(number) | Packet::Reset(number) if entry.is_opened_by(number) => Write::Confirm,
            _ => Write::Nothing,
        };
        if !matches!(write, Write::Nothing) {
            return Verdict {
                write,
                ..Verdict::only(member)
            };
        }
        // The SYN was not this flow's.
    }
    let State::Moving(previous) = slot.state() else {
        return Verdict::only(current);
    };
    let is_alive = alive.is_alive(previous);
    match packet {
        Packet::Syn(_) if current.0 == MemberIndex::NONE.0 => Verdict::only(current),
        Packet::Syn(number) => Verdict {
            serve: current,
            otherwise: if is_alive { previous } else { current },
            write: Write::Opened(number),
        },
        _ if !is_alive => Verdict::only(current),
        Packet::Segment(_) | Packet::Datagram => Verdict {
            write: Write::Known,
            ..Verdict::only(previous)
        },
        Packet::Reset(_) | Packet::Mention => Verdict::only(previous),
    }
}

/// Bytes that a flow may have sent since its SYN for a segment to confirm it.
const CONFIRMS: u32 = 64 << 10;

/// A flow of which only a SYN was seen is forgotten after this, about a minute: no handshake takes longer.
const SYN_ONLY: Ticks = 56;
/// The same, when there is hardly any room left: about 5 s.
const SYN_ONLY_IN_NEED: Ticks = 5;
/// A flow that one side has ended is forgotten after this, about a minute.
const CLOSING: Ticks = 56;

/// Element of `FLOWS` and `TRACKED`: what is known of a flow. The word changes as a whole, and only its flags and the time
/// do while the entry is there.
///
/// | bits of `word` | meaning |
/// | --- | --- |
/// | 0 to 15 | the member, as its index within the service; 0 in an entry that is claimed, see [`decide`] |
/// | 16 | only a SYN was seen, whose sequence number is in `sequence` |
/// | 17 | FIN or RST was seen, and no data since |
/// | 32 to 63 | when it was last heard of |
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// See above.
    pub word: u64,
    /// Sequence number of the SYN.
    pub sequence: u32,
    #[doc(hidden)]
    pub pad: [u8; 4],
}

impl Entry {
    const SYN_ONLY: u64 = 1 << 16;
    const CLOSING: u64 = 1 << 17;

    /// A flow of `member`, heard of now.
    #[inline(always)]
    #[must_use]
    pub const fn new(member: MemberIndex, now: Ticks) -> Self {
        Self {
            word: member.0 as u64 | (now as u64) << 32,
            sequence: 0,
            pad: [0; 4],
        }
    }

    /// A flow of `member` of which only a SYN is known.
    #[inline(always)]
    #[must_use]
    pub const fn opened(member: MemberIndex, sequence: u32, now: Ticks) -> Self {
        Self {
            word: Self::new(member, now).word | Self::SYN_ONLY,
            sequence,
            pad: [0; 4],
        }
    }

    /// What is known of a flow of `member`: [`Self::flags`], the sequence number of its SYN, and when it was last heard of.
    #[must_use]
    pub const fn known(member: MemberIndex, flags: u16, sequence: u32, seen: Ticks) -> Self {
        Self {
            word: Self::new(member, seen).word | (flags as u64) << 16 & (Self::SYN_ONLY | Self::CLOSING),
            sequence,
            pad: [0; 4],
        }
    }

    /// Bits 16 to 31: what has been seen of the flow.
    #[must_use]
    pub const fn flags(self) -> u16 {
        (self.word >> 16) as u16
    }

    /// Who serves the flow.
    #[inline(always)]
    #[must_use]
    pub const fn member(self) -> MemberIndex {
        MemberIndex(self.word as u16)
    }

    /// Has only a SYN been seen?
    #[inline(always)]
    #[must_use]
    pub const fn is_syn_only(self) -> bool {
        self.word & Self::SYN_ONLY != 0
    }

    /// Has one side ended it?
    #[inline(always)]
    #[must_use]
    pub const fn is_closing(self) -> bool {
        self.word & Self::CLOSING != 0
    }

    /// When it was last heard of.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> Ticks {
        (self.word >> 32) as Ticks
    }

    /// Does a segment with this number belong to the connection that the SYN has opened?
    #[inline(always)]
    const fn is_opened_by(self, number: u32) -> bool {
        number.wrapping_sub(self.sequence) <= CONFIRMS
    }

    /// The word after a packet that went to the entry's member.
    #[inline(always)]
    #[must_use]
    pub const fn heard(self, said: Said, now: Ticks) -> u64 {
        let flags = match said {
            Said::Ends => self.word & 0xffff_ffff | Self::CLOSING,
            Said::Sends => self.word & 0xffff_ffff & !Self::CLOSING,
            Said::Nothing => self.word & 0xffff_ffff,
        };
        flags | (now as u64) << 32
    }

    /// The word without the mark that only a SYN was seen.
    #[inline(always)]
    #[must_use]
    pub const fn confirmed(self) -> Self {
        Self {
            word: self.word & !Self::SYN_ONLY,
            ..self
        }
    }

    /// The word of an entry that is about to be removed or replaced: nobody's.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(self) -> u64 {
        self.word & !0xffff
    }

    /// Is somebody about to remove or to replace it?
    #[inline(always)]
    #[must_use]
    pub const fn is_claimed(self) -> bool {
        self.member().0 == MemberIndex::NONE.0
    }

    /// Ticks since it was last heard of. Clocks of two CPUs may be read in another order than they write.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: Ticks) -> Ticks {
        let age = now.wrapping_sub(self.seen());
        if age > Ticks::MAX / 2 { 0 } else { age }
    }

    /// May the entry go? `idle` is the service's, `settled` says that the flow's slot is not moving: in a moving slot an
    /// entry tells a flow that is new from one that is old. `in_need`: the table is more than three quarters full.
    #[must_use]
    pub const fn is_over(self, idle: Ticks, settled: bool, in_need: bool, now: Ticks) -> bool {
        let age = self.age(now);
        if self.is_syn_only() {
            age > if in_need { SYN_ONLY_IN_NEED } else { SYN_ONLY }
        } else if self.is_closing() {
            age > CLOSING
        } else {
            settled && age > idle
        }
    }
}

/// What a packet says about the end of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing: an acknowledgement without data.
    Nothing,
    /// It carries data, or opens the flow: it goes on.
    Sends,
    /// FIN or RST.
    Ends,
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberIndex = MemberIndex(1);
    const B: MemberIndex = MemberIndex(2);
    const C: MemberIndex = MemberIndex(3);

    fn all(member: MemberIndex) -> bool {
        member != MemberIndex::NONE
    }

    fn without(dead: MemberIndex) -> impl Fn(MemberIndex) -> bool {
        move |member| all(member) && member != dead
    }

    #[test]
    fn a_slot_moves_and_settles() {
        let moving = next(Slot::stable(A), B, &all);
        assert_eq!(moving, Slot::moving(B, A));
        assert_eq!(next(moving, C, &all), Slot::moving(C, A), "the oldest stays known");
        assert_eq!(next(moving, A, &all), Slot::settled(A), "there and back");
        assert_eq!(settle(moving), Slot::settled(B));
        assert_eq!(next(Slot::settled(B), C, &all), Slot::moving(C, B));
    }

    #[test]
    fn the_dead_are_not_remembered() {
        assert_eq!(next(Slot::stable(A), B, &without(A)), Slot::stable(B));
        assert_eq!(next(Slot::settled(A), B, &without(A)), Slot::settled(B));
        assert_eq!(next(Slot::moving(B, A), B, &without(A)), Slot::settled(B));
        assert_eq!(next(Slot::moving(B, A), C, &without(A)), Slot::moving(C, B));
        assert_eq!(next(Slot::moving(B, A), C, &without(B)), Slot::moving(C, A));
        assert_eq!(next(Slot::stable(MemberIndex::NONE), A, &all), Slot::stable(A));
        assert_eq!(
            next(Slot::stable(A), MemberIndex::NONE, &all),
            Slot::moving(MemberIndex::NONE, A),
            "the last backend drains"
        );
    }

    #[test]
    fn a_syn_is_confirmed_by_what_follows_it_only() {
        let slot = Slot::moving(B, A);
        let entry = Some(Entry::opened(B, u32::MAX - 10, 0));
        let decided = |packet| decide(slot, entry, packet, &all);
        assert_eq!(decided(Packet::Segment(5)).write, Write::Confirm);
        assert_eq!(decided(Packet::Segment(5)).serve, B);
        let other = decided(Packet::Segment(70_000));
        assert_eq!((other.serve, other.write), (A, Write::Known));
        assert_eq!(decided(Packet::Mention), Verdict::only(A));
        assert_eq!(decided(Packet::Syn(7)).write, Write::Renumber(7));
        let dead = decide(slot, entry, Packet::Syn(7), &without(B));
        assert_eq!((dead.serve, dead.write), (B, Write::Opened(7)));
    }

    #[test]
    fn a_claimed_entry_is_left_alone() {
        let slot = Slot::moving(B, A);
        let known = Entry::new(C, 7);
        let claimed = Entry {
            word: known.claimed(),
            ..known
        };
        assert!(claimed.is_claimed() && !known.is_claimed() && claimed.seen() == 7);
        let refused = |packet, alive: &dyn Fn(MemberIndex) -> bool| {
            let verdict = decide(slot, Some(claimed), packet, &alive);
            assert_eq!((verdict.write, verdict.otherwise), (Write::Refused, verdict.serve));
            verdict.serve
        };
        assert_eq!(refused(Packet::Syn(7), &all), A);
        assert_eq!(refused(Packet::Syn(7), &without(A)), B);
        assert_eq!(refused(Packet::Segment(7), &all), A);
        assert_eq!(decide(slot, Some(claimed), Packet::Reset(7), &all), Verdict::only(A));
        assert_eq!(
            decide(Slot::settled(B), Some(claimed), Packet::Syn(7), &all),
            Verdict::only(B)
        );
    }

    #[test]
    fn nobody_is_not_written_down() {
        let slot = Slot::moving(MemberIndex::NONE, A);
        assert_eq!(
            decide(slot, None, Packet::Syn(7), &all),
            Verdict::only(MemberIndex::NONE)
        );
        assert_eq!(decide(slot, None, Packet::Segment(7), &all).serve, A);
    }

    #[test]
    fn an_entry_is_made_of_what_is_known_of_it() {
        let opened = Entry::opened(A, 9, 100);
        let closing = Entry {
            word: opened.heard(Said::Ends, 120),
            ..opened
        };
        for entry in [Entry::new(A, 7), opened, closing] {
            let again = Entry::known(entry.member(), entry.flags(), entry.sequence, entry.seen());
            assert_eq!(again, entry);
        }
        assert_eq!(Entry::known(A, u16::MAX, 0, 0).flags(), 3, "there are no others");
    }

    #[test]
    fn entries_end_by_age() {
        let entry = Entry::new(A, 100);
        assert!(!entry.is_over(50, true, true, 150) && entry.is_over(50, true, false, 151));
        assert!(!entry.is_over(50, false, true, 10_000), "a moving slot needs it");
        let opened = Entry::opened(A, 9, 100);
        assert!(!opened.is_over(5000, false, false, 156) && opened.is_over(5000, false, false, 157));
        assert!(opened.is_over(5000, false, true, 106));
        let closing = Entry {
            word: entry.heard(Said::Ends, 100),
            ..entry
        };
        assert!(closing.is_closing() && closing.is_over(5000, false, false, 157));
        let again = Entry {
            word: closing.heard(Said::Nothing, 120),
            ..closing
        };
        assert!(again.is_closing() && again.seen() == 120);
        let again = Entry {
            word: closing.heard(Said::Sends, 120),
            ..closing
        };
        assert!(!again.is_closing());
    }
}
