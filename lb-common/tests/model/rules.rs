//! The rules that are checked, and some that are wrong.

use lb_common::id::MemberIndex;
use lb_common::ring::{Slot, State as SlotState};
use lb_common::slot::{self, Alive, Entry, Packet, Verdict};

/// How entries are removed: those of a member before it is alive again, and those of flows that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forget {
    /// Not at all.
    Never,
    /// One is claimed if it is still what was looked at, then deleted.
    Claim,
    /// One is looked at, then deleted, whatever it is by then.
    LookAndDelete,
}

/// What both sides do. What is not overridden is what they really do.
pub(crate) trait Rules {
    /// The manager goes on when all packets have ended that ran while it wrote.
    const GRACE: bool = true;
    /// A grace period lies between the end of entries and the end of a window.
    const GRACE_AFTER_EXPIRY: bool = true;
    /// The window starts again when a write has found no room.
    const ROOM_MATTERS: bool = true;
    /// A new manager waits for the packets that ran when its predecessor wrote.
    const GRACE_AT_START: bool = true;
    /// The window starts again with the manager.
    const WINDOW_RESTARTS: bool = true;
    /// A member becomes alive when no slot names it any more.
    const DEATHS_END: bool = true;
    /// A full `FLOWS` makes room.
    const EVICTS: bool = false;
    /// Who replaces an entry claims it first.
    const CLAIMS: bool = true;
    const FORGET: Forget = Forget::Claim;
    /// How an entry of a flow that is over goes.
    const EXPIRY: Forget = Forget::Claim;
    /// A packet that finds an entry changed which it wants to tell of itself decides again.
    const LOOKS_AGAIN: bool = true;

    fn next(slot: Slot, to: MemberIndex, alive: &impl Alive) -> Slot {
        slot::next(slot, to, alive)
    }

    fn settle(slot: Slot) -> Slot {
        slot::settle(slot)
    }

    fn decide(slot: Slot, entry: Option<Entry>, packet: Packet, alive: &impl Alive) -> Verdict {
        slot::decide(slot, entry, packet, alive)
    }
}

/// What is built.
pub(crate) struct Real;
impl Rules for Real {}

/// Declares wrong rules.
macro_rules! wrong {
    ($($(#[doc = $doc:literal])* $name:ident { $($body:item)* })*) => { $(
        $(#[doc = $doc])*
        pub(crate) struct $name;
        impl Rules for $name { $($body)* }
    )* };
}

wrong! {
    /// The manager does not wait for packets.
    NoGrace { const GRACE: bool = false; }

    /// The window closes while a packet runs that has seen an entry that has expired since.
    Abrupt { const GRACE_AFTER_EXPIRY: bool = false; }

    /// The window closes though a write has found no room.
    NoRoom { const ROOM_MATTERS: bool = false; }

    /// A new manager goes on at once.
    Eager { const GRACE_AT_START: bool = false; }

    /// A new manager takes the window for over that it knows nothing of.
    OldWindow { const WINDOW_RESTARTS: bool = false; }

    /// A member comes back while a slot still names it from before its death.
    EarlyReturn { const DEATHS_END: bool = false; }

    /// The least recently used entry gives way.
    Lru { const EVICTS: bool = true; }

    /// What a member had before it died is remembered.
    Haunted { const FORGET: Forget = Forget::Never; }

    /// An entry is deleted that has changed since it was looked at.
    Careless { const FORGET: Forget = Forget::LookAndDelete; }

    /// The same of an entry that expires.
    Hurried { const EXPIRY: Forget = Forget::LookAndDelete; }

    /// A packet goes by an entry that was removed before it could be told.
    Deaf { const LOOKS_AGAIN: bool = false; }

    /// An entry is replaced that is another one by now.
    Unclaimed { const CLAIMS: bool = false; }

    /// A claimed entry is taken for a dead one.
    Disrespectful {
        fn decide(slot: Slot, entry: Option<Entry>, packet: Packet, alive: &impl Alive) -> Verdict {
            slot::decide(slot, entry.filter(|entry| !entry.is_claimed()), packet, alive)
        }
    }

    /// A slot that moves on forgets where it came from.
    Forgetful {
        fn next(slot: Slot, to: MemberIndex, alive: &impl Alive) -> Slot {
            match slot.state() {
                SlotState::Moving(_) if slot.current() != to && alive.is_alive(slot.current()) => {
                    Slot::moving(to, slot.current())
                }
                _ => slot::next(slot, to, alive),
            }
        }
    }

    /// There and back is taken for never gone.
    ThereAndBack {
        fn next(slot: Slot, to: MemberIndex, alive: &impl Alive) -> Slot {
            match slot.state() {
                SlotState::Moving(previous) if previous == to => Slot::stable(to),
                _ => slot::next(slot, to, alive),
            }
        }
    }

    /// A moving slot whose previous member died forgets who came since.
    Amnesic {
        fn next(slot: Slot, to: MemberIndex, alive: &impl Alive) -> Slot {
            match slot.state() {
                SlotState::Moving(previous) if !alive.is_alive(previous) => Slot::stable(to),
                _ => slot::next(slot, to, alive),
            }
        }
    }

    /// A moving slot whose previous member died forgets that its current one has flows, which found no room.
    DeathBlind {
        fn next(slot: Slot, to: MemberIndex, alive: &impl Alive) -> Slot {
            match slot.state() {
                SlotState::Moving(previous) if !alive.is_alive(previous) => Slot::settled(to),
                _ => slot::next(slot, to, alive),
            }
        }
    }

    /// The window ends all that is known.
    Hasty {
        fn settle(slot: Slot) -> Slot {
            Slot::stable(slot.current())
        }
    }

    /// A SYN that finds no room goes to the new member.
    Unwritten {
        fn decide(slot: Slot, entry: Option<Entry>, packet: Packet, alive: &impl Alive) -> Verdict {
            let verdict = slot::decide(slot, entry, packet, alive);
            Verdict { otherwise: verdict.serve, ..verdict }
        }
    }

    /// A SYN is believed, whoever has sent it.
    Gullible {
        fn decide(slot: Slot, entry: Option<Entry>, packet: Packet, alive: &impl Alive) -> Verdict {
            slot::decide(slot, entry.map(Entry::confirmed), packet, alive)
        }
    }
}
