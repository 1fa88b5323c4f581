//! What the clients and the program do.

use std::fmt;

use lb_common::id::MemberIndex;
use lb_common::ring::{Slot, State as SlotState};
use lb_common::slot::{Packet, Verdict, Write};

use crate::rules::Rules;
use crate::search::{Break, Model, Sink, Step, feature};
use crate::state::{Cell, Cpu, FOREIGN, Flow, Mark, OWN, Phase, Said, Set, Stage, State, Wish};

/// A packet.
#[derive(Clone, Copy)]
struct Sent {
    flow: usize,
    said: Said,
    /// It was sent since the manager's last write.
    counts: bool,
    what: &'static str,
}

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
                Phase::New => self.arrives(&with(Phase::Opening(Set::NONE)), flow, Said::Syn, "SYN", sink),
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
        let wish = Wish::now(state, flow, state.slot);
        let sent = Sent {
            flow,
            said,
            counts: true,
            what,
        };
        self.ends(state, sent, wish, sink);
        if self.has(feature::RACE) && state.cpu.is_none() {
            let cpu = Cpu {
                flow,
                said,
                again: state.flows[flow].again,
                stale: false,
                stage: Stage::Read(state.slot),
            };
            sink(Step::of(what, flow, "reads the slot"), Ok(state.with_cpu(cpu)));
        }
    }

    /// The packet that one CPU is busy with goes on.
    fn go_on(&self, state: &State, cpu: Cpu, sink: &mut Sink<'_>) {
        const WHAT: &str = "that packet";
        let flow = cpu.flow;
        let mut alone = State { cpu: None, ..*state };
        if state.flows[flow].again != cpu.again {
            if let Stage::Claimed(_) = cpu.stage {
                alone.cells[flow] = None;
            }
            sink(Step::of(WHAT, flow, "is too old"), Ok(alone));
            return;
        }
        // What was sent before the window does not count in it.
        let sent = Sent {
            flow,
            said: cpu.said,
            counts: !(cpu.stale && self.has(feature::STEPS)),
            what: WHAT,
        };
        match cpu.stage {
            Stage::Read(slot) => {
                let wish = Wish::now(state, flow, slot);
                self.ends(&alone, sent, wish, sink);
                if self.has(feature::STAGES) {
                    let stage = Stage::Decided(wish);
                    sink(
                        Step::of(WHAT, flow, "looks up its flow"),
                        Ok(state.with_cpu(Cpu { stage, ..cpu })),
                    );
                }
            }
            Stage::Decided(wish) => {
                self.ends(&alone, sent, wish, sink);
                let writes = matches!(self.verdict(wish, cpu.said).write, Write::Opened(_) | Write::Known);
                if R::CLAIMS && writes && wish.saw.is_some() && wish.saw == state.cells[flow] {
                    let mut next = state.with_cpu(Cpu {
                        stage: Stage::Claimed(wish),
                        ..cpu
                    });
                    next.cells[flow] = Some(Cell::CLAIMED);
                    sink(Step::of(WHAT, flow, "claims its entry"), Ok(next));
                }
            }
            Stage::Claimed(wish) => {
                alone.cells[flow] = wish.saw;
                self.ends(&alone, sent, wish, sink);
            }
        }
    }

    fn verdict(&self, wish: Wish, said: Said) -> Verdict {
        if wish.slot.is_stable() {
            return Verdict {
                serve: wish.slot.current(),
                otherwise: wish.slot.current(),
                write: Write::Nothing,
            };
        }
        let packet = match said {
            Said::Data => Packet::Segment(OWN + 1),
            Said::Syn => Packet::Syn(OWN),
            Said::Spoof => Packet::Syn(FOREIGN),
        };
        let packet = if self.has(feature::DATAGRAMS) {
            Packet::Datagram
        } else {
            packet
        };
        R::decide(wish.slot, wish.saw.map(Cell::entry), packet, &|member| {
            wish.alive.has(member)
        })
    }

    /// Writes what is to be written, and hands the packet over.
    fn ends(&self, state: &State, sent: Sent, wish: Wish, sink: &mut Sink<'_>) {
        let Sent {
            flow,
            said,
            counts,
            what,
        } = sent;
        let mut next = *state;
        let (to, written) = self.write(&mut next, flow, said, wish);
        let step = Step::to(what, flow, to);
        let Flow { phase, .. } = next.flows[flow];
        match (said, phase) {
            (Said::Syn, Phase::Opening(heard)) if next.alive.has(to) => {
                next.flows[flow].phase = Phase::Opening(heard.with(to));
            }
            (Said::Data, Phase::Established(member)) if member != to && next.alive.has(member) => {
                sink(step, Err(Break::Established));
                return;
            }
            (Said::Data, Phase::Answered(member)) if member != to && next.alive.has(member) => {
                sink(step, Err(Break::Handshake));
                return;
            }
            (Said::Data, Phase::Answered(member)) => next.flows[flow].phase = Phase::Established(member),
            (Said::Syn | Said::Spoof | Said::Data, _) => (),
        }
        let speaks = matches!(next.flows[flow].phase, Phase::Established(_));
        if said == Said::Data && counts && is_moving(wish.slot) && written && speaks {
            next.flows[flow].spoke = true;
        }
        sink(step, Ok(next));
    }

    /// Who serves the packet, and whether there was room for what is to be written.
    fn write(&self, state: &mut State, flow: usize, said: Said, wish: Wish) -> (MemberIndex, bool) {
        let verdict = self.verdict(wish, said);
        let there = state.cells[flow];
        let changed = there != wish.saw;
        let tells = match verdict.write {
            Write::Nothing => wish
                .saw
                .is_some_and(|cell| cell != Cell::CLAIMED && cell.member == verdict.serve),
            Write::Renumber(_) | Write::Confirm => true,
            Write::Opened(_) | Write::Known | Write::Refused => false,
        };
        if tells && changed && R::LOOKS_AGAIN {
            return self.too_late(state, flow, said, wish);
        }
        let mark = match verdict.write {
            Write::Nothing => return (verdict.serve, true),
            Write::Refused => {
                state.full = true;
                return (verdict.serve, false);
            }
            // In place, if that is still the entry.
            Write::Renumber(_) | Write::Confirm => {
                if let Some(cell) = there.filter(|cell| cell.member == verdict.serve && cell.mark != Mark::Known) {
                    let mark = match verdict.write {
                        Write::Renumber(OWN) => Mark::Own,
                        Write::Renumber(_) => Mark::Foreign,
                        _ => Mark::Known,
                    };
                    state.cells[flow] = Some(Cell { mark, ..cell });
                }
                return (verdict.serve, true);
            }
            Write::Known => Mark::Known,
            Write::Opened(OWN) => Mark::Own,
            Write::Opened(_) => Mark::Foreign,
        };
        if changed && (R::CLAIMS || wish.saw.is_none()) {
            return self.too_late(state, flow, said, wish);
        }
        if there.is_none() && state.entries() >= Self::ROOM {
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

    /// Somebody was faster: who serves the packet by what is there now, and whether it need not be written down.
    fn too_late(&self, state: &mut State, flow: usize, said: Said, wish: Wish) -> (MemberIndex, bool) {
        let again = self.verdict(Wish::now(state, flow, wish.slot), said);
        if matches!(again.write, Write::Opened(_) | Write::Known | Write::Refused) {
            state.full = true;
            return (again.otherwise, false);
        }
        (again.serve, true)
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
            sink(
                Step::only("the flood's entries expire"),
                Ok(State { junk: [0; 3], ..*state }),
            );
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
