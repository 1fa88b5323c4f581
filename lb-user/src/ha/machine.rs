//! What a node is in one virtual router: the state machine of RFC 9568 section 6.4 (RFC 3768 section 6.4). Pure: time is
//! an argument, what is to be done is returned.
//!
//! ```text
//!            start ┌────────────────────────────────────────┐
//! [waiting] ──────>│ backup ── nobody is heard any more ──> master
//!                  │   ^  <── one that goes before us ─────  │
//!                  └───┼──────────────────────────────────┬──┘
//!              it can  │                                  │ it cannot: tracked, drained
//!                      └───────────── [fault] <───────────┘ (from backup as well)
//! ```
//!
//! What it adds to the RFC: a node that cannot hold the addresses takes no part; who gives them away holds them until the
//! next master is heard, or should have been, so that somebody answers for them all the time; a preemption may be delayed;
//! what is sent to assert mastership is at most one packet in a tenth of the interval.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::vrrp::{Role, VrrpVersion};

/// What the next master may be late, before its predecessor stops to answer for the addresses.
const GRACE: Duration = Duration::from_millis(100);

/// What does not change while a machine lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The protocol.
    pub version: VrrpVersion,
    /// Between two advertisements of our own.
    pub interval: Duration,
    /// Does it take over from a master with a lower priority?
    pub preempt: bool,
    /// For so long it lets such a master be.
    pub preempt_delay: Duration,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is to take part, after having waited.
    Start,
    /// An advertisement that is taken.
    Heard(Heard),
    /// Time has passed: at the latest at [`Machine::due`].
    Time,
    /// It has another priority.
    Priority(u8),
    /// It cannot hold the addresses.
    Unable,
    /// It can again.
    Able,
    /// Its sync group has become master.
    Promote,
    /// Its sync group has become backup.
    Demote,
    /// It ends.
    Stop,
}

/// What counts of an advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub from: IpAddr,
    /// 0: it gives the addresses away.
    pub priority: u8,
    /// Until its next one.
    pub interval: Duration,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send an advertisement with this priority.
    Advertise(u8),
    /// Hold the addresses, and tell everybody.
    Hold,
    /// Tell everybody again.
    Announce,
    /// Let the addresses go.
    Release,
    /// This is news.
    Became(Role, Reason),
}

/// Why it is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The daemon has just started.
    Started,
    /// No master was heard for so long.
    Silence(Duration),
    /// The master gave the addresses away.
    GivenAway(IpAddr),
    /// It owns the addresses (priority 255).
    Owner,
    /// One with a higher priority, or with the same and a higher address, is master.
    Outranked(IpAddr, u8),
    /// Its sync group did.
    Group,
    /// It cannot hold the addresses.
    Unable,
    /// It can again.
    Able,
    /// It ends.
    Stopped,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    /// Of 1 to 255.
    priority: u8,
    /// The node's, by which ties are broken; `None` while it has none.
    address: Option<IpAddr>,
    state: State,
    /// Who was last heard as master, with its priority.
    master: Option<(IpAddr, u8)>,
    /// Until when another one counts as master beside this node.
    rival: Option<Instant>,
    able: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Backup {
        /// Then the master counts as gone.
        down: Instant,
        /// It gave the addresses away.
        given: Option<IpAddr>,
        /// Of the master (`Master_Adver_Interval`).
        interval: Duration,
        /// Since when a master with a lower priority is let be.
        lower: Option<Instant>,
    },
    Master {
        /// Of the next advertisement.
        next: Instant,
        /// Not before this is another one sent to assert mastership.
        assert: Instant,
    },
    /// It has given the addresses away.
    Leaving {
        /// Then they are let go, even if no other master was heard.
        until: Instant,
        then: Then,
    },
    Fault,
}

/// What comes of a master that has given the addresses away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stop,
    Fault,
}

impl Machine {
    /// One that waits, with this priority.
    #[must_use]
    pub fn new(settings: Settings, priority: u8) -> Self {
        Self {
            settings,
            priority,
            address: None,
            state: State::Waiting,
            master: None,
            rival: None,
            able: true,
        }
    }

    /// The node's own address, which may change.
    pub fn set_address(&mut self, address: Option<IpAddr>) {
        self.address = address;
    }

