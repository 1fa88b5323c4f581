//! Who has a share of a service or a pool: somebody should, and slots must be enough.

use lb_common::limits::RING_MAX_LOG2;

use super::Reader;
use super::fault::{Checked, fault};
use super::service::Draft;
use crate::model::{AdminState, Balance, Mode, Service, count};

/// Slots per backend below which shares and churn get coarse.
const SLOTS_PER_BACKEND: u32 = 100;

impl Reader {
    /// Is there somebody to serve, and are there slots enough for everybody?
    pub(super) fn shares(&mut self, draft: &Draft) -> Checked<()> {
        let service = &draft.service;
        let what = if service.is_pool() { "pool" } else { "service" };
        // Those that drain or are disabled now may be enabled later.
        let weighty = shares(service).filter(|(weight, _)| *weight > 0).count() as u32;
        if has_ring(service) {
            self.slots(draft, what, weighty)?;
        }
        let have = shares(service).count();
        let quorum = service.health.quorum.get();
        if quorum as usize > have && have > 0 {
            let have = count(have, "backend");
            let message = format!("this {what} never counts as healthy: it has {have}, and its quorum is {quorum}");
            self.warnings
                .push(fault(draft.header.clone(), message).hint(format!("lower `quorum` in [{what}.health]")));
        }
        let serves = shares(service).any(|(weight, state)| weight > 0 && state == AdminState::Active);
        if !serves && !serves_without(service) {
            let (who, hint) = if have == 0 {
                (
                    format!("this {what} has no backends"),
                    format!("add a [[{what}.backend]]"),
                )
            } else {
                (
                    format!("every backend of this {what} is draining, disabled or has weight 0"),
                    "enable one, or raise a weight".to_owned(),
                )
            };
            let fate = match service.mode {
                Mode::Proxy => "its requests are answered with 503",
                Mode::Dsr | Mode::Tunnel | Mode::Nat => "its packets are dropped",
            };
            self.warnings
                .push(fault(draft.header.clone(), format!("{who}: {fate}")).hint(hint));
        }
        Ok(())
    }

    fn slots(&mut self, draft: &Draft, what: &str, weighty: u32) -> Checked<()> {
        let slots = draft.service.table_size.slots();
        let span = draft.table_size.as_ref().unwrap_or(&draft.header).clone();
        let enough = |least: u32| match least.checked_next_power_of_two() {
            Some(size) if size <= 1 << RING_MAX_LOG2 => format!("set table-size = {size}"),
            _ => format!("split the {what}"),
        };
        if weighty > slots {
            let message = format!("{weighty} backends cannot share {slots} slots");
            return Err(fault(span, message).hint(enough(weighty)));
        }
        let good = weighty.saturating_mul(SLOTS_PER_BACKEND);
        if good > slots && slots < 1 << RING_MAX_LOG2 {
            let message = format!("{slots} slots for {weighty} backends make shares coarse");
            let hint = format!(
                "{SLOTS_PER_BACKEND} slots per backend keep them within a percent or so: {}",
                enough(good.min(1 << RING_MAX_LOG2))
            );
            self.warnings.push(fault(span, message).hint(hint));
        }
        Ok(())
    }
}

/// The weights and states of all backends.
fn shares(service: &Service) -> impl Iterator<Item = (u16, AdminState)> {
    let placed = service.backends.iter().map(|backend| (backend.weight, backend.state));
    placed.chain(service.named.iter().map(|backend| (backend.weight, backend.state)))
}

/// The program has one for every service, the proxy for those that choose by it.
fn has_ring(service: &Service) -> bool {
    service.mode != Mode::Proxy || matches!(service.balance, Balance::Maglev | Balance::SourceHash)
}

/// Does every request get its answer without a backend of the service's own?
fn serves_without(service: &Service) -> bool {
    service.proxy.as_ref().is_some_and(|proxy| {
        let all = |path: &Option<_>| path.as_ref().is_none_or(|path: &std::sync::Arc<str>| &**path == "/");
        let mut routes = proxy.routes.iter();
        let elsewhere = routes.any(|r| r.host.is_none() && r.header.is_none() && all(&r.path_prefix));
        elsewhere || proxy.http.redirect_to_https.is_some()
    })
}
