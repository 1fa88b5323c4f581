//! Which backend a request goes to.
//!
//! A [`Pool`] is one thread's view of the backends of one service or pool. It is pure but for atomics: time and chance are
//! arguments, and nothing waits but for who builds a ring or sets a backend aside. What threads have in common is in
//! [`BackendTraffic`], which others read, and in [`Shared`].
//!
//! Promises:
//! - Who is cut, down, or excluded by the caller is never chosen; who has no weight, only by a cookie that leads there.
//! - No backend has more requests than its limit, over all threads.
//! - While primaries are up, backups get nothing; while anybody is up, nobody of whom nothing is known does.
//! - Whoever is set aside for its failures gets nothing, unless all that could serve are set aside.
//!
//! How requests wait, how backends are reached, and what is tried again, is the caller's.

mod candidates;
mod ejection;
mod ewma;
pub mod hash;
pub mod heartbeat;
mod member;
mod methods;
mod random;
mod retry;
mod ring;
mod shared;
pub mod sticky;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use lb_common::id::MemberIndex;

use self::ejection::Jury;
pub use self::member::{Ending, Lease, Outcome};
use self::member::{Known, Member};
use self::random::Random;
pub use self::shared::{Registry, Shared};
use crate::model::proxy::{Eject, Retry};
use crate::model::traffic::{BackendTraffic, PoolMember};
use crate::model::{Balance, Health, MemberKey, RingSize, Service};

/// What a request that failed is taken to have cost in peak-ewma, so that failing quickly attracts nobody.
const FAILURE: Duration = Duration::from_secs(1);

/// What the file says of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How.
    pub balance: Balance,
    /// Slots of the ring, for methods that have one.
    pub table_size: RingSize,
    /// Who is set aside.
    pub eject: Option<Eject>,
    /// Requests at once to each backend.
    pub limit: Option<u32>,
    /// What is tried again.
    pub retry: Retry,
}

impl Settings {
    /// Those of a service or pool.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        let proxy = service.proxy.as_deref();
        Self {
            balance: service.balance,
            table_size: service.table_size,
            eject: proxy.and_then(|proxy| proxy.http.eject),
            limit: proxy.and_then(|proxy| proxy.upstream.max_connections.map(Into::into)),
            retry: proxy.map_or_else(Retry::default, |proxy| proxy.http.retry),
        }
    }
}

/// A request that wants a backend.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What a ring is asked with; see [`hash`].
    pub hash: u64,
    /// The value of the sticky cookie, where the service has one and the client has shown it.
    pub cookie: Option<&'a [u8]>,
    /// Who has been tried already.
    pub exclude: &'a [SocketAddr],
    /// The time.
    pub now: Instant,
}

/// Who serves.
#[derive(Debug)]
pub enum Choice {
    /// This one, which has counted the request.
    Backend(Lease),
    /// Those that could have as many requests as they may: wait.
    Full,
    /// Nobody could.
    Nobody,
}

/// The backends of a service, for one thread.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    settings: Settings,
    members: Vec<Member>,
    tokens: sticky::Tokens,
    /// Who would serve if nobody were set aside; in ascending order, as the two below.
    serving: Vec<usize>,
    /// Of these, who is not set aside.
    sharing: Vec<usize>,
    /// Of these, who can be chosen now. Kept for its memory.
    candidates: Vec<usize>,
    equals: Vec<usize>,
    ring: Option<Arc<[MemberIndex]>>,
    random: Random,
    /// Somebody was set aside when this thread last looked.
    some_ejected: bool,
    /// When latencies are compared next.
    look: u64,
}

impl Pool {
    /// One without backends. `chance` is different for each thread.
    #[must_use]
    pub fn new(shared: Arc<Shared>, settings: Settings, chance: u64) -> Self {
        Self {
            shared,
            settings,
            members: Vec::new(),
            tokens: sticky::Tokens::default(),
            serving: Vec::new(),
            sharing: Vec::new(),
            candidates: Vec::new(),
            equals: Vec::new(),
            ring: None,
            random: Random::new(chance),
            some_ejected: false,
            look: 0,
        }
    }

