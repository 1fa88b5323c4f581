//! What the manager does: as the rules were first checked, each of its deeds at once, or write by write.

use lb_common::id::MemberIndex;
use lb_common::ring::{Slot, State as SlotState};

use crate::rules::{Forget, Rules};
use crate::search::{Model, Sink, Step, feature};
use crate::state::{Cell, MEMBERS, Manager, Phase, Stage, State};

fn previous(slot: Slot) -> Option<MemberIndex> {
    match slot.state() {
        SlotState::Moving(previous) => Some(previous),
        SlotState::Stable | SlotState::Settled => None,
    }
}

impl<R: Rules> Model<R> {
    /// All that the manager may do next.
    pub(crate) fn manager(&self, state: &State, sink: &mut Sink<'_>) {
        match state.manager {
            Manager::Idle => {
                let graced = self.is_graced(state);
                if graced || !self.has(feature::STEPS) {
                    self.expiry(state, sink);
                }
                if graced {
                    self.changes(state, sink);
                    self.window(state, sink);
                    self.sweep(state, sink);
                    if self.has(feature::DIE) {
                        self.deaths(state, sink);
                    }
                    if self.has(feature::RECOVER) {
                        self.returns(state, sink);
                    }
                }
            }
            Manager::Slots => {
                self.slots(state, sink);
                if self.has(feature::DIE) {
                    self.deaths(state, sink);
                }
            }
            Manager::Expiring(flow) => {
                let mut next = State {
                    manager: Manager::Idle,
                    ..*state
                };
                next.cells[flow] = None;
                if R::GRACE_AFTER_EXPIRY {
                    Self::waits(&mut next);
                }
                sink(Step::of("the entry", flow, "is deleted"), Ok(next));
            }
            Manager::Forgetting(member, done) => {
                self.forget(state, member, done, sink);
                if self.has(feature::DIE) && done % 2 == 0 {
                    self.deaths(state, sink);
                }
            }
            Manager::Swept(left) => {
                let mut next = State {
                    manager: Manager::Idle,
                    ..*state
                };
                if !left {
                    next.slot = Slot::stable(state.slot.current());
                }
                sink(Step::only("the sweep ends"), Ok(next));
            }
        }
        // To claim and to delete is one run of the program, which the manager's end does not end.
        let within_program = match state.manager {
            Manager::Forgetting(_, 1 | 3) => R::FORGET == Forget::Claim,
            Manager::Expiring(_) => R::EXPIRY == Forget::Claim,
            _ => false,
        };
        let between = state.manager != Manager::Idle || self.has(feature::STEPS);
        if self.has(feature::CRASH) && between && !within_program {
            sink(Step::only("the manager crashes"), Ok(self.restarted(state)));
        }
    }

    /// Another manager, which knows what the maps hold.
    fn restarted(&self, state: &State) -> State {
        let mut next = State {
            manager: Manager::Idle,
            ..*state
        };
        if self.has(feature::STEPS) {
            if let Some(cpu) = &mut next.cpu {
                cpu.stale = R::GRACE_AT_START;
            }
            if R::WINDOW_RESTARTS {
                Self::window_starts(&mut next);
            } else {
                next.flows.iter_mut().for_each(|flow| flow.spoke = true);
            }
        }
        next
    }

    /// Have all packets ended that ran while the manager wrote?
    fn is_graced(&self, state: &State) -> bool {
        let Some(cpu) = state.cpu.filter(|_| R::GRACE) else {
            return true;
        };
        if self.has(feature::STEPS) {
            !cpu.stale
        } else {
            cpu.stage == Stage::Read(state.slot)
        }
    }

    /// The next deed waits for the packets that run now.
    fn waits(state: &mut State) {
        if let Some(cpu) = &mut state.cpu {
            cpu.stale = true;
        }
    }

    fn window_starts(state: &mut State) {
        for flow in &mut state.flows {
            flow.spoke = false;
        }
        state.full = false;
    }

