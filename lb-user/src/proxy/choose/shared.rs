//! What the pools of one service share, one of which each thread has.
//!
//! A backend that fails, fails for every thread, and a pool of which no more than half may be set aside is that of all
//! threads. Requests only load from here, and store where something has changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lb_common::hash::Seed;
use lb_common::id::MemberIndex;

use super::retry::Budget;
use crate::balance::maglev::{self, Candidate};
use crate::model::RingSize;

/// By name of service or pool: what is shared, the same for every thread, as long as the daemon runs.
#[derive(Debug)]
pub struct Registry {
    origin: Instant,
    seed: Seed,
    services: Mutex<BTreeMap<Arc<str>, Arc<Shared>>>,
}

impl Registry {
    /// An empty one. Times before `now` count as `now`.
    #[must_use]
    pub fn new(seed: Seed, now: Instant) -> Self {
        Self {
            origin: now,
            seed,
            services: Mutex::default(),
        }
    }

    /// What the pools of this service share.
    #[must_use]
    pub fn service(&self, name: &Arc<str>) -> Arc<Shared> {
        let make = || Arc::new(Shared::new(self.seed, self.origin));
        let mut services = lock(&self.services);
        Arc::clone(services.entry(Arc::clone(name)).or_insert_with(make))
    }

    /// Forgets those whose name is not wanted. Pools that have them keep them.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        lock(&self.services).retain(|name, _| wanted(name));
    }
}

/// Of one service.
#[derive(Debug)]
pub struct Shared {
    pub(super) seed: Seed,
    origin: Instant,
    /// Nobody is set aside from this moment on, unless it is moved.
    pub(super) ejected_until: AtomicU64,
    pub(super) budget: Budget,
    /// Held while somebody is set aside, so that two threads do not set aside two halves.
    ejecting: Mutex<()>,
    backends: Mutex<BTreeMap<SocketAddr, Arc<Common>>>,
    /// The last ring. It is a function of its candidates and its size, and all threads come to want the same.
    ring: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    candidates: Box<[Candidate]>,
    size: RingSize,
    ring: Option<Arc<[MemberIndex]>>,
}

/// Of one backend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Common {
    /// Failures in a row.
    pub(super) failing: AtomicU32,
    /// When it is let in again; 0: it never was set aside.
    pub(super) ejected_until: AtomicU64,
    /// How many times in succession it has been set aside.
    pub(super) ejected_times: AtomicU32,
    /// Idle slots that it last said it has (upper half), and the second in which it did, plus one; 0: never.
    pub(super) heartbeat: AtomicU64,
}

impl Shared {
    fn new(seed: Seed, origin: Instant) -> Self {
        Self {
            seed,
            origin,
            ejected_until: AtomicU64::new(0),
            budget: Budget::default(),
            ejecting: Mutex::default(),
            backends: Mutex::default(),
            ring: Mutex::default(),
        }
    }

    /// Microseconds since there was a registry: what the atomics hold.
    pub(super) fn micros(&self, now: Instant) -> u64 {
        super::micros(now.saturating_duration_since(self.origin))
    }

    pub(super) fn backend(&self, address: SocketAddr) -> Arc<Common> {
        Arc::clone(lock(&self.backends).entry(address).or_default())
    }

    /// Forgets backends that no pool has.
    pub(super) fn tidy(&self) {
        lock(&self.backends).retain(|_, common| Arc::strong_count(common) > 1);
    }

    pub(super) fn ejecting(&self) -> MutexGuard<'_, ()> {
        lock(&self.ejecting)
    }

    /// The ring of these. Built by the first thread that wants it, while the others wait.
    pub(super) fn ring(&self, candidates: &[Candidate], size: RingSize) -> Option<Arc<[MemberIndex]>> {
        let mut kept = lock(&self.ring);
        if let Some(kept) = &*kept
            && (kept.size, &*kept.candidates) == (size, candidates)
        {
            return kept.ring.clone();
        }
        let ring: Option<Arc<[MemberIndex]>> = maglev::build(candidates, size, self.seed).map(Arc::from);
        *kept = Some(Kept {
            candidates: candidates.into(),
            size,
            ring: ring.clone(),
        });
        ring
    }
}

impl Common {
    /// Is it set aside at `micros`?
    pub(super) fn is_ejected(&self, micros: u64) -> bool {
        micros < self.ejected_until.load(Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
