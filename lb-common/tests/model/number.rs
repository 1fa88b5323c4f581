//! A state as one u64, so that millions can be told apart.

use lb_common::id::MemberIndex;
use lb_common::ring::{Slot, State as SlotState};

use crate::state::{B, C, Cell, Cpu, Flow, MEMBERS, Manager, Mark, Phase, Said, Set, Stage, State, Wish};

impl State {
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
            number @ 4..=5 => Manager::Expiring(number as usize - 4),
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
            Manager::Expiring(flow) => 4 + flow as u64,
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
