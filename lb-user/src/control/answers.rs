//! What the reconciler says of the node when it is asked.

use std::sync::Arc;

use super::addresses::Addresses;
use super::explain::{self, explain};
use super::reconciler::Reconciler;
use super::report;
use crate::dataplane::Dataplane;
use crate::model::chain;
use crate::model::http_status;
use crate::model::status::{Explanation, FlowQuery, FlowTables, Status};

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    pub(super) fn view(&self) -> report::View<'_, D> {
        report::View {
            facts: &self.facts,
            carried: &self.carried,
            dataplane: &self.dataplane,
            usage: &self.sweep.usage,
            known: &self.known,
            drains: &self.drains,
            protection: &self.protection,
            traffic: &self.traffic,
            now: self.now(),
            counted: self.counted,
        }
    }

    /// What it knows without the maps.
    pub(super) fn said(&self) -> report::Said {
        report::Said {
            interfaces: self.interfaces.status(&self.facts.config.node.interfaces),
            reloads: self.reloads.clone(),
            fault: self.fault.clone(),
            overrides_fault: self.saved.fault.clone(),
            repairs: self.repaired.counts(),
            started: self.started,
            settled: self.settled,
            ha: self.ha.status.borrow().clone(),
            draining: self.facts.overrides().draining,
            peers: self.shared.status.borrow().clone(),
            certificates: self.certificates.borrow().clone(),
        }
    }

    /// The node's state now.
    pub fn status(&self) -> Status {
        let said = self.said();
        self.view().status(said.clone()).unwrap_or_else(|error| Status {
            node: self.facts.config.node.name.clone(),
            interfaces: said.interfaces,
            services: Vec::new(),
            drops: Vec::new(),
            protection: None,
            flows: FlowTables::default(),
            http: http_status::of(&self.traffic, &self.facts.config),
            reloads: said.reloads,
            fault: Some(chain(&error)),
            overrides_fault: said.overrides_fault,
            repairs: said.repairs,
            started: said.started,
            settled: said.settled,
            ha: said.ha,
            draining: said.draining,
            peers: said.peers,
            certificates: said.certificates,
        })
    }

    /// What becomes of a flow that nothing refuses.
    pub fn explain(&self, flow: &FlowQuery) -> Explanation {
        let service = self.facts.config.service_at(flow.protocol, flow.destination);
        let name = service.map(|s| Arc::clone(&s.name));
        let by_program = explain(
            self.dataplane.tables(),
            self.seed,
            flow,
            name.clone(),
            &|id| self.carried.name(id),
            // What cannot be read is as good as not known; a sweep says why.
            &explain::Known {
                translation: &|key| self.dataplane.flow(key).ok().flatten(),
                entry: &|table, key| self.dataplane.entry(table, key).ok().flatten(),
            },
        );
        by_program.unwrap_or_else(|| Explanation::Proxied {
            service: name.unwrap_or_else(|| flow.destination.to_string().into()),
            pools: service.map(|s| self.facts.pools(s)).unwrap_or_default(),
        })
    }
}
