//! Tracing: one trace at a time, for as long as somebody asks what it has shown.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use lb_common::decap::Sources;
use lb_common::id::MemberId;
use lb_common::trace::Wanted;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::reconciler::Reconciler;
use crate::dataplane::{Dataplane, Shown};
use crate::model::chain;
use crate::model::trace::{Filter, Traced};

/// A trace that nobody has asked about for so long is over: who began it is gone.
const LEASE: Duration = Duration::from_secs(5);

/// A trace that is under way.
#[derive(Debug)]
pub(super) struct Trace {
    id: u64,
    filter: Filter,
    samples: mpsc::Receiver<Vec<Shown>>,
    asked: Instant,
}

/// Why no trace has begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceRefused {
    /// Another one is under way.
    #[error("somebody else is tracing; there is one trace at a time")]
    Busy,
    /// No service has this name.
    #[error("there is no service {0:?}")]
    Unknown(String),
    /// The kernel refuses.
    #[error("packets cannot be traced: {0}")]
    Kernel(String),
}

impl Trace {
    /// When it is over, unless somebody asks.
    pub(super) fn over(&self) -> Instant {
        self.asked + LEASE
    }
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Begins a trace, and says which one it is.
    pub(super) fn begin_trace(&mut self, filter: Filter) -> Result<u64, TraceRefused> {
        self.abandon_trace();
        if self.trace.is_some() {
            return Err(TraceRefused::Busy);
        }
        let wanted = self.wanted(&filter)?;
        let refused = |error| TraceRefused::Kernel(chain(&error));
        let samples = self.dataplane.samples().map_err(refused)?;
        self.dataplane.trace(Some(&wanted)).map_err(refused)?;
        tracing::info!(?filter, "packets are traced");
        // Not to be guessed: what packets hold is not for everybody.
        let id = RandomState::new().hash_one(0);
        self.trace = Some(Trace {
            id,
            filter,
            samples,
            asked: self.now(),
        });
        Ok(id)
    }

    /// What a trace has shown since the last time; `None` when it is over.
    pub(super) fn traced(&mut self, id: u64) -> Option<Vec<Traced>> {
        self.abandon_trace();
        let now = self.now();
        let trace = self.trace.as_mut().filter(|trace| trace.id == id)?;
        trace.asked = now;
        let mut shown = Vec::new();
        while let Ok(batch) = trace.samples.try_recv() {
            shown.extend(batch);
        }
        Some(self.named(&shown))
    }

    /// Ends a trace; false when it was over.
    pub(super) fn end_trace(&mut self, id: u64) -> bool {
        let ended = self.trace.take_if(|trace| trace.id == id).is_some();
        if ended {
            self.leave_off();
        }
        ended
    }

    /// Ends the trace if nobody asks about it any more.
    pub(super) fn abandon_trace(&mut self) {
        let now = self.now();
        if self.trace.take_if(|trace| trace.over() <= now).is_some() {
            self.leave_off();
        }
    }

    fn leave_off(&mut self) {
        match self.dataplane.trace(None) {
            Ok(()) => tracing::info!("packets are traced no more"),
            Err(error) => tracing::warn!(error = %chain(&error), "the trace cannot be ended"),
        }
    }

    /// After a change: the members of the service that is traced may have other ids.
    pub(super) fn aim_trace(&mut self) {
        let Some(trace) = &self.trace else { return };
        // The service may have left the file: then nothing comes any more, which is right.
        let Ok(wanted) = self.wanted(&trace.filter) else { return };
        if let Err(error) = self.dataplane.trace(Some(&wanted)) {
            tracing::warn!(error = %chain(&error), "the trace still follows what was there before");
        }
    }

    /// What the program is to show.
    fn wanted(&self, filter: &Filter) -> Result<Wanted, TraceRefused> {
        let (mut member_base, mut members) = (0, 0);
        if let Some(name) = &filter.service {
            let mut placed = self.carried.placed();
            let mut proxied = self.carried.proxied();
            (member_base, members) = placed
                .find(|(_, service, _)| *service.name == **name)
                .map(|(decision, _, ids)| {
                    let base = decision.member_base();
                    (base, ids.values().max().map_or(base, |id| id.0) + 1 - base)
                })
                .or_else(|| {
                    let (decision, _) = proxied.find(|(_, service)| *service.name == **name)?;
                    Some((decision.member_base(), 1))
                })
                .ok_or_else(|| TraceRefused::Unknown(name.clone()))?;
        }
        Ok(Wanted {
            sources: filter.source.map_or(Sources::ALL, Sources::from),
            reasons: filter.reasons.iter().fold(0, |bits, &reason| bits | 1 << reason as u32),
            member_base,
            members,
            budget: Wanted::budget(filter.rate),
            foreign: filter.foreign.into(),
        })
    }

    /// Gives samples their names.
    fn named(&self, shown: &[Shown]) -> Vec<Traced> {
        if shown.is_empty() {
            return Vec::new();
        }
        let mut backends = BTreeMap::new();
        let mut services = BTreeMap::new();
        for (decision, service, ids) in self.carried.placed() {
            services.insert(decision.member_base(), &service.name);
            let members = service.backends.iter().filter_map(|b| Some((*ids.get(&b.address)?, b)));
            backends.extend(members.map(|(id, backend)| (id, (&service.name, &backend.name))));
        }
        let proxied = self.carried.proxied();
        services.extend(proxied.map(|(decision, service)| (decision.member_base(), &service.name)));
        let interfaces = &self.facts.interfaces;
        let name = |&Shown { at, sample }: &Shown| {
            let member = backends.get(&sample.member).filter(|_| sample.member != MemberId::NONE);
            let of_member = member.map(|(service, _)| *service);
            let own = services.get(&sample.service.member_base()).copied();
            let own = own.filter(|_| sample.service.is_service());
            Traced {
                at,
                interface: interfaces.get(&sample.interface).map(|name| name.as_ref().to_owned()),
                service: own.or(of_member).map(Arc::clone),
                backend: member.map(|(_, backend)| Arc::clone(backend)),
                sample,
            }
        };
        shown.iter().map(name).collect()
    }
}
