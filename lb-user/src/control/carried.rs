//! What was last carried out: ids, and the names that go with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::id::{MemberId, MemberIndex};
use lb_common::ring::State;
use lb_common::service::Decision;

use crate::model::{Config, Mode, Service};
use crate::plan::Placement;

/// A plan that was carried out, with the configuration that it was made for. A newer configuration may have come since.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) placement: Placement,
    config: Arc<Config>,
}

impl Carried {
    pub(super) fn new(placement: Placement, config: Arc<Config>) -> Self {
        Self { placement, config }
    }

    /// Was it made for this configuration?
    pub(super) fn is_of(&self, config: &Arc<Config>) -> bool {
        Arc::ptr_eq(&self.config, config)
    }

    /// The services that have a place, each with its members' ids. Those of the proxy need none.
    pub(super) fn placed(&self) -> impl Iterator<Item = (Decision, &Service, &BTreeMap<SocketAddr, MemberId>)> {
        let Placement { decisions, members, .. } = &self.placement;
        let services = self.config.balanced().zip(decisions).zip(members);
        services.filter_map(|((service, decision), ids)| Some(((*decision)?, service, ids)))
    }

    /// The services of the proxy that have a VIP, each with what traces know it by.
    pub(super) fn proxied(&self) -> impl Iterator<Item = (Decision, &Service)> {
        let all = self.placement.proxied.iter().copied().zip(self.config.proxied());
        all.filter(|(_, service)| !service.is_pool())
    }

    /// The services that have a place.
    pub(super) fn services(&self) -> impl Iterator<Item = (Decision, &Service)> {
        self.placed().map(|(decision, service, _)| (decision, service))
    }

    /// Ids of the members of every service that has some.
    pub(super) fn by_name(&self) -> HashMap<&str, &BTreeMap<SocketAddr, MemberId>> {
        let names = self.config.balanced().map(|service| &*service.name);
        names.zip(&self.placement.members).collect()
    }

    /// Ids of a service's members.
    pub(super) fn ids(&self, service: &str) -> Option<&BTreeMap<SocketAddr, MemberId>> {
        let number = self.config.balanced().position(|s| *s.name == *service)?;
        self.placement.members.get(number)
    }

    /// The backends of a service that slots refer to.
    pub(super) fn needed(&self, service: &str) -> BTreeSet<SocketAddr> {
        let Some((decision, _, ids)) = self.placed().find(|(_, s, _)| *s.name == *service) else {
            return BTreeSet::new();
        };
        let ring = self.placement.target.rings.get(&decision.ring_block());
        let mut needed = BTreeSet::new();
        for slot in ring.iter().flat_map(|ring| &*ring.slots) {
            needed.insert(slot.current());
            if let State::Moving(previous) = slot.state() {
                needed.insert(previous);
            }
        }
        let is_needed = |id: &MemberId| {
            let index = id.0 - decision.member_base();
            u16::try_from(index).is_ok_and(|index| needed.contains(&MemberIndex(index)))
        };
        ids.iter()
            .filter(|(_, id)| is_needed(id))
            .map(|(&address, _)| address)
            .collect()
    }

    /// Whose id this is: service, backend and mode.
    pub(super) fn name(&self, id: MemberId) -> Option<(Arc<str>, Arc<str>, Mode)> {
        let mut services = self.placement.members.iter().zip(self.config.balanced());
        services.find_map(|(ids, service)| {
            let (address, _) = ids.iter().find(|&(_, &other)| other == id)?;
            let backend = service.backends.iter().find(|b| b.address == *address)?;
            Some((Arc::clone(&service.name), Arc::clone(&backend.name), service.mode))
        })
    }
}
