//! Which services have as many backends as they need. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::merge::Facts;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Quorums {
    healthy: BTreeMap<Arc<str>, bool>,
}

/// A service that has won or lost its quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) service: Arc<str>,
    /// Backends that can take flows.
    pub(super) ready: usize,
    /// As many as it needs.
    pub(super) quorum: u32,
}

impl Turn {
    pub(super) fn is_healthy(&self) -> bool {
        self.ready >= self.quorum as usize
    }
}

impl Quorums {
    /// Whether services have as many backends as they need, as far as it is known.
    pub(super) fn known(&self) -> &BTreeMap<Arc<str>, bool> {
        &self.healthy
    }

    /// Those whose state is another one than at the last look. One that is new has none before it is known of each of its
    /// backends whether it can serve.
    pub(super) fn observe(&mut self, facts: &Facts) -> Vec<Turn> {
        let before = std::mem::take(&mut self.healthy);
        let mut turns = Vec::new();
        for service in &facts.config.services {
            let was = before.get(&service.name).copied();
            if was.is_none() && !facts.knows(service) {
                continue;
            }
            let quorum = service.health.quorum.get();
            let is = facts.ready(service).take(quorum as usize).count() == quorum as usize;
            self.healthy.insert(Arc::clone(&service.name), is);
            if was.map_or(!is, |was| was != is) {
                turns.push(Turn {
                    service: Arc::clone(&service.name),
                    ready: facts.ready(service).count(),
                    quorum,
                });
            }
        }
        turns
    }
}
