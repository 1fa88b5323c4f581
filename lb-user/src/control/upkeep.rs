//! The upkeep of flows: those that are over end, drains end, windows close, and backends that leave go.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::addresses::Addresses;
use super::reconciler::Reconciler;
use super::trace::Trace;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::status::NatFlows;
use crate::model::{AdminState, Backend, MemberKey, Service, chain};
use crate::plan::Snapshot;

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Cuts off those whose drain is over.
    pub(super) fn end_drains(&mut self) {
        let ended = self.drains.observe(&self.facts.config, self.now());
        if !ended.is_empty() {
            // How many flows that are is known of this moment.
            tokio::task::block_in_place(|| self.look());
        }
        for member in ended {
            let flows = self.flows_of(&member);
            let MemberKey { service, backend } = &member;
            tracing::warn!(%service, %backend, flows, "drain-timeout has passed: the flows that are left are cut");
            self.drains.cut(member, flows);
        }
        self.facts.cut.clone_from(self.drains.over());
    }

    /// Takes in what health means for shares and services.
    pub(super) fn weigh(&mut self) {
        let (facts, now) = (&self.facts, self.now());
        let health = |service: &Service, backend: &Backend| facts.health(service, backend);
        let starting = self.slow_starts.observe(&facts.config, health, now);
        self.facts.starting = starting;
        for turn in self.quorums.observe(&self.facts) {
            let (service, ready, quorum) = (&turn.service, turn.ready, turn.quorum);
            if turn.is_healthy() {
                tracing::info!(%service, ready, quorum, "the service has its quorum of backends");
            } else {
                tracing::warn!(%service, ready, quorum, "the service has fewer backends than its quorum");
            }
        }
    }

    /// Flows of a backend that are known, in whatever mode; with the proxy, requests under way.
    pub(super) fn flows_of(&self, member: &MemberKey) -> u64 {
        let active = self.traffic.active(member);
        let ids = self.carried.ids(&member.service);
        let Some(&id) = ids.and_then(|ids| ids.get(&member.backend)) else {
            return u64::from(active);
        };
        let nat = self.sweep.usage.flows.get(&id).map_or(0, NatFlows::open);
        u64::from(self.known.of(id)) + u64::from(nat) + u64::from(active)
    }

    /// Ends the flows that are over, and counts the others; closes windows that are over. True when a round is to follow.
    pub fn sweep(&mut self) -> bool {
        let again = tokio::task::block_in_place(|| {
            let again = self.look();
            self.share();
            again
        });
        again | self.end_leaving()
    }

    /// True when what is installed is not known any more.
    fn look(&mut self) -> bool {
        let began = self.now();
        let swept = self.sweep.run(&mut self.dataplane, &self.carried);
        if !self.whole {
            // Slots may contradict each other until the plan is carried out to its end.
            return false;
        }
        let tidied = self.tidy();
        if let Err(error) = &tidied {
            tracing::warn!(error = %chain(error), "what is known of flows cannot be kept in order; trying again");
            self.whole = false;
        }
        // Who has begun to drain since the last plan may get flows until the next one.
        if swept && tidied.is_ok() && self.carried.is_of(&self.facts.config) {
            self.counted = Some(began);
        }
        tidied.is_err()
    }

    /// Reads the maps. Where they should be as the last plan has left them, what is not is somebody else's doing.
    pub(super) fn read_back(&mut self) -> Result<Snapshot, ApplyError> {
        let left = &self.carried.placement.target;
        let found = self.dataplane.installed_beside(left)?;
        if self.whole {
            self.repaired.read_back(left, &found);
        }
        Ok(found)
    }

    fn tidy(&mut self) -> Result<(), ApplyError> {
        let mut installed = match self.installed.take() {
            Some(installed) => installed,
            None => self.read_back()?,
        };
        let now = self.now();
        self.known.tidy(
            &mut self.dataplane,
            self.seed,
            &mut installed,
            &self.carried,
            &self.sweep.usage,
            now,
        )?;
        self.carried.placement.target.rings.clone_from(&installed.rings);
        self.installed = Some(installed);
        Ok(())
    }

    /// Backends that leave go when no flow needs them. True when some do.
    fn end_leaving(&mut self) -> bool {
        if !self.whole || !self.carried.is_of(&self.facts.config) {
            return false;
        }
        let mut left = BTreeSet::new();
        for service in &self.facts.config.services {
            let leaving: Vec<_> = service.backends.iter().filter(|b| b.leaving).collect();
            if leaving.is_empty() {
                continue;
            }
            let needed = self.carried.needed(&service.name);
            for backend in leaving {
                let member = MemberKey::of(service, backend);
                let drains = backend.state == AdminState::Drain;
                if service.is_proxied() && drains && !self.drains.is_heard(&member, self.now()) {
                    continue;
                }
                if !needed.contains(&backend.address) && self.flows_of(&member) == 0 {
                    tracing::info!(service = %member.service, backend = %member.backend, "the backend has left: no flow needs it");
                    left.insert(member);
                }
            }
        }
        if !left.is_empty() {
            self.facts.left(&left);
        }
        !left.is_empty()
    }

    /// When a window, a drain, a trace or what a command denies is over, a service begins that waits, or a backend takes more. A
    /// window that is over already and could not be ended waits for the next sweep; the others end with the next round, whatever
    /// comes of it.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = self.now();
        let window = self.known.next().filter(|next| *next > now);
        let trace = self.trace.as_ref().map(Trace::over);
        let (drain, begin, step) = (self.drains.next(), self.begins.next(), self.slow_starts.next());
        let next = [window, drain, begin, step, self.next_deny(), trace];
        next.into_iter().flatten().min()
    }
}
