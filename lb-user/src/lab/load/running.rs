//! A plan that is carried out.

use std::io;
use std::time::Instant;

use super::{Made, Outcome, Plan};
use crate::net::Namespace;

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::lab) struct Progress {
    pub(in crate::lab) answered: u64,
    pub(in crate::lab) failed: u64,
}

/// Requests that are being made until the plan ends, or this is stopped or dropped.
#[derive(Debug)]
pub(in crate::lab) struct Running {}

impl Running {
    /// Begins, inside `namespace`.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the plan cannot be carried out: authorities that cannot be read, a
    /// header that cannot be sent.
    pub(in crate::lab) fn start(namespace: &Namespace, plan: &Plan) -> io::Result<Self> {
        let _ = (namespace, plan);
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::lab) fn progress(&self) -> Progress {
        Progress::default()
    }

    /// What has become of requests that were due at `since` or later, in the order of being due, if the plan records
    /// them.
    pub(in crate::lab) fn events_since(&self, since: Instant) -> Vec<Made> {
        let _ = since;
        Vec::new()
    }

    /// Sends no more, waits for requests that are under way, and says what all came to.
    pub(in crate::lab) fn stop(self) -> io::Result<Outcome> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Carries a plan out in the caller's namespace.
pub(in crate::lab) async fn run(plan: &Plan) -> io::Result<Outcome> {
    let _ = plan;
    Err(io::ErrorKind::Unsupported.into())
}

/// Carries a plan out inside `namespace`; blocks until it is done.
pub(in crate::lab) fn run_inside(namespace: &Namespace, plan: &Plan) -> io::Result<Outcome> {
    let _ = (namespace, plan);
    Err(io::ErrorKind::Unsupported.into())
}