    /// Writes the slot.
    fn turn(&self, state: &State, to: MemberIndex) -> State {
        let mut next = State {
            slot: R::next(state.slot, to, &|member| state.alive.has(member)),
            ..*state
        };
        // The window is that of the flows that `previous` has.
        if previous(next.slot).is_some() && previous(next.slot) != previous(state.slot) {
            Self::window_starts(&mut next);
        }
        if self.has(feature::STEPS) {
            Self::waits(&mut next);
        }
        next
    }

    fn changes(&self, state: &State, sink: &mut Sink<'_>) {
        let nobody = self.has(feature::NOBODY).then_some(MemberIndex::NONE);
        for to in state.alive.members().chain(nobody) {
            if to != state.slot.current() && state.changes < self.changes {
                let mut next = self.turn(state, to);
                next.changes += 1;
                sink(Step::slot("the slot goes", to), Ok(next));
            }
        }
        if self.has(feature::STEPS) {
            let next = self.turn(state, state.slot.current());
            if next.slot != state.slot {
                sink(Step::only("the slot forgets the dead"), Ok(next));
            }
        }
    }

    fn window(&self, state: &State, sink: &mut Sink<'_>) {
        if previous(state.slot).is_none() {
            return;
        }
        let is_full = R::ROOM_MATTERS && (state.full || state.entries() >= Self::ROOM);
        if is_full && state.entries() < Self::ROOM {
            // So long that all that live have spoken, or are known.
            let mut next = State { full: false, ..*state };
            for flow in 0..2 {
                next.flows[flow].spoke = state.is_known(flow);
            }
            sink(
                Step::only("the window starts again, for a write found no room"),
                Ok(next),
            );
        }
        let silent = (0..2).any(|flow| {
            let lives = matches!(state.flows[flow].phase, Phase::Answered(_) | Phase::Established(_));
            lives && !state.flows[flow].spoke && !state.is_known(flow)
        });
        // No handshake outlasts a window.
        let opening = (state.flows.iter()).any(|flow| matches!(flow.phase, Phase::Opening(heard) if heard.len() > 0));
        if !is_full && !opening && (!silent || self.has(feature::SILENT)) {
            let mut next = State {
                slot: R::settle(state.slot),
                ..*state
            };
            if self.has(feature::STEPS) {
                Self::waits(&mut next);
            }
            sink(Step::only("the window closes"), Ok(next));
        }
    }

    /// Entries that agree with the ring or are dead go.
    fn sweep(&self, state: &State, sink: &mut Sink<'_>) {
        if state.slot.state() != SlotState::Settled {
            return;
        }
        let mut next = *state;
        let stays = |member| member != state.slot.current() && state.alive.has(member);
        for cell in &mut next.cells {
            *cell = cell.filter(|cell| stays(cell.member));
        }
        for member in MEMBERS.into_iter().filter(|&member| !stays(member)) {
            next.junk[usize::from(member.0) - 1] = 0;
        }
        next.manager = Manager::Swept(next.entries() > 0);
        sink(Step::only("the sweep goes over the flows"), Ok(next));
    }

    fn expiry(&self, state: &State, sink: &mut Sink<'_>) {
        if !self.has(feature::EXPIRE) || state.slot.is_stable() {
            return;
        }
        for flow in 0..2 {
            let Some(cell) = state.cells[flow].filter(|&cell| cell != Cell::CLAIMED) else {
                continue;
            };
            let over = match state.flows[flow].phase {
                Phase::New => true,
                Phase::Dead => self.has(feature::STEPS),
                // The entry does not know yet of the first packet, which one CPU works on.
                Phase::Opening(heard) => {
                    heard.len() == 0 && self.has(feature::STEPS) && state.cpu.is_some_and(|cpu| cpu.flow == flow)
                }
                Phase::Answered(_) | Phase::Established(_) => false,
            };
            let dead = self.has(feature::STEPS) && !state.alive.has(cell.member);
            if !over && !dead {
                continue;
            }
            let mut next = *state;
            if !self.has(feature::STEPS) {
                next.cells[flow] = None;
                sink(Step::of("the entry", flow, "expires"), Ok(next));
                continue;
            }
            next.manager = Manager::Expiring(flow);
            if R::EXPIRY == Forget::Claim {
                next.cells[flow] = Some(Cell::CLAIMED);
            }
            sink(Step::of("the entry", flow, "is about to expire"), Ok(next));
        }
    }

