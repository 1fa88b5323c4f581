//! Commands about who is denied, and the ends of what they have said. They are answered as [overrides](super::commands) are:
//! when it is in the maps and on the disk. [`super::protect`] puts it into the maps.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::addresses::Addresses;
use super::denies::{Denies, Full, NotDenied};
use super::names::{self, Unknown};
use super::reconciler::Reconciler;
use crate::dataplane::Dataplane;
use crate::model::denied::{Denied, DeniedList, Known, Undenied};
use crate::model::protection::Deny;
use crate::model::{Config, Enforcement, Prefix, Service, date};

/// Longest wait at once: an end may be later than an [`Instant`] can be.
const LOOK: Duration = Duration::from_hours(1);

/// Why a command about who is denied changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyRefused {
    /// There is no such service.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// It is not denied.
    #[error(transparent)]
    NotDenied(#[from] NotDenied),
    /// Too many are.
    #[error(transparent)]
    Full(#[from] Full),
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// What commands have denied in an earlier run. What has ended meanwhile ends with the next round.
    pub fn restore_denies(&mut self, denies: Denies) {
        self.denies = denies;
    }

    /// Denies a prefix, for ever or for so long. Says what is so then, and whether anything has changed.
    pub(super) fn deny(
        &mut self,
        prefix: Prefix,
        service: Option<&str>,
        lasts: Option<Duration>,
    ) -> Result<(Denied, bool), DenyRefused> {
        let config = &self.facts.config;
        let service = service.map(|name| names::clients(config, name)).transpose()?;
        let deny = Deny {
            prefix: prefix.cleared(),
            service: service.map(|service| Arc::clone(&service.name)),
            until: lasts.and_then(|lasts| self.wall().checked_add(lasts)).map(whole),
        };
        let observed_by = observing(config, service);
        let before = self.denies.add(deny.clone())?;
        let changed = before.as_ref() != Some(&deny);
        if changed {
            let (service, until) = (deny.service.as_deref(), deny.until.map(date::rfc3339));
            tracing::info!(%prefix, service, until, "denied by a command");
        }
        let denied = Denied {
            deny,
            before: before.map(|before| before.until),
            observed_by,
            fault: None,
            overrides_fault: None,
        };
        Ok((denied, changed))
    }

    /// Ends that: what has been removed.
    pub(super) fn undeny(&mut self, prefix: Prefix, service: Option<&str>) -> Result<Undenied, DenyRefused> {
        let service: Option<Arc<str>> = service.map(Into::into);
        if let Some(service) = service.as_ref().filter(|service| !self.denies.names(service)) {
            names::clients(&self.facts.config, service)?;
        }
        let deny = self.denies.remove(prefix, service.as_ref())?;
        let Deny { prefix, service, .. } = &deny;
        tracing::info!(%prefix, service = service.as_deref(), "denied no more: a command has ended it");
        let still = self.denies.covering(*prefix, service.as_ref());
        Ok(Undenied {
            still: still.map(|deny| self.known(deny)),
            removed: self.known(deny),
            fault: None,
            overrides_fault: None,
        })
    }

    /// All that is denied.
    pub(super) fn denied_list(&self) -> DeniedList {
        let config = &self.facts.config;
        let services = config.services.iter().filter(|service| !service.is_pool());
        let services: HashSet<&str> = services.map(|service| &*service.name).collect();
        let known = |deny: Deny| Known {
            in_effect: deny.service.as_deref().is_none_or(|name| services.contains(name)),
            deny,
        };
        DeniedList {
            denies: self.denies.iter().map(known).collect(),
            observed_by: observing(config, None),
            overrides_fault: self.saved.fault.clone(),
        }
    }

    fn known(&self, deny: Deny) -> Known {
        let has = |name| names::clients(&self.facts.config, name).is_ok();
        Known {
            in_effect: deny.service.as_deref().is_none_or(has),
            deny,
        }
    }

    /// Ends what has an end that is over.
    pub(super) fn end_denies(&mut self) {
        for Deny { prefix, service, .. } in self.denies.expire(self.wall()) {
            let service = service.as_deref();
            tracing::info!(%prefix, service, "denied no more: its time is over");
        }
    }

    /// When the next one ends, or whether it has ended is to be looked at. A wall clock that jumps is noticed within
    /// [`SWEEP`](super::sweep::SWEEP), as a sweep ends this wait too.
    pub(super) fn next_deny(&self) -> Option<Instant> {
        let left = self.denies.next()?.duration_since(self.wall()).unwrap_or_default();
        Some(self.now() + left.min(LOOK))
    }

    /// Ends are of the wall clock, since they survive restarts.
    fn wall(&self) -> SystemTime {
        #[expect(
            clippy::disallowed_methods,
            reason = "how long somebody is denied is said for the wall clock"
        )]
        let now = SystemTime::now();
        now + self.ahead
    }
}

/// The services that only count what they would refuse; of all, or this one alone.
fn observing(config: &Config, of: Option<&Service>) -> Vec<Arc<str>> {
    let all = config
        .protection
        .as_ref()
        .map_or(Enforcement::Enforce, |all| all.enforcement);
    let observes = |service: &&Service| {
        let own = service.protection.as_ref().and_then(|own| own.enforcement);
        own.unwrap_or(all) == Enforcement::Observe
    };
    let asked = |service: &&Service| !service.is_pool() && of.is_none_or(|of| of.name == service.name);
    let services = config.services.iter().filter(asked).filter(observes);
    services.map(|service| Arc::clone(&service.name)).collect()
}

/// The next whole second: what is kept and shown has no less.
fn whole(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let up = u64::from(since.subsec_nanos() > 0);
    UNIX_EPOCH + Duration::from_secs(since.as_secs() + up)
}
