//! What the threads of the proxy have in common. Requests load and count; only changes of the configuration lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lb_common::hash::Seed;
use tokio::sync::Notify;

use super::choose::Registry;
use super::log::Logs;
use crate::model::traffic::Traffic;

/// See the module.
#[derive(Debug)]
pub struct Common {
    /// Of the fleet.
    pub seed: Seed,
    /// Access logs.
    pub logs: Logs,
    /// Counters.
    pub traffic: Arc<Traffic>,
    /// What pools of one name share.
    pub pools: Registry,
    /// Who waits for a place, by pool.
    free: Mutex<BTreeMap<Arc<str>, Arc<Notify>>>,
}

impl Common {
    /// Without anything.
    #[must_use]
    pub fn new(seed: Seed, logs: Logs, traffic: Arc<Traffic>) -> Self {
        Self {
            seed,
            logs,
            traffic,
            pools: Registry::new(seed, std::time::Instant::now()),
            free: Mutex::default(),
        }
    }

    /// Tells those who wait for a place on a backend of this pool, on whatever thread.
    #[must_use]
    pub fn free(&self, pool: &Arc<str>) -> Arc<Notify> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(free.entry(Arc::clone(pool)).or_default())
    }
}
