//! Backends that have left the file and finish their flows. Pure.
//!
//! They are part of the configuration in force, draining and marked as leaving, so they are probed, reached and shown like
//! any other. One that comes back into the file is simply a backend again; with its service, or disabled, it goes at once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::{AdminState, Backend, Config, MemberKey, Role, Service};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving {
    /// By service.
    backends: Vec<(Arc<str>, Backend)>,
}

impl Leaving {
    /// `file` takes the place of what is in force. Those that it has no more, and whose service it still has, leave.
    pub(super) fn replace(&mut self, in_force: &Config, file: &Config) {
        let services: HashMap<&str, &Service> = file.services.iter().map(|s| (&*s.name, s)).collect();
        for service in &in_force.services {
            let Some(stays) = services.get(&*service.name) else {
                continue;
            };
            let addresses: HashSet<SocketAddr> = stays.backends.iter().map(|b| b.address).collect();
            let gone = |b: &&Backend| !b.leaving && b.state != AdminState::Disabled && !addresses.contains(&b.address);
            for backend in service.backends.iter().filter(gone) {
                self.add(&service.name, backend);
            }
        }
        let stays = |(service, backend): &(Arc<str>, Backend)| {
            let service = services.get(&**service);
            service.is_some_and(|service| !has(service, backend.address))
        };
        self.backends.retain(stays);
    }

    /// Somebody serves this service's flows whom the file does not know: an earlier run has left it. True when that is news.
    pub(super) fn adopt(&mut self, service: &Service, address: SocketAddr) -> bool {
        if has(service, address) || self.is(&service.name, address) {
            return false;
        }
        let backend = Backend {
            name: address.to_string().into(),
            address,
            host: None,
            weight: 0,
            state: AdminState::Drain,
            role: Role::Primary,
            leaving: true,
        };
        self.add(&service.name, &backend);
        true
    }

    /// It is cut off from its flows.
    pub(super) fn disable(&mut self, member: &MemberKey) -> bool {
        let mut all = self.backends.iter_mut();
        let found = all.find(|(service, backend)| *service == member.service && backend.address == member.backend);
        found.is_some_and(|(_, backend)| {
            std::mem::replace(&mut backend.state, AdminState::Disabled) != AdminState::Disabled
        })
    }

    /// These have no flow any more.
    pub(super) fn end(&mut self, members: &BTreeSet<MemberKey>) {
        self.backends.retain(|(service, backend)| {
            let member = MemberKey {
                service: Arc::clone(service),
                backend: backend.address,
            };
            !members.contains(&member)
        });
    }

    /// `config` with those who leave.
    pub(super) fn beside(&self, config: Arc<Config>) -> Arc<Config> {
        if self.backends.is_empty() {
            return config;
        }
        let mut config = Config::clone(&config);
        for (name, backend) in &self.backends {
            let Some(service) = config.services.iter_mut().find(|s| s.name == *name) else {
                continue;
            };
            let mut backend = backend.clone();
            // Another one may have its name by now; nobody else has its address.
            if service.backends.iter().any(|other| other.name == backend.name) {
                backend.name = backend.address.to_string().into();
            }
            service.backends.push(backend);
        }
        Arc::new(config)
    }

    fn is(&self, service: &str, address: SocketAddr) -> bool {
        let mut all = self.backends.iter();
        all.any(|(name, backend)| **name == *service && backend.address == address)
    }

    fn add(&mut self, service: &Arc<str>, backend: &Backend) {
        if self.is(service, backend.address) {
            return;
        }
        let leaving = Backend {
            weight: 0,
            state: AdminState::Drain,
            leaving: true,
            ..backend.clone()
        };
        self.backends.push((Arc::clone(service), leaving));
    }
}

fn has(service: &Service, address: SocketAddr) -> bool {
    service.backends.iter().any(|b| !b.leaving && b.address == address)
}
