//! What protects services: the sheet that the program judges packets by follows the file, what is denied at run time, and the
//! places that services have.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use lb_common::protect::{FIRST_REASON, REASONS, Refusals, place};
use lb_common::service::Decision;
use lb_common::stats::DropReason;

use super::addresses::Addresses;
use super::reconciler::Reconciler;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::refused::{Refused, RefusedFor};
use crate::model::{Enforcement, Service};
use crate::plan::{Placement, Protected, ProtectedService, Snapshot};

/// What packets are judged by.
#[derive(Debug, Default)]
pub(super) struct Protection {
    /// As it was put in place by this process.
    current: Option<Protected>,
}

impl Protection {
    /// What the sheet in force was made of; `None` where there is none, or an earlier run has made it.
    pub(super) fn current(&self) -> Option<&Protected> {
        self.current.as_ref()
    }

    /// How many prefixes there are; `None` where nothing protects services.
    pub(super) fn prefixes(&self) -> Option<usize> {
        self.current.as_ref().map(Protected::prefixes)
    }

    /// What becomes of what is refused to each service that something protects.
    pub(super) fn enforcements(&self) -> impl Iterator<Item = (&str, Enforcement)> {
        self.current.iter().flat_map(|current| {
            let all = current
                .all
                .as_ref()
                .map_or_else(Enforcement::default, |all| all.enforcement);
            let of_all = current.all.is_some() || !current.denies.is_empty();
            let services = current.services.iter();
            let protected = services.filter(move |s| of_all || s.own.is_some() || !s.denies.is_empty());
            protected.map(move |service| {
                let own = service.own.as_ref().and_then(|own| own.enforcement);
                (&*service.name, own.unwrap_or(all))
            })
        })
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
        let began = Instant::now();
        let lines = wanted.lines();
        self.dataplane.protect(Some(&lines))?;
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
