//! What high availability and the reconciler know of each other: whether this node can balance, and what it is to others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::addresses::Addresses;
use super::reconciler::Reconciler;
use super::tell::tell;
use crate::dataplane::Dataplane;
use crate::model::vrrp::HaStatus;

/// Whether this node can balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fitness {
    /// Every backend that is probed has been, at least once since the daemon started, and peers have told what they know.
    pub settled: bool,
    /// Why it cannot, for people: the maps cannot be written.
    pub fault: Option<String>,
    /// Interfaces of `[node]` that the program is not on.
    pub unattached: BTreeSet<String>,
    /// Whether services have as many backends as they need, as far as it is known.
    pub quorums: BTreeMap<Arc<str>, bool>,
    /// A command has said that clients are to go to other nodes.
    pub draining: bool,
}

/// The reconciler's ends.
#[derive(Debug)]
pub(super) struct Ha {
    pub(super) status: watch::Receiver<HaStatus>,
    fitness: watch::Sender<Fitness>,
}

impl Default for Ha {
    fn default() -> Self {
        Self {
            status: watch::channel(HaStatus::default()).1,
            fitness: watch::channel(Fitness::default()).0,
        }
    }
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// The ends of whoever plays this node's part in virtual routers.
    pub fn connect_ha(&mut self) -> (watch::Sender<HaStatus>, watch::Receiver<Fitness>) {
        let (told, status) = watch::channel(HaStatus::default());
        self.ha.status = status;
        (told, self.ha.fitness.subscribe())
    }

    /// Tells others whether this node can balance, where that is news.
    pub(super) fn tell_fitness(&self) {
        // Once is for good.
        let ready = *self.shared.ready.borrow() || self.settled && self.whole;
        tell(&self.shared.ready, ready);
        let names = &self.facts.config.node.interfaces;
        let interfaces = self.interfaces.status(names).into_iter();
        let unattached = interfaces.filter(|interface| interface.attached.is_err());
        let now = Fitness {
            settled: self.settled && (self.facts.config.peers.is_none() || self.shared.status.borrow().settled),
            fault: self.fault.clone().filter(|_| !self.whole),
            unattached: unattached.map(|interface| interface.name).collect(),
            quorums: self.quorums.known().clone(),
            draining: self.facts.overrides().draining,
        };
        tell(&self.ha.fitness, now);
    }
}
