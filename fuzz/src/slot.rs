//! The rules of slots: whatever bits the other side has left in a slot or an entry, who serves is somebody who may, and
//! only what is promised is written.
//!
//! An input is a slot, the first dead, and a row of events. What is installed and looked up is of the input too, so that
//! slots and entries are met that no order of events makes; the model in `lb-common/tests/model` has the orders.

use lb_common::id::MemberIndex;
use lb_common::nat::Ticks;
use lb_common::ring::{Slot, State};
use lb_common::slot::{Entry, Packet, Said, Verdict, Write, decide, next, settle};

use crate::input::Input;

/// Most events of an input.
const EVENTS: usize = 64;

/// Panics when a rule is broken.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let mut slot = Slot(input.u32());
    let mut dead = [MemberIndex::NONE; 2];
    let mut entry = None;
    let mut now: Ticks = 0;
    for _ in 0..EVENTS {
        if input.is_empty() {
            break;
        }
        // What no backend can have is no living backend's.
        let alive =
            |member: MemberIndex| (MemberIndex(1)..=MemberIndex::MAX).contains(&member) && !dead.contains(&member);
        match input.u8() % 8 {
            0 => slot = changed(slot, member(input.u16()), &alive),
            1 => slot = closed(slot),
            2 => dead = [MemberIndex(input.u16()), dead[0]],
            3 => slot = Slot(input.u32()),
            4 => entry = Some(made(&mut input)),
            5 => entry = None,
            6 => now = now.wrapping_add(input.u32()),
            _ => {
                let (packet, said) = packet(&mut input);
                let verdict = decided(slot, entry, packet, &alive);
                entry = written(entry, verdict, now).map(|entry| heard(entry, said, now));
            }
        }
        if let Some(entry) = entry {
            ages(entry, now, input.0.first().copied().unwrap_or_default().into());
        }
    }
}

/// One that a slot can be given to: a backend, or nobody.
fn member(index: u16) -> MemberIndex {
    MemberIndex(index).min(MemberIndex::MAX)
}

fn made(input: &mut Input) -> Entry {
    let (word, sequence) = (input.u64(), input.u32());
    let (member, seen) = (MemberIndex(word as u16), (word >> 32) as Ticks);
    let (new, opened) = (Entry::new(member, seen), Entry::opened(member, sequence, seen));
    for entry in [new, opened] {
        assert_eq!((entry.member(), entry.seen()), (member, seen));
        assert!(!entry.is_closing());
    }
    assert!(!new.is_syn_only() && opened.is_syn_only() && opened.sequence == sequence);
    assert_eq!(Entry { sequence, ..new }, opened.confirmed());
    Entry { word, sequence, ..new }
}

fn packet(input: &mut Input) -> (Packet, Said) {
    let (kind, number) = (input.u8(), input.u32());
    let packet = match kind % 5 {
        0 => Packet::Syn(number),
        1 => Packet::Segment(number),
        2 => Packet::Reset(number),
        3 => Packet::Datagram,
        _ => Packet::Mention,
    };
    let said = match kind / 5 % 3 {
        0 => Said::Nothing,
        1 => Said::Sends,
        _ => Said::Ends,
    };
    (packet, said)
}

/// A change gives the slot to `to`, and keeps one living member that flows may be with.
fn changed(slot: Slot, to: MemberIndex, alive: &impl Fn(MemberIndex) -> bool) -> Slot {
    let after = next(slot, to, alive);
    let current = slot.current();
    assert_eq!(after.current(), to, "{slot:?} {to:?}");
    assert_eq!(
        next(after, to, alive),
        after,
        "{slot:?} {to:?}: the second time changes something"
    );
    match after.state() {
        // Of stable slots no entry is looked up.
        State::Stable => assert!(
            slot.is_stable() && (current == to || !alive(current)),
            "{slot:?} {to:?}"
        ),
        State::Moving(previous) => {
            assert!(alive(previous), "{slot:?} {to:?}: the dead are remembered");
            assert!(previous != to || after == slot, "{slot:?} {to:?}");
        }
        State::Settled => {}
    }
    // Those that are not written down: they must find their member.
    let rest = match slot.state() {
        State::Moving(previous) if alive(previous) => previous,
        _ => current,
    };
    if alive(rest) {
        let known = matches!(after.state(), State::Moving(previous) if previous == rest);
        assert!(rest == to || known, "{slot:?} {to:?}: {rest:?} is forgotten");
    }
    after
}

/// The end of a window moves nobody.
fn closed(slot: Slot) -> Slot {
    let after = settle(slot);
    assert_eq!(after.current(), slot.current());
    assert_eq!(after.is_stable(), slot.is_stable());
    assert!(!matches!(after.state(), State::Moving(_)));
    assert_eq!(settle(after), after);
    after
}

