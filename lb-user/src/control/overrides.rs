//! What commands have said of backends and of the node, above the file. Pure; the daemon keeps it on the disk.
//!
//! A backend is known by its service's name and its own address, as in rings and health: another name in the file is
//! the same server, another address is another server, which nobody has said anything of. Only where the file names a host
//! is it the host that something is said of, wherever that is. What the file says too is
//! not kept, and neither is what concerns a backend that the file does not have.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{AdminState, Backend, Config, MemberKey, Service};

/// What is said of one backend; `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Instead of the file's state.
    pub state: Option<AdminState>,
    /// Instead of the file's weight.
    pub weight: Option<u16>,
}

/// More backends would have a weight than the ring has slots, and some would get none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{backends} backends with a weight cannot share {slots} slots: give another one weight 0, or raise table-size")]
pub struct Crowded {
    /// With a weight, if it were done.
    pub backends: usize,
    /// Of the ring.
    pub slots: u32,
}

/// What is said of all backends, and of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    by_member: BTreeMap<MemberKey, Override>,
    /// The node is to be left: clients go to others.
    pub draining: bool,
}

impl Overrides {
    /// Everything that is said of backends, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = (&MemberKey, &Override)> {
        self.by_member.iter()
    }

    /// A command says `change` of a backend, and leaves alone what that does not name. True when that changes
    /// anything. A backend that `file` does not have is left alone.
    ///
    /// # Errors
    /// [`Crowded`], and nothing has changed.
    pub fn set(&mut self, file: &Config, member: &MemberKey, change: Override) -> Result<bool, Crowded> {
        let Some((service, backend)) = find(file, member) else {
            return Ok(false);
        };
        let before = self.by_member.get(member).copied().unwrap_or_default();
        let after = Override {
            state: change.state.or(before.state),
            weight: change.weight.or(before.weight),
        };
        self.put(member, after.beyond(backend));
        if change.weight.is_some_and(|weight| weight > 0)
            && let Err(crowded) = self.room(service)
        {
            self.put(member, before);
            return Err(crowded);
        }
        Ok(self.by_member.get(member).copied().unwrap_or_default() != before)
    }

    /// A host of the file has another address than `before`: what is said of it goes along.
    pub fn follow(&mut self, before: &Config, file: &Config) {
        for service in &file.services {
            let mut hosts = service
                .backends
                .iter()
                .filter(|backend| backend.host.is_some())
                .peekable();
            if hosts.peek().is_none() {
                continue;
            }
            let Some(old) = before.services.iter().find(|s| s.name == service.name) else {
                continue;
            };
            for backend in hosts {
                let same = |old: &&Backend| old.host == backend.host && old.name == backend.name;
                if let Some(old) = old
                    .backends
                    .iter()
                    .find(same)
                    .filter(|old| old.address != backend.address)
                    && let Some(said) = self.by_member.remove(&MemberKey::of(service, old))
                {
                    self.put(&MemberKey::of(service, backend), said);
                }
            }
        }
    }

    /// A new file: forgets what it says too, what concerns backends that it does not have, and weights of services
    /// whose ring it made too small for them. Returns whose overrides that ends or changes.
    pub fn prune(&mut self, file: &Config) -> Vec<MemberKey> {
        let before = self.by_member.clone();
        self.by_member.clear();
        for (member, said) in &before {
            if let Some((_, backend)) = find(file, member) {
                self.put(member, said.beyond(backend));
            }
        }
        for service in &file.services {
            if self.room(service).is_err() {
                for backend in service.backends.iter().filter(|backend| backend.weight == 0) {
                    let member = MemberKey::of(service, backend);
                    let state = self.of(&member).state;
                    self.put(&member, Override { state, weight: None });
                }
            }
        }
        let changed = before.into_iter().filter(|(member, said)| self.of(member) != *said);
        changed.map(|(member, _)| member).collect()
    }

    /// `file` with everything that is said.
    #[must_use]
    pub fn above(&self, file: &Arc<Config>) -> Arc<Config> {
        if self.by_member.is_empty() {
            return Arc::clone(file);
        }
        let mut config = Config::clone(file);
        for service in &mut config.services {
            let name = Arc::clone(&service.name);
            for backend in &mut service.backends {
                let said = self.of(&MemberKey {
                    service: Arc::clone(&name),
                    backend: backend.address,
                });
                backend.state = said.state.unwrap_or(backend.state);
                backend.weight = said.weight.unwrap_or(backend.weight);
            }
        }
        Arc::new(config)
    }

    /// What is said of one.
    pub(super) fn of(&self, member: &MemberKey) -> Override {
        self.by_member.get(member).copied().unwrap_or_default()
    }

    fn put(&mut self, member: &MemberKey, said: Override) {
        if said == Override::default() {
            self.by_member.remove(member);
        } else {
            self.by_member.insert(member.clone(), said);
        }
    }

    /// Is there a slot for everybody with a weight? `config` sees to it as far as files go.
    fn room(&self, service: &Service) -> Result<(), Crowded> {
        if service.is_proxied() {
            // It has no ring.
            return Ok(());
        }
        let weight = |backend: &Backend| {
            self.of(&MemberKey::of(service, backend))
                .weight
                .unwrap_or(backend.weight)
        };
        let backends = service.backends.iter().filter(|backend| weight(backend) > 0).count();
        let slots = service.table_size.slots();
        if backends > slots as usize {
            return Err(Crowded { backends, slots });
        }
        Ok(())
    }
}

impl FromIterator<(MemberKey, Override)> for Overrides {
    fn from_iter<I: IntoIterator<Item = (MemberKey, Override)>>(said: I) -> Self {
        let mut overrides = Self::default();
        for (member, said) in said {
            overrides.put(&member, said);
        }
        overrides
    }
}

impl Override {
    /// Without what the file says too.
    fn beyond(self, file: &Backend) -> Self {
        Self {
            state: self.state.filter(|&state| state != file.state),
            weight: self.weight.filter(|&weight| weight != file.weight),
        }
    }
}

fn find<'a>(file: &'a Config, member: &MemberKey) -> Option<(&'a Service, &'a Backend)> {
    let service = file.services.iter().find(|s| s.name == member.service)?;
    let backend = service.backends.iter().find(|b| b.address == member.backend)?;
    Some((service, backend))
}

#[cfg(test)]
mod tests;
