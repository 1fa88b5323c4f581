//! What the threads of the proxy have in common. Requests load and count; only changes of the configuration lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::hash::Seed;
use tokio::sync::Notify;

use super::challenges::Answers;
use super::choose::Registry;
use super::log::Logs;
use crate::model::Config;
use crate::model::traffic::Traffic;

/// See the module.
#[derive(Debug)]
pub(super) struct Common {
    /// Of the fleet.
    pub seed: Seed,
    /// Access logs.
    pub logs: Logs,
    /// Counters.
    pub traffic: Arc<Traffic>,
    /// What pools of one name share.
    pub pools: Registry,
    /// What authorities are shown that ask whose a name is.
    answers: Mutex<Arc<Answers>>,
    /// Who waits for a place, by pool.
    free: Mutex<BTreeMap<Arc<str>, Arc<Notify>>>,
}

impl Common {
    /// Without anything.
    #[must_use]
    pub(super) fn new(seed: Seed, logs: Logs, traffic: Arc<Traffic>) -> Self {
        Self {
            seed,
            logs,
            traffic,
            pools: Registry::new(seed, std::time::Instant::now()),
            answers: Mutex::default(),
            free: Mutex::default(),
        }
    }

    /// What authorities are shown now. It is asked for where one may have come, and at handshakes.
    #[must_use]
    pub(super) fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows these from now on.
    pub(super) fn show(&self, answers: Answers) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answers);
    }

    /// Forgets pools that are not in `config`. Threads that have them keep them.
    pub(super) fn retain(&self, config: &Config) {
        let is_there = |name: &str| config.services.iter().any(|service| *service.name == *name);
        self.pools.retain(is_there);
        self.free().retain(|name, _| is_there(name));
    }

    /// Tells those who wait for a place on a backend of this pool, on whatever thread.
    #[must_use]
    pub(super) fn free_of(&self, pool: &Arc<str>) -> Arc<Notify> {
        Arc::clone(self.free().entry(Arc::clone(pool)).or_default())
    }

    fn free(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Notify>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