    /// From now on it is these. Whoever stays keeps what was learnt of it; leases stay what they are.
    pub fn rebuild(
        &mut self,
        settings: Settings,
        members: &[PoolMember],
        traffic: impl Fn(&MemberKey) -> Arc<BackendTraffic>,
        now: Instant,
    ) {
        methods::replay(&self.members, &self.sharing);
        let shares = self.shares();
        let before = self.members.drain(..).map(|member| (member.is.address, member.known));
        let mut before: BTreeMap<SocketAddr, Rc<Known>> = before.collect();
        for member in members {
            let known = before.remove(&member.address).unwrap_or_else(|| {
                let token = sticky::token(self.shared.seed, &member.key);
                let common = self.shared.backend(member.address);
                Rc::new(Known::new(token, traffic(&member.key), common))
            });
            if member.health == Health::Down {
                ejection::forget(&known.common);
            }
            let is = Rc::new(member.clone());
            self.members.push(Member { is, known });
        }
        drop(before);
        self.shared.tidy();
        self.settings = settings;
        self.tokens = sticky::Tokens::of(self.members.iter().map(|member| &member.known.token));
        self.serving = candidates::places(members);
        self.ring = match settings.balance {
            Balance::Maglev | Balance::SourceHash => {
                ring::build(&self.shared, &self.members, &self.serving, settings.table_size)
            }
            Balance::RoundRobin
            | Balance::LeastConnections
            | Balance::ByRequests
            | Balance::ByTraffic
            | Balance::ByBusyness
            | Balance::Heartbeat
            | Balance::PeakEwma => None,
        };
        self.share(self.shared.micros(now));
        std::mem::swap(&mut self.candidates, &mut self.sharing);
        if self.shares() != shares {
            methods::begin_anew(&self.members, &self.sharing);
        }
        if settings.eject.is_none() {
            for member in &self.members {
                member.known.traffic.ejected.store(0, Relaxed);
            }
        }
    }

