//! The backends of one service, before and after. Pure.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::keys;
use crate::control::merge::Facts;
use crate::model::preview::{BackendPreview, Change, Flows, Share};
use crate::model::{Backend, MemberKey};
use crate::plan::outlook::{Course, Shares};

/// How many flows of a backend are known.
pub(super) type Flowing<'a> = &'a dyn Fn(&MemberKey) -> u64;

/// What is known of a service whose backends are compared.
pub(super) struct Backends<'a> {
    pub(super) service: Arc<str>,
    /// Of the flows that it has; `None` when it is new.
    pub(super) fate: Option<Fate<'a>>,
    pub(super) before: &'a Facts,
    pub(super) after: &'a Facts,
    /// What would be in force.
    pub(super) in_force: HashMap<SocketAddr, &'a Backend>,
    pub(super) slots: &'a Shares,
}

impl Backends<'_> {
    /// Those of the files `old` and `new` that differ, and those of `in_force` that are leaving and are disturbed.
    pub(super) fn differing(&self, old: &[Backend], new: &[Backend], in_force: &[Backend]) -> Vec<BackendPreview> {
        let (old_at, new_at) = (by_address(old), by_address(new));
        let gone = || old.iter().filter(|b| !new_at.contains_key(&b.address));
        // By address, else by name: that is another server in the place of one.
        let gone_by_name: HashMap<&str, &Backend> = gone().map(|b| (&*b.name, b)).collect();
        let before = |backend: &Backend| {
            let same = old_at.get(&backend.address);
            same.or_else(|| gone_by_name.get(&*backend.name)).copied()
        };
        let mut replaced = HashSet::new();
        let mut all = Vec::new();
        for backend in new {
            let was = before(backend);
            replaced.extend(was.map(|was| was.address));
            all.push(match was {
                Some(was) => self.both(was, backend),
                None => self.one(Change::Added, None, backend),
            });
        }
        let removed = gone().filter(|b| !replaced.contains(&b.address));
        all.extend(removed.map(|b| self.one(Change::Removed, Some(b.address), b)));
        let leaving = in_force
            .iter()
            .filter(|b| b.leaving && !new_at.contains_key(&b.address));
        all.extend(leaving.map(|b| self.one(Change::Moved, Some(b.address), b)));
        all.retain(|backend| {
            let Share { gains, loses, .. } = backend.share;
            backend.change != Change::Moved || gains + loses > 0 || backend.flows != Flows::Kept
        });
        all
    }

    fn both(&self, old: &Backend, new: &Backend) -> BackendPreview {
        let keys = keys::of_backend(old, new);
        let change = if keys.is_empty() {
            Change::Moved
        } else {
            Change::Changed
        };
        let preview = self.one(change, Some(old.address), new);
        let share = if old.address == new.address {
            preview.share
        } else {
            preview.share.and(self.share(old.address))
        };
        BackendPreview { keys, share, ..preview }
    }

    /// `backend` as it is shown; its flows are those of the one at `was`.
    fn one(&self, change: Change, was: Option<SocketAddr>, backend: &Backend) -> BackendPreview {
        let fate = was.zip(self.fate.as_ref());
        let fate = fate.map(|(was, fate)| fate.of(was, self.share(was).loses));
        let (flows, known_flows) = fate.unwrap_or((Flows::Kept, 0));
        let member = MemberKey {
            service: Arc::clone(&self.service),
            backend: backend.address,
        };
        let above = self.in_force.get(&backend.address).filter(|b| !b.leaving);
        BackendPreview {
            name: Arc::clone(&backend.name),
            address: backend.address,
            change,
            keys: Vec::new(),
            weight_in_force: above.map(|b| b.weight).filter(|&weight| weight != backend.weight),
            state_in_force: above.map(|b| b.state).filter(|&state| state != backend.state),
            share: self.share(backend.address),
            supposed: self.after.probes(&member) && !self.before.probes(&member),
            flows,
            known_flows,
        }
    }

    fn share(&self, backend: SocketAddr) -> Share {
        self.slots.backends.get(&backend).copied().unwrap_or_default()
    }
}

pub(super) fn by_address(backends: &[Backend]) -> HashMap<SocketAddr, &Backend> {
    backends.iter().map(|backend| (backend.address, backend)).collect()
}

/// What becomes of the flows of a service.
pub(super) struct Fate<'a> {
    pub(super) course: Course,
    pub(super) alive_before: HashSet<SocketAddr>,
    pub(super) alive_after: HashSet<SocketAddr>,
    pub(super) drained: HashSet<SocketAddr>,
    pub(super) drains: HashSet<SocketAddr>,
    pub(super) forgets: bool,
    pub(super) name: &'a Arc<str>,
    pub(super) flowing: Flowing<'a>,
}

impl Fate<'_> {
    /// Of those that a backend has which gives so many slots away; and how many of them are known.
    fn of(&self, backend: SocketAddr, loses: u32) -> (Flows, u64) {
        let fate = if !self.alive_before.contains(&backend) {
            Flows::Kept
        } else if self.course == Course::Cut || !self.alive_after.contains(&backend) {
            Flows::Cut
        } else if self.course == Course::Reassigned || loses > 0 && self.forgets {
            Flows::Reassigned
        } else if self.drains.contains(&backend) && !self.drained.contains(&backend) {
            Flows::Draining
        } else {
            Flows::Kept
        };
        let known = match fate {
            Flows::Kept => 0,
            Flows::Draining | Flows::Reassigned | Flows::Cut => (self.flowing)(&MemberKey {
                service: Arc::clone(self.name),
                backend,
            }),
        };
        (fate, known)
    }
}