    fn deaths(&self, state: &State, sink: &mut Sink<'_>) {
        // The first check knew one death at a time.
        let least = if self.has(feature::STEPS) { 2 } else { 3 };
        if state.alive.len() < least {
            return;
        }
        for member in state.alive.members() {
            let mut next = State {
                alive: state.alive.without(member),
                manager: match state.manager {
                    Manager::Forgetting(..) => state.manager,
                    _ => Manager::Slots,
                },
                ..*state
            };
            for flow in &mut next.flows {
                match flow.phase {
                    Phase::Answered(on) | Phase::Established(on) if on == member => {
                        flow.phase = Phase::Dead;
                        flow.spoke = false;
                    }
                    Phase::Opening(heard) => flow.phase = Phase::Opening(heard.without(member)),
                    _ => (),
                }
            }
            let step = Step::slot("death comes", member);
            if self.has(feature::STEPS) {
                sink(step, Ok(next));
                continue;
            }
            for cell in &mut next.cells {
                *cell = cell.filter(|cell| cell.member != member);
            }
            next.junk[usize::from(member.0) - 1] = 0;
            self.slots(&next, &mut |_, next| sink(step, next));
        }
    }

    /// Rewrites the slot after members have been.
    fn slots(&self, state: &State, sink: &mut Sink<'_>) {
        let stays = state.alive.has(state.slot.current());
        for to in state.alive.members() {
            let changes = state.changes + u8::from(stays && to != state.slot.current());
            let may = !stays || to == state.slot.current() || self.has(feature::STEPS) && changes <= self.changes;
            if may {
                let next = State {
                    manager: Manager::Idle,
                    changes,
                    ..self.turn(state, to)
                };
                sink(Step::slot("then the slot goes", to), Ok(next));
            }
        }
    }

    fn returns(&self, state: &State, sink: &mut Sink<'_>) {
        for member in MEMBERS.into_iter().filter(|&member| !state.alive.has(member)) {
            if !self.has(feature::STEPS) {
                let next = State {
                    alive: state.alive.with(member),
                    ..*state
                };
                sink(Step::slot("life comes back", member), Ok(next));
                continue;
            }
            if !(R::DEATHS_END && previous(state.slot) == Some(member)) {
                let next = State {
                    manager: Manager::Forgetting(member, 0),
                    ..*state
                };
                sink(Step::slot("the manager begins to give life", member), Ok(next));
            }
        }
    }

    /// A step of forgetting: the first flow's entry is looked at and goes, then the second one's, then the member is
    /// alive.
    fn forget(&self, state: &State, member: MemberIndex, done: u8, sink: &mut Sink<'_>) {
        let flow = usize::from(done / 2);
        let mut next = *state;
        if done % 2 == 1 {
            next.cells[flow] = None;
            next.manager = Manager::Forgetting(member, done + 1);
            sink(Step::of("the entry", flow, "is deleted"), Ok(next));
            return;
        }
        let goes = |flow: &usize| state.cells[*flow].is_some_and(|cell| cell.member == member);
        if R::FORGET != Forget::Never
            && let Some(flow) = (flow..2).find(goes)
        {
            next.manager = Manager::Forgetting(member, flow as u8 * 2 + 1);
            if R::FORGET == Forget::Claim {
                next.cells[flow] = Some(Cell::CLAIMED);
            }
            sink(Step::of("the entry", flow, "is about to be forgotten"), Ok(next));
            return;
        }
        next.alive = next.alive.with(member);
        next.manager = Manager::Slots;
        sink(Step::slot("life comes back", member), Ok(next));
    }
}