/// Who serves may do so, and what is written is for the living.
fn decided(slot: Slot, entry: Option<Entry>, packet: Packet, alive: &impl Fn(MemberIndex) -> bool) -> Verdict {
    let verdict = decide(slot, entry, packet, alive);
    let Verdict {
        serve,
        otherwise,
        write,
    } = verdict;
    let case = || format!("{slot:?} {entry:?} {packet:?}: {verdict:?}");
    let current = slot.current();
    let previous = match slot.state() {
        State::Moving(previous) if alive(previous) => Some(previous),
        State::Moving(_) | State::Stable | State::Settled => None,
    };
    let living = entry.filter(|entry| alive(entry.member()));

    for served in [serve, otherwise] {
        assert!(served == current || alive(served), "{}", case());
        let known = Some(served) == previous || living.is_some_and(|entry| entry.member() == served);
        assert!(served == current || known, "{}", case());
    }
    if let Some(entry) = living.filter(|entry| !entry.is_syn_only()) {
        assert_eq!(
            (serve, otherwise, write),
            (entry.member(), entry.member(), Write::Nothing),
            "{}",
            case()
        );
    }
    let by_syn = living.filter(|entry| entry.is_syn_only());
    let is_claimed = entry.is_some_and(Entry::is_claimed);
    match write {
        Write::Nothing => assert_eq!(serve, otherwise, "{}", case()),
        Write::Opened(number) => {
            assert!(
                packet == Packet::Syn(number) && !is_claimed && living.is_none(),
                "{}",
                case()
            );
            assert!(serve == current && current != MemberIndex::NONE, "{}", case());
            assert!(matches!(slot.state(), State::Moving(_)), "{}", case());
            assert_eq!(otherwise, previous.unwrap_or(current), "{}", case());
        }
        Write::Known => {
            assert!(
                matches!(packet, Packet::Segment(_) | Packet::Datagram) && !is_claimed,
                "{}",
                case()
            );
            assert!(Some(serve) == previous && otherwise == serve, "{}", case());
        }
        Write::Renumber(number) => {
            assert!(packet == Packet::Syn(number) && otherwise == serve, "{}", case());
            assert_eq!(by_syn.map(Entry::member), Some(serve), "{}", case());
        }
        Write::Confirm => {
            assert!(matches!(packet, Packet::Segment(_) | Packet::Reset(_)), "{}", case());
            assert_eq!(by_syn.map(Entry::member), Some(serve), "{}", case());
        }
        Write::Refused => assert!(is_claimed && serve == otherwise, "{}", case()),
    }
    verdict
}

/// The entry after what is to be written has been.
fn written(entry: Option<Entry>, verdict: Verdict, now: Ticks) -> Option<Entry> {
    match verdict.write {
        Write::Nothing | Write::Refused => entry,
        Write::Opened(number) => Some(Entry::opened(verdict.serve, number, now)),
        Write::Known => Some(Entry::new(verdict.serve, now)),
        Write::Renumber(sequence) => entry.map(|entry| Entry { sequence, ..entry }),
        Write::Confirm => entry.map(Entry::confirmed),
    }
}

/// What is heard of a flow changes the time and whether it closes, and nothing else.
fn heard(entry: Entry, said: Said, now: Ticks) -> Entry {
    let after = Entry {
        word: entry.heard(said, now),
        ..entry
    };
    assert_eq!((after.seen(), after.age(now)), (now, 0));
    assert_eq!(
        (after.member(), after.is_syn_only()),
        (entry.member(), entry.is_syn_only())
    );
    let closing = match said {
        Said::Nothing => entry.is_closing(),
        Said::Sends => false,
        Said::Ends => true,
    };
    assert_eq!(after.is_closing(), closing);
    assert!(
        !after.is_over(0, true, true, now),
        "{after:?} is over as it is heard of"
    );
    after
}

/// An entry ends sooner in need, and where its slot is settled; one of a flow that is not over stays what it is when it is
/// claimed.
fn ages(entry: Entry, now: Ticks, idle: Ticks) {
    let over = |settled, in_need| entry.is_over(idle, settled, in_need, now);
    for flag in [false, true] {
        assert!(over(true, flag) || !over(false, flag), "{entry:?}");
        assert!(over(flag, true) || !over(flag, false), "{entry:?}");
    }
    assert!(entry.age(now) <= Ticks::MAX / 2);
    let claimed = Entry {
        word: entry.claimed(),
        ..entry
    };
    assert!(claimed.is_claimed());
    assert_eq!(claimed.word | u64::from(entry.member().0), entry.word);
    assert_eq!(entry.is_claimed(), entry.member() == MemberIndex::NONE);
}
