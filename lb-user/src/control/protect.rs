//! What protects services: the sheet that the program judges packets by follows the file, what is denied at run time, and the
//! places that services have.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb_common::addr::Ipv6Be;
use lb_common::protect::{self, FIRST_REASON, REASONS, Refusals, Sheet as _, place, refused_source};
use lb_common::service::Decision;
use lb_common::stats::DropReason;

use super::addresses::Addresses;
use super::reconciler::Reconciler;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::Service;
use crate::model::refused::{Refused, RefusedFor};
use crate::plan::{Placement, Protected, ProtectedService, Snapshot};

/// What packets are judged by.
#[derive(Debug, Default)]
pub(super) struct Protection {
    /// As it was put in place by this process.
    current: Option<Protected>,
}

impl Protection {
    /// How many prefixes there are; `None` where nothing protects services.
    pub(super) fn prefixes(&self) -> Option<usize> {
        self.current.as_ref().map(Protected::prefixes)
    }
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Has packets judged as the file and commands say, at every place that a service has or is about to get. Before entries
    /// lead there: no packet of a service is judged by what is another's, or by nothing.
    pub(super) fn protect(&mut self, installed: &Snapshot, placement: &Placement) -> Result<(), ApplyError> {
        let wanted = self.to_protect(installed, placement);
        if wanted.is_nothing() {
            self.protection.current = None;
            if self.dataplane.is_protected() {
                self.dataplane.protect(None)?;
                tracing::info!("nothing protects services any more");
            }
            return Ok(());
        }
        if self.protection.current.as_ref() == Some(&wanted) && self.dataplane.protection().is_some() {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "it is logged, and nothing follows from it")]
        let began = Instant::now();
        let lines = wanted.lines();
        self.dataplane.protect(Some(&lines))?;
        #[expect(clippy::disallowed_methods, reason = "as above")]
        let took = began.elapsed();
        tracing::info!(
            prefixes = wanted.prefixes(),
            memory = lines.len() * size_of_val(&lines[0]),
            ?took,
            "what protects services is in force"
        );
        self.protection.current = Some(wanted);
        Ok(())
    }

    fn to_protect(&self, installed: &Snapshot, placement: &Placement) -> Protected {
        let config = &self.facts.config;
        let balanced = config.balanced().zip(&placement.decisions);
        let balanced = balanced.filter_map(|(service, &decision)| Some((service, decision?)));
        let proxied = config.proxied().zip(placement.proxied.iter().copied());
        let own = balanced.chain(proxied.filter(|(service, _)| !service.is_pool()));
        let own: Vec<_> = own
            .map(|(service, decision)| self.to_protect_one(service, decision))
            .collect();
        // A service that moves, or goes, is where it was until its entries have been swapped.
        let used: BTreeSet<u32> = installed
            .entries
            .values()
            .filter(|d| d.is_service())
            .map(|&d| place(d))
            .collect();
        let left = self.protection.current.iter().flat_map(|current| &current.services);
        let left = left.filter(|service| used.contains(&service.place) && own.iter().all(|o| o.place != service.place));
        Protected {
            all: config.protection.clone(),
            denies: self.denies.list(None),
            services: left.cloned().chain(own.iter().cloned()).collect(),
            tcp: self.tcp,
        }
    }

    fn to_protect_one(&self, service: &Service, decision: Decision) -> ProtectedService {
        ProtectedService {
            name: Arc::clone(&service.name),
            place: place(decision),
            is_proxied: service.is_proxied(),
            own: service.protection.clone(),
            denies: self.denies.list(Some(&service.name)),
        }
    }

    /// Why a source is refused by the service that has this decision, and whether that is only observed; `None` when it is not
    /// for who it is.
    pub(super) fn refusing(&self, decision: Decision, source: IpAddr) -> Option<(DropReason, bool)> {
        let lines = self.dataplane.protection()?;
        let place = place(decision);
        let policy = lines.policy(place)?;
        let known = lines.source(place, source.is_ipv4(), &Ipv6Be::mapped(source));
        let code = refused_source(known);
        let reason = DropReason::ALL.iter().find(|&&reason| reason as u32 == code)?;
        Some((*reason, policy.flags & protect::policy::OBSERVES != 0))
    }
}

impl From<Refusals> for Refused {
    fn from(counted: Refusals) -> Self {
        let reason = |index: usize| {
            let code = FIRST_REASON + index as u32;
            DropReason::ALL.iter().copied().find(|&reason| reason as u32 == code)
        };
        let each = (0..REASONS).filter_map(|index| {
            Some(RefusedFor {
                reason: reason(index)?,
                dropped: counted.refused[index],
                observed: counted.observed[index],
            })
        });
        Self {
            reasons: each.collect(),
            answered: counted.answered,
            accepted: counted.accepted,
            evicted: counted.evicted,
        }
    }
}
