//! One slot and all that acts on it.

use lb_common::id::MemberIndex;
use lb_common::ring::Slot;
use lb_common::slot::Entry;

/// The backends. Of the first one the slot is, in the beginning; the other two are alike.
pub(crate) const A: MemberIndex = MemberIndex(1);
pub(crate) const B: MemberIndex = MemberIndex(2);
pub(crate) const C: MemberIndex = MemberIndex(3);
pub(crate) const MEMBERS: [MemberIndex; 3] = [A, B, C];

/// Sequence number of a flow's own SYN, which its segments follow.
pub(crate) const OWN: u32 = 1000;
/// Sequence number of a SYN that somebody else has sent in the flow's name.
pub(crate) const FOREIGN: u32 = 1 << 30;

/// A set of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Set(pub(crate) u8);

impl Set {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(0b111);

    const fn bit(member: MemberIndex) -> u8 {
        (1 << member.0) >> 1
    }

    pub(crate) const fn has(self, member: MemberIndex) -> bool {
        self.0 & Self::bit(member) != 0
    }

    pub(crate) const fn with(self, member: MemberIndex) -> Self {
        Self(self.0 | Self::bit(member))
    }

    pub(crate) const fn without(self, member: MemberIndex) -> Self {
        Self(self.0 & !Self::bit(member))
    }

    pub(crate) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn members(self) -> impl Iterator<Item = MemberIndex> {
        MEMBERS.into_iter().filter(move |&member| self.has(member))
    }
}

/// What the client knows of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is still to be opened.
    New,
    /// The SYN is out; these backends have got it.
    Opening(Set),
    /// The client has answered this backend's SYN-ACK; the answer has not arrived yet.
    Answered(MemberIndex),
    /// Both sides are in it.
    Established(MemberIndex),
    /// Its backend died.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) phase: Phase,
    /// It has sent in this window, and was written down or known.
    pub(crate) spoke: bool,
    /// It is the second flow with the same ports.
    pub(crate) again: bool,
}

/// What an entry says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Known,
    /// Only a SYN was seen: the flow's own, or somebody else's.
    Own,
    Foreign,
}

/// An element of `FLOWS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) member: MemberIndex,
    pub(crate) mark: Mark,
}

impl Cell {
    /// Whoever has claimed it is about to remove or to replace it.
    pub(crate) const CLAIMED: Self = Self {
        member: MemberIndex::NONE,
        mark: Mark::Known,
    };

    pub(crate) const fn entry(self) -> Entry {
        match self.mark {
            Mark::Known => Entry::new(self.member, 0),
            Mark::Own => Entry::opened(self.member, OWN, 0),
            Mark::Foreign => Entry::opened(self.member, FOREIGN, 0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Data,
    Syn,
    /// A SYN of somebody else in the flow's name.
    Spoof,
}

/// How far a packet has come that one CPU works on while others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has read the slot.
    Read(Slot),
    /// It has looked up its flow.
    Decided(Wish),
    /// It has claimed the entry that it is going to replace.
    Claimed(Wish),
}

/// What a packet is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// By the slot as it has read it.
    pub(crate) slot: Slot,
    /// The entry that it has seen.
    pub(crate) saw: Option<Cell>,
    /// Who was alive.
    pub(crate) alive: Set,
}

impl Wish {
    pub(crate) const fn now(state: &State, flow: usize, slot: Slot) -> Self {
        Self {
            slot,
            saw: state.cells[flow],
            alive: state.alive,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) flow: usize,
    pub(crate) said: Said,
    pub(crate) again: bool,
    /// It runs since before the manager's last write.
    pub(crate) stale: bool,
    pub(crate) stage: Stage,
}

/// What the manager is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Idle,
    /// Members have been written, slots not yet.
    Slots,
    /// The sweep has been over `FLOWS`, and has left entries or not.
    Swept(bool),
    /// An entry expires: this flow's, which has been claimed, or only been looked at.
    Expiring(usize),
    /// A member comes back, whose entries are being forgotten: so many steps are done.
    Forgetting(MemberIndex, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) slot: Slot,
    pub(crate) alive: Set,
    /// The entries of the two flows, and how many others there are of each member.
    pub(crate) cells: [Option<Cell>; 2],
    pub(crate) junk: [u8; 3],
    pub(crate) flows: [Flow; 2],
    pub(crate) cpu: Option<Cpu>,
    pub(crate) manager: Manager,
    /// Changes of the slot so far.
    pub(crate) changes: u8,
    /// A write has found no room in this window.
    pub(crate) full: bool,
}

impl State {
    /// The first flow is established, the second one is to come.
    pub(crate) const START: Self = Self {
        slot: Slot::stable(A),
        alive: Set::ALL,
        cells: [None; 2],
        junk: [0; 3],
        flows: [
            Flow {
                phase: Phase::Established(A),
                spoke: false,
                again: false,
            },
            Flow {
                phase: Phase::New,
                spoke: false,
                again: false,
            },
        ],
        cpu: None,
        manager: Manager::Idle,
        changes: 0,
        full: false,
    };

    pub(crate) const fn with_cpu(&self, cpu: Cpu) -> Self {
        Self {
            cpu: Some(cpu),
            ..*self
        }
    }

    /// Entries in `FLOWS`.
    pub(crate) fn entries(&self) -> usize {
        self.cells.iter().flatten().count() + self.junk.iter().map(|&n| usize::from(n)).sum::<usize>()
    }

    /// Is the flow known, whatever happens to the slot?
    pub(crate) fn is_known(&self, flow: usize) -> bool {
        self.cells[flow].is_some_and(|cell| cell.mark != Mark::Foreign && self.alive.has(cell.member))
    }
}
