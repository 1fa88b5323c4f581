//! One slot and all that acts on it, small enough to be counted: a state is one u64.

use lb_common::id::MemberIndex;
use lb_common::ring::{Slot, State as SlotState};
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

    pub(crate) const fn of(entry: Entry) -> Self {
        let mark = match entry.is_syn_only() {
            false => Mark::Known,
            true if entry.sequence == OWN => Mark::Own,
            true => Mark::Foreign,
        };
        Self {
            member: entry.member(),
            mark,
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

    /// The state as one number, the same for states that differ in the names of B and C only.
    pub(crate) fn number(&self) -> u64 {
        self.pack(|member| member).min(self.pack(|member| match member {
            B => C,
            C => B,
            other => other,
        }))
    }

    /// The state of a number.
    pub(crate) fn of(number: u64) -> Self {
        let mut bits = Bits(number);
        let full = bits.flag();
        let changes = bits.take(2) as u8;
        let manager = match bits.take(5) {
            0 => Manager::Idle,
            1 => Manager::Slots,
            number @ 2..=3 => Manager::Swept(number == 3),
            number => Manager::Forgetting(MemberIndex((number >> 3) as u16), (number & 7) as u8),
        };
        let cpu = bits.cpu();
        let mut flows = [bits.flow(), bits.flow()];
        flows.reverse();
        let mut junk = [0; 3].map(|_: u8| bits.take(2) as u8);
        junk.reverse();
        let mut cells = [bits.cell(), bits.cell()];
        cells.reverse();
        let alive = Set(bits.take(3) as u8);
        let slot = bits.slot();
        Self {
            slot,
            alive,
            cells,
            junk,
            flows,
            cpu,
            manager,
            changes,
            full,
        }
    }

    /// The state as one number, with other names.
    pub(crate) fn pack(&self, name: impl Fn(MemberIndex) -> MemberIndex) -> u64 {
        let set = |set: Set| set.members().fold(Set::NONE, |all, member| all.with(name(member)));
        let slot = |slot: Slot| {
            let previous = match slot.state() {
                SlotState::Stable => 0,
                SlotState::Moving(previous) => name(previous).0.into(),
                SlotState::Settled => 4,
            };
            u64::from(name(slot.current()).0) << 3 | previous
        };
        let cell =
            |cell: Option<Cell>| cell.map_or(0, |cell| 1 + u64::from(name(cell.member).0) * 3 + cell.mark as u64);
        let mut bits = Bits(0);
        bits.put(5, slot(self.slot));
        bits.put(3, set(self.alive).0.into());
        for entry in self.cells {
            bits.put(4, cell(entry));
        }
        let mut junk = [0; 3];
        for member in MEMBERS {
            junk[usize::from(name(member).0) - 1] = self.junk[usize::from(member.0) - 1];
        }
        for count in junk {
            bits.put(2, count.into());
        }
        for flow in self.flows {
            let phase = match flow.phase {
                Phase::New => 0,
                Phase::Dead => 1,
                Phase::Opening(with) => 2 + u64::from(set(with).0),
                Phase::Answered(member) => 9 + u64::from(name(member).0),
                Phase::Established(member) => 12 + u64::from(name(member).0),
            };
            bits.put(4, phase);
            bits.put(1, flow.spoke.into());
            bits.put(1, flow.again.into());
        }
        match self.cpu {
            None => bits.put(2, 0),
            Some(cpu) => {
                bits.put(1, cpu.flow as u64);
                bits.put(2, cpu.said as u64);
                bits.put(1, cpu.again.into());
                bits.put(1, cpu.stale.into());
                match cpu.stage {
                    Stage::Read(read) => {
                        bits.put(5, slot(read));
                        bits.put(2, 1);
                    }
                    Stage::Decided(wish) | Stage::Claimed(wish) => {
                        bits.put(5, slot(wish.slot));
                        bits.put(4, cell(wish.saw));
                        bits.put(3, set(wish.alive).0.into());
                        bits.put(2, if matches!(cpu.stage, Stage::Decided(_)) { 2 } else { 3 });
                    }
                }
            }
        }
        let manager = match self.manager {
            Manager::Idle => 0,
            Manager::Slots => 1,
            Manager::Swept(left) => 2 + u64::from(left),
            Manager::Forgetting(member, done) => u64::from(name(member).0) << 3 | u64::from(done),
        };
        bits.put(5, manager);
        bits.put(2, self.changes.into());
        bits.put(1, self.full.into());
        bits.0
    }
}

/// Numbers put together: the last one put comes out first.
struct Bits(u64);

impl Bits {
    fn put(&mut self, width: u32, value: u64) {
        debug_assert!(value < 1 << width && self.0.leading_zeros() >= width);
        self.0 = self.0 << width | value;
    }

    fn take(&mut self, width: u32) -> u64 {
        let value = self.0 & ((1 << width) - 1);
        self.0 >>= width;
        value
    }

    fn flag(&mut self) -> bool {
        self.take(1) != 0
    }

    fn member(&mut self) -> MemberIndex {
        MemberIndex(self.take(2) as u16)
    }

    fn slot(&mut self) -> Slot {
        let previous = self.take(3) as u16;
        let current = self.member();
        match previous {
            0 => Slot::stable(current),
            4 => Slot::settled(current),
            _ => Slot::moving(current, MemberIndex(previous)),
        }
    }

    fn cpu(&mut self) -> Option<Cpu> {
        let stage = match self.take(2) {
            0 => return None,
            1 => Stage::Read(self.slot()),
            number => {
                let alive = Set(self.take(3) as u8);
                let saw = self.cell();
                let slot = self.slot();
                let wish = Wish { slot, saw, alive };
                if number == 2 {
                    Stage::Decided(wish)
                } else {
                    Stage::Claimed(wish)
                }
            }
        };
        let stale = self.flag();
        let again = self.flag();
        let said = [Said::Data, Said::Syn, Said::Spoof][self.take(2) as usize];
        let flow = self.take(1) as usize;
        Some(Cpu {
            flow,
            said,
            again,
            stale,
            stage,
        })
    }

    fn flow(&mut self) -> Flow {
        let again = self.flag();
        let spoke = self.flag();
        let phase = match self.take(4) {
            0 => Phase::New,
            1 => Phase::Dead,
            number @ 2..=9 => Phase::Opening(Set(number as u8 - 2)),
            number @ 10..=12 => Phase::Answered(MemberIndex(number as u16 - 9)),
            number => Phase::Established(MemberIndex(number as u16 - 12)),
        };
        Flow { phase, spoke, again }
    }

    fn cell(&mut self) -> Option<Cell> {
        let number = self.take(4).checked_sub(1)?;
        Some(Cell {
            member: MemberIndex((number / 3) as u16),
            mark: [Mark::Known, Mark::Own, Mark::Foreign][(number % 3) as usize],
        })
    }
}
