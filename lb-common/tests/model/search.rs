//! The search: breadth first, so that what is found is found by as few steps as can be.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::marker::PhantomData;

use lb_common::id::MemberIndex;

use crate::rules::Rules;
use crate::state::State;

/// What may happen besides packets, changes of the slot, windows and sweeps.
pub(crate) mod feature {
    /// A packet reads the slot, and acts after others.
    pub(crate) const RACE: u32 = 1;
    /// A backend dies.
    pub(crate) const DIE: u32 = 1 << 1;
    /// It comes back.
    pub(crate) const RECOVER: u32 = 1 << 2;
    /// SYNs fill `FLOWS`.
    pub(crate) const FLOOD: u32 = 1 << 3;
    /// Entries of flows that are over expire.
    pub(crate) const EXPIRE: u32 = 1 << 4;
    /// The manager crashes, and another one goes on.
    pub(crate) const CRASH: u32 = 1 << 5;
    /// The client uses its ports again.
    pub(crate) const REUSE: u32 = 1 << 6;
    /// The SYN is repeated.
    pub(crate) const SYN_AGAIN: u32 = 1 << 7;
    /// Somebody else sends a SYN in the flow's name.
    pub(crate) const SPOOF: u32 = 1 << 8;
    /// A flow may be silent for longer than the window.
    pub(crate) const SILENT: u32 = 1 << 9;
    /// The manager writes word by word, and entries outlive their member.
    pub(crate) const STEPS: u32 = 1 << 10;
    /// With [`RACE`]: a packet looks up its flow, and writes after others.
    pub(crate) const STAGES: u32 = 1 << 11;
    /// The slot may be taken from all.
    pub(crate) const NOBODY: u32 = 1 << 12;
    /// The flows are of datagrams: the first one looks like all others.
    pub(crate) const DATAGRAMS: u32 = 1 << 13;
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// A packet of an established flow to a living backend went elsewhere.
    Established,
    /// The client has answered a living backend, and the answer went elsewhere.
    Handshake,
}

/// What happened, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) what: &'static str,
    pub(crate) flow: Option<usize>,
    pub(crate) member: Option<MemberIndex>,
    pub(crate) then: &'static str,
}

impl Step {
    pub(crate) const fn only(what: &'static str) -> Self {
        Self {
            what,
            flow: None,
            member: None,
            then: "",
        }
    }

    pub(crate) const fn of(what: &'static str, flow: usize, then: &'static str) -> Self {
        Self {
            flow: Some(flow),
            then,
            ..Self::only(what)
        }
    }

    pub(crate) const fn to(what: &'static str, flow: usize, member: MemberIndex) -> Self {
        Self {
            member: Some(member),
            ..Self::of(what, flow, "")
        }
    }

    pub(crate) const fn slot(what: &'static str, member: MemberIndex) -> Self {
        Self {
            member: Some(member),
            ..Self::only(what)
        }
    }
}

/// Takes what a step leads to.
pub(crate) type Sink<'a> = dyn FnMut(Step, Result<State, Break>) + 'a;

/// What is searched.
pub(crate) struct Model<R> {
    features: u32,
    /// The slot is changed so many times, besides by deaths.
    pub(crate) changes: u8,
    rules: PhantomData<R>,
}

/// What was found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) broken: Option<(Break, String)>,
}

impl<R: Rules> Model<R> {
    /// Entries that `FLOWS` has room for.
    pub(crate) const ROOM: usize = 3;

    pub(crate) const fn new(features: u32, changes: u8) -> Self {
        Self {
            features,
            changes,
            rules: PhantomData,
        }
    }

    pub(crate) const fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    fn steps(&self, state: &State, sink: &mut Sink<'_>) {
        self.packets(state, sink);
        self.manager(state, sink);
    }

    /// Goes through all that may happen in `depth` steps, up to the first break that is not of the kind `but`.
    pub(crate) fn search(&self, depth: usize, but: Option<Break>) -> Found {
        let start = State::START.number();
        let mut seen = HashSet::<u64, BuildHasherDefault<Mix>>::default();
        seen.insert(start);
        let mut generations = vec![vec![start]];
        for _ in 0..depth {
            let mut next = Vec::new();
            for &number in &generations[generations.len() - 1] {
                let mut broken = None;
                self.steps(&State::of(number), &mut |step, then| match then {
                    Ok(state) => {
                        debug_assert_eq!(State::of(state.pack(|member| member)), state);
                        let number = state.number();
                        if seen.insert(number) {
                            next.push(number);
                        }
                    }
                    Err(kind) if Some(kind) != but => broken = broken.or(Some((step, kind))),
                    Err(_) => (),
                });
                if let Some((step, kind)) = broken {
                    let trace = self.trace(&generations, number, step);
                    return Found {
                        states: seen.len(),
                        broken: Some((kind, trace)),
                    };
                }
            }
            generations.push(next);
        }
        Found {
            states: seen.len(),
            broken: None,
        }
    }

    /// The way to `last`, which is in the last generation, and one step further.
    fn trace(&self, generations: &[Vec<u64>], last: u64, step: Step) -> String {
        let mut way = vec![last];
        for generation in generations.iter().rev().skip(1) {
            let to = way[way.len() - 1];
            let from = (generation.iter()).find(|&&from| {
                let mut leads = false;
                self.steps(&State::of(from), &mut |_, then| {
                    leads |= then.is_ok_and(|then| then.number() == to);
                });
                leads
            });
            way.push(*from.expect("every state was reached from one before"));
        }
        // Numbers do not tell B from C: go the way again, with one name for each.
        let mut text = String::new();
        let mut state = State::START;
        for &number in way.iter().rev().skip(1) {
            let mut reached = None;
            self.steps(&state, &mut |step, then| {
                if let Some(then) = then.ok().filter(|then| then.number() == number) {
                    reached = reached.or(Some((step, then)));
                }
            });
            let (step, then) = reached.expect("a state leads where its number does");
            let _ = writeln!(text, "{step} [{:?} of {}]", then.slot.state(), then.slot.current().0);
            state = then;
        }
        let mut broken = step;
        self.steps(&state, &mut |step, then| {
            if then.is_err() {
                broken = step;
            }
        });
        let _ = writeln!(text, "{broken}");
        text
    }
}

/// A hash of one word, which need not withstand anybody.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("states are words");
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (word ^ word >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}
