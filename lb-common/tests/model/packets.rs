//! What the clients and the program do.

use std::fmt;

use lb_common::id::MemberIndex;
use lb_common::ring::{Slot, State as SlotState};
use lb_common::slot::{Packet, Verdict, Write};

use crate::rules::Rules;
use crate::search::{Break, Model, Sink, Step, feature};
use crate::state::{Cell, Cpu, FOREIGN, Flow, Mark, OWN, Phase, Said, Stage, State};

fn is_moving(slot: Slot) -> bool {
    matches!(slot.state(), SlotState::Moving(_))
}

impl<R: Rules> Model<R> {
    /// All that packets may do next.
    pub(crate) fn packets(&self, state: &State, sink: &mut Sink<'_>) {
        if let Some(cpu) = state.cpu {
            self.go_on(state, cpu, sink);
        }
        for (flow, &Flow { phase, again, .. }) in state.flows.iter().enumerate() {
            let with = |phase| {
                let mut next = *state;
                next.flows[flow] = Flow {
                    phase,
                    spoke: false,
                    again,
                };
                next
            };
            match phase {
                Phase::New => self.arrives(&with(Phase::Opening(crate::state::Set::NONE)), flow, Said::Syn, "SYN", sink),
                Phase::Opening(heard) => {
                    if self.has(feature::SYN_AGAIN) {
                        self.arrives(state, flow, Said::Syn, "SYN again", sink);
                    }
                    for member in heard.members().filter(|&member| state.alive.has(member)) {
                        self.arrives(&with(Phase::Answered(member)), flow, Said::Data, "ACK", sink);
                    }
                }
                Phase::Answered(_) => self.arrives(state, flow, Said::Data, "ACK again", sink),
                Phase::Established(_) => {
                    self.arrives(state, flow, Said::Data, "data", sink);
                    if self.has(feature::SPOOF) {
                        self.arrives(state, flow, Said::Spoof, "spoofed SYN", sink);
                    }
                    self.closes(state, flow, sink);
                }
                Phase::Dead if self.has(feature::STEPS) => self.closes(state, flow, sink),
                Phase::Dead => (),
            }
        }
        if self.has(feature::FLOOD) {
            self.flood(state, sink);
        }
    }

    /// A packet arrives: it is served at once, or one CPU only reads the slot for now.
    fn arrives(&self, state: &State, flow: usize, said: Said, what: &'static str, sink: &mut Sink<'_>) {
        self.acts(state, flow, said, state.slot, what, sink);
        if self.has(feature::RACE) && state.cpu.is_none() {
            let cpu = Cpu {
                flow,
                said,
                again: state.flows[flow].again,
                stale: false,
                stage: Stage::Read(state.slot),
            };
            sink(
                Step::of(what, flow, "reads the slot"),
                Ok(State {
                    cpu: Some(cpu),
                    ..*state
                }),
            );
        }
    }

    /// The packet that one CPU is busy with goes on.
    fn go_on(&self, state: &State, cpu: Cpu, sink: &mut Sink<'_>) {
        let alone = State { cpu: None, ..*state };
        if state.flows[cpu.flow].again != cpu.again {
            sink(Step::of("that packet", cpu.flow, "is too old"), Ok(alone));
            return;
        }
        // What was sent before the window does not count in it.
        let counts = !(cpu.stale && self.has(feature::STEPS));
        match cpu.stage {
            Stage::Read(slot) => {
                let verdict = Self::verdict(state, cpu.flow, cpu.said, slot);
                let counts = counts && is_moving(slot);
                Self::ends(&alone, cpu.flow, cpu.said, verdict, counts, "that packet", sink);
                if self.has(feature::STAGES) {
                    let stage = Stage::Decided(verdict, is_moving(slot));
                    sink(
                        Step::of("that packet", cpu.flow, "looks up its flow"),
                        Ok(State {
                            cpu: Some(Cpu { stage, ..cpu }),
                            ..*state
                        }),
                    );
                }
            }
            Stage::Decided(verdict, moving) => {
                Self::ends(&alone, cpu.flow, cpu.said, verdict, counts && moving, "that packet", sink);
            }
        }
    }

    fn acts(&self, state: &State, flow: usize, said: Said, slot: Slot, what: &'static str, sink: &mut Sink<'_>) {
        let verdict = Self::verdict(state, flow, said, slot);
        Self::ends(state, flow, said, verdict, is_moving(slot), what, sink);
    }

    fn verdict(state: &State, flow: usize, said: Said, slot: Slot) -> Verdict {
        if slot.is_stable() {
            return Verdict {
                serve: slot.current(),
                otherwise: slot.current(),
                write: Write::Nothing,
            };
        }
        let packet = match said {
            Said::Data => Packet::Segment(OWN + 1),
            Said::Syn => Packet::Syn(OWN),
            Said::Spoof => Packet::Syn(FOREIGN),
        };
        R::decide(slot, state.cells[flow].map(Cell::entry), packet, &|member| state.alive.has(member))
    }

