//! What was last carried out: ids, and the names that go with them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::id::MemberId;

use crate::model::{Config, Mode};
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

    /// Ids of a service's members.
    pub(super) fn ids(&self, service: &str) -> Option<&BTreeMap<SocketAddr, MemberId>> {
        let number = self.config.services.iter().position(|s| *s.name == *service)?;
        self.placement.members.get(number)
    }

    /// Whose id this is: service, backend and mode.
    pub(super) fn name(&self, id: MemberId) -> Option<(Arc<str>, Arc<str>, Mode)> {
        let services = self.placement.members.iter().zip(&self.config.services);
        services.into_iter().find_map(|(ids, service)| {
            let (address, _) = ids.iter().find(|&(_, &other)| other == id)?;
            let backend = service.backends.iter().find(|b| b.address == *address)?;
            Some((Arc::clone(&service.name), Arc::clone(&backend.name), service.mode))
        })
    }
}