    /// Its backends, in the order in which they were given.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &PoolMember> {
        self.members.iter().map(|member| &*member.is)
    }

    /// Would a [`Self::rebuild`] of these change nothing?
    #[must_use]
    pub fn is(&self, settings: Settings, members: &[PoolMember]) -> bool {
        self.settings == settings && self.members().eq(members)
    }

    /// Could anybody serve, now or when others have ended?
    #[must_use]
    pub fn has_anybody(&self) -> bool {
        !self.serving.is_empty()
    }

    /// A backend for a request. Takes no lock, and loads a few words for each backend.
    pub fn choose(&mut self, ask: &Ask<'_>) -> Choice {
        let now = self.shared.micros(ask.now);
        self.look_who_is_ejected(now);
        if let Some(lease) = ask.cookie.and_then(|cookie| self.keep(cookie, ask.exclude, now)) {
            return Choice::Backend(lease);
        }
        let Self {
            members, candidates, ..
        } = self;
        let untried = |i: &&usize| !ask.exclude.contains(&members[**i].is.address);
        candidates.clear();
        candidates.extend(self.sharing.iter().filter(untried));
        if candidates.is_empty() {
            // Who is set aside may fail it; nobody does for certain.
            candidates.extend(self.serving.iter().filter(untried));
        }
        if candidates.is_empty() {
            return Choice::Nobody;
        }
        if let Some(limit) = self.settings.limit {
            candidates.retain(|&i| members[i].active() < limit);
        }
        while !self.candidates.is_empty() {
            let Some(i) = self.pick(ask.hash, now) else { break };
            if let Some(lease) = self.lease(i, false) {
                return Choice::Backend(lease);
            }
            // Another thread has taken its last place.
            self.candidates.retain(|&candidate| candidate != i);
        }
        Choice::Full
    }

    /// The backend that the cookie leads to, if it may keep its clients.
    fn keep(&self, cookie: &[u8], exclude: &[SocketAddr], now: u64) -> Option<Lease> {
        let i = self.tokens.decode(cookie)?;
        let member = &self.members[i];
        let ejected = self.settings.eject.is_some() && member.known.common.is_ejected(now);
        if !candidates::keeps(member) || ejected || exclude.contains(&member.is.address) {
            return None;
        }
        self.lease(i, true)
    }

    fn lease(&self, i: usize, kept: bool) -> Option<Lease> {
        let Member { is, known } = &self.members[i];
        self.members[i].reserve(self.settings.limit).then(|| Lease {
            is: Rc::clone(is),
            known: Rc::clone(known),
            kept,
        })
    }

    /// One of the candidates, of which there are some.
    fn pick(&mut self, hash: u64, now: u64) -> Option<usize> {
        let Self {
            members,
            candidates,
            sharing,
            random,
            ..
        } = self;
        let balance = self.settings.balance;
        if matches!(
            balance,
            Balance::ByRequests | Balance::ByTraffic | Balance::ByBusyness | Balance::Heartbeat
        ) {
            methods::replay(members, sharing);
        }
        Some(match balance {
            Balance::Maglev | Balance::SourceHash => {
                return ring::choose(self.ring.as_deref()?, self.shared.seed, hash, candidates);
            }
            Balance::RoundRobin => methods::turn(members, candidates),
            Balance::LeastConnections => methods::least_connections(members, candidates, &mut self.equals),
            Balance::ByRequests => methods::by_requests(members, candidates),
            Balance::ByTraffic => methods::by_traffic(members, candidates),
            Balance::ByBusyness => methods::by_busyness(members, candidates),
            Balance::Heartbeat => methods::heartbeat(members, candidates, random, now),
            Balance::PeakEwma => methods::peak_ewma(members, candidates, random, now),
        })
    }

    /// Finds out whether others share than before, where that may be.
    fn look_who_is_ejected(&mut self, now: u64) {
        if !self.some_ejected && self.shared.ejected_until.load(Relaxed) <= now {
            return;
        }
        self.share(now);
        if self.candidates != self.sharing {
            methods::replay(&self.members, &self.sharing);
            std::mem::swap(&mut self.candidates, &mut self.sharing);
            methods::begin_anew(&self.members, &self.sharing);
        }
    }

    /// Puts those among the candidates who share at this moment.
    fn share(&mut self, now: u64) {
        ejection::let_in(&self.shared, &self.members, now);
        let some = self.settings.eject.is_some() && now < self.shared.ejected_until.load(Relaxed);
        self.some_ejected = some;
        let aside = |i: usize| some && self.members[i].known.common.is_ejected(now);
        self.candidates.clear();
        self.candidates.extend(self.serving.iter().filter(|&&i| !aside(i)));
        if self.candidates.is_empty() {
            self.candidates.extend(&self.serving);
        }
    }

    /// Who shares, and how.
    fn shares(&self) -> Vec<(SocketAddr, u16)> {
        let share = |&i: &usize| (self.members[i].is.address, self.members[i].is.weight);
        self.sharing.iter().map(share).collect()
    }

    /// A request has come to its end. The lease may be of an older rebuild.
    pub fn end(&mut self, lease: Lease, outcome: &Outcome, now: Instant) {
        let micros = self.shared.micros(now);
        let known = &*lease.known;
        let ending = outcome.ending;
        self.moved(&lease, outcome.sent, outcome.received);
        let count = |status: u16| {
            if let Some(class) = usize::from(status / 100).checked_sub(1).filter(|&class| class < 5) {
                known.traffic.responses[class].fetch_add(1, Relaxed);
            }
        };
        match ending {
            Ending::Answered(status) => count(status),
            Ending::Broken(status) => {
                count(status);
                known.traffic.failures.fetch_add(1, Relaxed);
            }
            Ending::Failed | Ending::Unreached => {
                known.traffic.failures.fetch_add(1, Relaxed);
            }
            Ending::Abandoned => {}
        }
        let failed = ending.is_failure();
        if failed == Some(true) {
            observe(known, FAILURE, micros);
        }
        if let (Some(rules), Some(failed)) = (self.settings.eject, failed) {
            let jury = Jury {
                shared: &self.shared,
                members: &self.members,
                serving: &self.serving,
                rules,
            };
            jury.observe(known, failed, micros);
            if micros >= self.look {
                self.look = micros.saturating_add(ejection::LOOK);
                jury.compare(micros);
            }
            // So that whoever sets somebody aside sees it let in again.
            self.some_ejected |= micros < self.shared.ejected_until.load(Relaxed);
        }
        drop(lease);
    }

    /// The response's head has come, so long after the request was begun. Final ones only.
    pub fn head(&self, lease: &Lease, latency: Duration, now: Instant) {
        let (took, now) = (micros(latency), self.shared.micros(now));
        let known = &*lease.known;
        known.traffic.latency.observe(took);
        let mut mean = known.mean.get();
        mean.observe(took, now);
        known.mean.set(mean);
        observe(known, latency, now);
    }

    /// Bytes have gone to the backend, and come from it. by-traffic knows of them at once.
    pub fn moved(&self, lease: &Lease, sent: u64, received: u64) {
        lease.known.traffic.sent.fetch_add(sent, Relaxed);
        lease.known.traffic.received.fetch_add(received, Relaxed);
    }

    /// The backend has said this in its [`heartbeat::HEADER`].
    pub fn heartbeat(&self, lease: &Lease, value: &[u8], now: Instant) {
        lease.known.common.hear(value, self.shared.micros(now));
    }

    /// A request has come that is not one that is tried again: retries are a part of these.
    pub fn request(&self, now: Instant) {
        self.shared.budget.request(self.shared.micros(now));
    }

    /// May a request be tried again that has failed here, as far as the budget goes? It counts if so.
    #[must_use]
    pub fn retry(&self, failed: &Lease, now: Instant) -> bool {
        let micros = self.shared.micros(now);
        let may = self.shared.budget.retry(self.settings.retry.budget_percent, micros);
        if may {
            failed.known.traffic.retries.fetch_add(1, Relaxed);
        }
        may
    }

    /// To be called now and then where no requests come, so that the counters do not show somebody as set aside who is not.
    pub fn tick(&mut self, now: Instant) {
        self.look_who_is_ejected(self.shared.micros(now));
    }
}

/// What a request has cost.
fn observe(known: &Known, took: Duration, now: u64) {
    let mut peak = known.peak.get();
    peak.observe(micros(took), now);
    known.peak.set(peak);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
