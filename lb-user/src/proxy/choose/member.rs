//! A backend as a pool has it, and a request's place on it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::ewma::{Mean, Peak};
use super::shared::Common;
use crate::model::traffic::{BackendTraffic, PoolMember};

/// One of a pool.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) is: Rc<PoolMember>,
    pub(super) known: Rc<Known>,
}

/// What is known of a backend for as long as it is in the pool, whatever else of it changes.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) token: Arc<str>,
    pub(super) traffic: Arc<BackendTraffic>,
    pub(super) common: Arc<Common>,
    /// Round-robin's: how urgently it wants a turn, as this thread gives them.
    pub(super) credit: Cell<i64>,
    /// Apache's lbstatus: the same, as all threads give them.
    pub(super) owed: Cell<i64>,
    /// Requests of which `owed` knows.
    pub(super) seen: Cell<u64>,
    /// Bytes that by-traffic does not count.
    pub(super) base: Cell<u64>,
    pub(super) peak: Cell<Peak>,
    pub(super) mean: Cell<Mean>,
}

impl Known {
    pub(super) fn new(token: Arc<str>, traffic: Arc<BackendTraffic>, common: Arc<Common>) -> Self {
        let known = Self {
            token,
            traffic,
            common,
            credit: Cell::default(),
            owed: Cell::default(),
            seen: Cell::default(),
            base: Cell::default(),
            peak: Cell::default(),
            mean: Cell::default(),
        };
        known.seen.set(known.traffic.requests.load(Relaxed));
        known.base.set(known.bytes());
        known
    }

    /// Both ways, ever.
    pub(super) fn bytes(&self) -> u64 {
        let traffic = &self.traffic;
        traffic.sent.load(Relaxed).wrapping_add(traffic.received.load(Relaxed))
    }
}

impl Member {
    pub(super) fn active(&self) -> u32 {
        self.known.traffic.active.load(Relaxed)
    }

    pub(super) fn weight(&self) -> i64 {
        i64::from(self.is.weight)
    }

    /// One more request, unless it has `limit` already. Whoever takes the last place has it, on whatever thread.
    pub(super) fn reserve(&self, limit: Option<u32>) -> bool {
        let traffic = &self.known.traffic;
        let reserved = match limit {
            None => {
                traffic.active.fetch_add(1, Relaxed);
                true
            }
            Some(limit) => {
                let more = |active| (active < limit).then_some(active + 1);
                traffic.active.fetch_update(Relaxed, Relaxed, more).is_ok()
            }
        };
        if reserved {
            traffic.requests.fetch_add(1, Relaxed);
        }
        reserved
    }
}

/// A request's place on its backend, until it is dropped: upgraded connections keep it.
#[derive(Debug)]
pub struct Lease {
    pub(super) is: Rc<PoolMember>,
    pub(super) known: Rc<Known>,
    pub(super) kept: bool,
}

impl Lease {
    /// The backend, as it was when it was chosen.
    #[must_use]
    pub fn member(&self) -> &PoolMember {
        &self.is
    }

    /// Its counters.
    #[must_use]
    pub fn traffic(&self) -> &Arc<BackendTraffic> {
        &self.known.traffic
    }

    /// The value of the cookie that leads here.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.known.token
    }

    /// The client has shown that cookie, and does not need it again.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.known.traffic.active.fetch_sub(1, Relaxed);
    }
}

/// What has come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Bytes sent to the backend that [`super::Pool::moved`] has not been told of.
    pub sent: u64,
    /// Bytes received from it, likewise.
    pub received: u64,
}

/// How a request ended, as far as its backend is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a response of this status, whole.
    Answered(u16),
    /// With a response of this status, which broke off.
    Broken(u16),
    /// Without a response.
    Failed,
    /// Without a connection.
    Unreached,
    /// The client went away: nothing can be said of the backend.
    Abandoned,
}

impl Ending {
    /// Did the backend fail? `None`: that is not known.
    pub(super) const fn is_failure(self) -> Option<bool> {
        match self {
            Self::Answered(502..=504) | Self::Broken(_) | Self::Failed | Self::Unreached => Some(true),
            Self::Answered(_) => Some(false),
            Self::Abandoned => None,
        }
    }
}