    /// What the node is.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self.state {
            State::Waiting => Role::Waiting,
            State::Backup { .. } => Role::Backup,
            State::Master { .. } | State::Leaving { .. } => Role::Master,
            State::Fault => Role::Fault,
        }
    }

    /// What its advertisements say.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// Who was last heard as master, with its priority.
    #[must_use]
    pub const fn master(&self) -> Option<(IpAddr, u8)> {
        self.master
    }

    /// Does another one say at this time that it is master too?
    #[must_use]
    pub fn has_rival(&self, now: Instant) -> bool {
        self.role() == Role::Master && self.rival.is_some_and(|until| now < until)
    }

    /// When it wants to hear that time has passed.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        match self.state {
            State::Waiting | State::Fault => None,
            State::Backup { down, .. } => Some(down),
            State::Master { next, .. } => Some(next),
            State::Leaving { until, .. } => Some(until),
        }
    }

    /// Has it come to its end, after [`Event::Stop`]?
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// What follows from an event.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        match event {
            Event::Able => self.able = true,
            Event::Unable => self.able = false,
            _ => {}
        }
        match (self.state, event) {
            (State::Waiting, Event::Start) if self.able => self.begin(Reason::Started, now),
            (State::Waiting, Event::Start) => self.become_unable(),
            (State::Fault, Event::Able) => self.begin(Reason::Able, now),

            (State::Backup { .. }, Event::Unable) => self.become_unable(),
            (State::Backup { .. } | State::Fault, Event::Stop) => self.stop(),
            (State::Master { .. }, Event::Unable) => self.leave(Then::Fault, now),
            (State::Master { .. } | State::Leaving { .. }, Event::Stop) => self.leave(Then::Stop, now),
            (State::Leaving { then, .. }, Event::Heard(heard)) if heard.priority > 0 => {
                self.note(heard);
                self.left(then, now)
            }
            (State::Leaving { until, then }, Event::Time) if now >= until => self.left(then, now),

            (_, Event::Priority(priority)) => {
                let news = std::mem::replace(&mut self.priority, priority) != priority;
                match &mut self.state {
                    // At once, so that a better one need not wait for the next.
                    State::Master { next, .. } if news => {
                        *next = now + self.settings.interval;
                        vec![Effect::Advertise(priority)]
                    }
                    _ => Vec::new(),
                }
            }

            (State::Backup { down, given, .. }, Event::Time) if now >= down => {
                let reason = match given {
                    Some(from) => Reason::GivenAway(from),
                    None => Reason::Silence(self.down_interval(self.master_interval())),
                };
                self.become_master(reason, now)
            }
            (State::Backup { .. }, Event::Promote) => self.become_master(Reason::Group, now),
            (State::Backup { .. }, Event::Heard(heard)) => {
                self.hear_as_backup(heard, now);
                Vec::new()
            }

            (State::Master { next, assert }, Event::Time) if now >= next => {
                self.state = State::Master {
                    next: now + self.settings.interval,
                    assert,
                };
                vec![Effect::Advertise(self.priority)]
            }
            (State::Master { .. }, Event::Demote) => {
                let mut effects = vec![Effect::Advertise(0), Effect::Release];
                effects.extend(self.become_backup(Reason::Group, now, self.settings.interval));
                effects
            }
            (State::Master { next, assert }, Event::Heard(heard)) => self.hear_as_master(heard, next, assert, now),

            // Who is asked to leave can tell whether another one has taken over.
            (State::Waiting | State::Fault, Event::Heard(heard)) => {
                self.note(heard);
                Vec::new()
            }
            (
                State::Waiting,
                Event::Time | Event::Unable | Event::Able | Event::Promote | Event::Demote | Event::Stop,
            )
            | (State::Backup { .. }, Event::Start | Event::Time | Event::Able | Event::Demote)
            | (State::Master { .. }, Event::Start | Event::Time | Event::Able | Event::Promote)
            | (State::Fault, Event::Start | Event::Time | Event::Unable | Event::Promote | Event::Demote)
            | (
                State::Leaving { .. },
                Event::Start
                | Event::Heard(_)
                | Event::Time
                | Event::Unable
                | Event::Able
                | Event::Promote
                | Event::Demote,
            ) => Vec::new(),
        }
    }

    /// Begins as master at once, since the node is: another daemon has handed it on.
    #[must_use]
    pub fn inherit(&mut self, now: Instant) -> Vec<Effect> {
        self.become_master(Reason::Started, now)
    }

    fn begin(&mut self, reason: Reason, now: Instant) -> Vec<Effect> {
        if self.priority == u8::MAX {
            return self.become_master(Reason::Owner, now);
        }
        self.become_backup(reason, now, self.settings.interval)
    }

    fn become_master(&mut self, reason: Reason, now: Instant) -> Vec<Effect> {
        self.state = State::Master {
            next: now + self.settings.interval,
            assert: now + self.settings.interval / 10,
        };
        self.rival = None;
        vec![
            Effect::Advertise(self.priority),
            Effect::Hold,
            Effect::Became(Role::Master, reason),
        ]
    }

    fn become_backup(&mut self, reason: Reason, now: Instant, interval: Duration) -> Vec<Effect> {
        self.state = State::Backup {
            down: now + self.down_interval(interval),
            given: None,
            interval,
            lower: None,
        };
        vec![Effect::Became(Role::Backup, reason)]
    }

    fn become_unable(&mut self) -> Vec<Effect> {
        self.state = State::Fault;
        vec![Effect::Became(Role::Fault, Reason::Unable)]
    }

    fn stop(&mut self) -> Vec<Effect> {
        self.state = State::Waiting;
        vec![Effect::Became(Role::Waiting, Reason::Stopped)]
    }

    /// A backup waits for its skew, which is shorter than the interval.
    fn leave(&mut self, then: Then, now: Instant) -> Vec<Effect> {
        self.master = None;
        self.state = State::Leaving {
            until: now + self.settings.interval + GRACE,
            then,
        };
        vec![Effect::Advertise(0)]
    }

    fn left(&mut self, then: Then, now: Instant) -> Vec<Effect> {
        let mut effects = vec![Effect::Release];
        effects.extend(match then {
            Then::Stop => self.stop(),
            Then::Fault if self.able => self.become_backup(Reason::Able, now, self.settings.interval),
            Then::Fault => self.become_unable(),
        });
        effects
    }

    fn hear_as_backup(&mut self, heard: Heard, now: Instant) {
        let settings = &self.settings;
        let (own, delay, preempt) = (self.priority, settings.preempt_delay, settings.preempt);
        let State::Backup { down, given, lower, .. } = self.state else {
            return;
        };
        if heard.priority == 0 {
            // Of several that give away, the first one counts.
            let soon = down.min(now + self.skew(self.master_interval()));
            self.state = State::Backup {
                down: soon,
                given: given.or(Some(heard.from)),
                interval: self.master_interval(),
                lower,
            };
            return;
        }
        let is_lower = heard.priority < own && preempt;
        let lower = is_lower.then(|| lower.unwrap_or(now));
        if lower.is_some_and(|since| now >= since + delay) {
            // It is not heard (section 6.4.2): the timer runs out.
            if let State::Backup { lower: known, .. } = &mut self.state {
                *known = lower;
            }
            return;
        }
        self.note(heard);
        let interval = self.interval_of(heard);
        self.state = State::Backup {
            down: now + self.down_interval(interval),
            given: None,
            interval,
            lower,
        };
    }

    fn hear_as_master(&mut self, heard: Heard, next: Instant, assert: Instant, now: Instant) -> Vec<Effect> {
        if heard.priority == 0 {
            // Somebody who was master too: nobody shall wait for it.
            return self.assert(next, assert, now);
        }
        if self.goes_before(heard) {
            self.note(heard);
            let interval = self.interval_of(heard);
            let mut effects = vec![Effect::Release];
            effects.extend(self.become_backup(Reason::Outranked(heard.from, heard.priority), now, interval));
            return effects;
        }
        self.rival = Some(now + 3 * self.interval_of(heard));
        // It hears that it is none, and switches hear where the addresses are (section 6.4.3).
        let mut effects = self.assert(next, assert, now);
        if !effects.is_empty() {
            effects.push(Effect::Announce);
        }
        effects
    }

    /// An advertisement out of turn, unless there was one just now: who makes many come is not answered as many times.
    fn assert(&mut self, next: Instant, assert: Instant, now: Instant) -> Vec<Effect> {
        if now < assert {
            self.state = State::Master { next, assert };
            return Vec::new();
        }
        self.state = State::Master {
            next: now + self.settings.interval,
            assert: now + self.settings.interval / 10,
        };
        vec![Effect::Advertise(self.priority)]
    }

    /// Is it the better master?
    fn goes_before(&self, heard: Heard) -> bool {
        let higher = self.address.is_none_or(|own| heard.from > own);
        heard.priority > self.priority || heard.priority == self.priority && higher
    }

    fn note(&mut self, heard: Heard) {
        self.master = (heard.priority > 0).then_some((heard.from, heard.priority));
    }

    /// The interval that a backup counts with: in version 2 that of its own file, which is the master's too.
    const fn interval_of(&self, heard: Heard) -> Duration {
        match self.settings.version {
            VrrpVersion::V2 => self.settings.interval,
            VrrpVersion::V3 => heard.interval,
        }
    }

    const fn master_interval(&self) -> Duration {
        match self.state {
            State::Backup { interval, .. } => interval,
            State::Waiting | State::Master { .. } | State::Leaving { .. } | State::Fault => self.settings.interval,
        }
    }

    /// `Skew_Time`: the better a node, the sooner it takes over (section 6.1). Version 2 has whole seconds in it.
    fn skew(&self, interval: Duration) -> Duration {
        let worse = 256 - u32::from(self.priority);
        match self.settings.version {
            VrrpVersion::V2 => Duration::from_secs(1) * worse / 256,
            VrrpVersion::V3 => interval * worse / 256,
        }
    }

    /// `Active_Down_Interval`.
    fn down_interval(&self, interval: Duration) -> Duration {
        3 * interval + self.skew(interval)
    }
}

#[cfg(test)]
mod tests;