    /// Writes what is to be written, and hands the packet over.
    fn ends(
        state: &State,
        flow: usize,
        said: Said,
        verdict: Verdict,
        moving: bool,
        what: &'static str,
        sink: &mut Sink<'_>,
    ) {
        let mut next = *state;
        let (to, written) = Self::write(&mut next, flow, verdict);
        let step = Step::to(what, flow, to);
        let alive = next.alive.has(to);
        let Flow { phase, .. } = next.flows[flow];
        match (said, phase) {
            (Said::Spoof, _) => (),
            (Said::Syn, Phase::Opening(heard)) if alive => next.flows[flow].phase = Phase::Opening(heard.with(to)),
            (Said::Syn, _) => (),
            (Said::Data, Phase::Established(member)) if member != to && next.alive.has(member) => {
                sink(step, Err(Break::Established));
                return;
            }
            (Said::Data, Phase::Answered(member)) if member != to && next.alive.has(member) => {
                sink(step, Err(Break::Handshake));
                return;
            }
            (Said::Data, Phase::Answered(member)) => next.flows[flow].phase = Phase::Established(member),
            (Said::Data, _) => (),
        }
        let speaks = matches!(next.flows[flow].phase, Phase::Established(_));
        if said == Said::Data && moving && written && speaks {
            next.flows[flow].spoke = true;
        }
        sink(step, Ok(next));
    }

    /// Who serves the packet, and whether there was room. An entry that is there already stands, and its member serves:
    /// unless it is dead, or of a SYN that is not the flow's.
    fn write(state: &mut State, flow: usize, verdict: Verdict) -> (MemberIndex, bool) {
        let there = state.cells[flow].filter(|cell| state.alive.has(cell.member));
        let mark = match (verdict.write, there) {
            (Write::Nothing, _) => return (verdict.serve, true),
            // In place, if that is still the entry.
            (Write::Renumber(number), there) => {
                if let Some(cell) = there.filter(|cell| cell.member == verdict.serve && cell.mark != Mark::Known) {
                    let mark = if number == OWN { Mark::Own } else { Mark::Foreign };
                    state.cells[flow] = Some(Cell { mark, ..cell });
                }
                return (verdict.serve, true);
            }
            (Write::Confirm, there) => {
                if let Some(cell) = there.filter(|cell| cell.member == verdict.serve) {
                    state.cells[flow] = Some(Cell::of(cell.entry().confirmed()));
                }
                return (verdict.serve, true);
            }
            (Write::Known, Some(cell)) if cell.mark != Mark::Foreign => return (cell.member, true),
            (Write::Opened(_), Some(cell)) => return (cell.member, true),
            (Write::Known, _) => Mark::Known,
            (Write::Opened(OWN), None) => Mark::Own,
            (Write::Opened(_), None) => Mark::Foreign,
        };
        if state.cells[flow].is_none() && state.entries() >= Self::ROOM {
            if !R::EVICTS {
                state.full = true;
                return (verdict.otherwise, false);
            }
            state.cells[1 - flow] = None;
        }
        state.cells[flow] = Some(Cell {
            member: verdict.serve,
            mark,
        });
        (verdict.serve, true)
    }

    /// The client has another flow with the same ports.
    fn closes(&self, state: &State, flow: usize, sink: &mut Sink<'_>) {
        if self.has(feature::REUSE) && !state.flows[flow].again {
            let mut next = *state;
            next.flows[flow] = Flow {
                phase: Phase::New,
                spoke: false,
                again: true,
            };
            sink(Step::of("client", flow, "closes"), Ok(next));
        }
    }

    /// SYNs that nobody follows up fill `FLOWS`, and age.
    fn flood(&self, state: &State, sink: &mut Sink<'_>) {
        let current = usize::from(state.slot.current().0);
        if is_moving(state.slot) && current > 0 {
            if state.entries() < Self::ROOM {
                let mut next = *state;
                next.junk[current - 1] += 1;
                sink(Step::only("a SYN of the flood"), Ok(next));
            } else if R::EVICTS {
                for flow in 0..2 {
                    let mut next = *state;
                    if next.cells[flow].take().is_some() {
                        sink(Step::of("a SYN of the flood evicts", flow, ""), Ok(next));
                    }
                }
            }
        }
        if state.junk != [0; 3] {
            sink(Step::only("the flood's entries expire"), Ok(State { junk: [0; 3], ..*state }));
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        if let Some(flow) = self.flow {
            write!(f, " {}", ["f", "g"][flow])?;
        }
        if let Some(member) = self.member {
            write!(f, " to {}", ["nobody", "A", "B", "C"][usize::from(member.0)])?;
        }
        write!(f, " {}", self.then)
    }
}
