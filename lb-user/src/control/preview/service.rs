//! One service, before and after. Pure.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::backend::{Backends, Fate, Flowing, by_address};
use super::{Side, keys};
use crate::control::held::{held, keys as all_keys};
use crate::model::preview::{Change, ServicePreview};
use crate::model::traffic::PoolMember;
use crate::model::{AdminState, Backend, Balance, Config, Health, Mode, Service, Vip};
use crate::plan::outlook::{Course, Held, Shares, course, shares};
use crate::plan::{Keys, Placement};

/// What runs, and what would.
pub(super) struct Sides<'a> {
    before: Side<'a>,
    after: Side<'a>,
    plans: &'a [Placement],
    old_keys: Keys,
    new_keys: Keys,
}

/// A service on both sides, by its name.
struct Pair<'a> {
    old: Option<&'a Service>,
    new: Option<&'a Service>,
}

impl<'a> Sides<'a> {
    pub(super) fn new(before: Side<'a>, after: Side<'a>, plans: &'a [Placement]) -> Self {
        Self {
            old_keys: all_keys(&before.facts.config),
            new_keys: all_keys(&after.facts.config),
            before,
            after,
            plans,
        }
    }

    /// The services that differ.
    pub(super) fn services(&self, flowing: Flowing<'a>) -> Vec<ServicePreview> {
        let (old, new) = (&self.before.facts.file, &self.after.facts.file);
        let both = new.services.iter().map(|service| Pair {
            old: named(old, &service.name),
            new: Some(service),
        });
        let gone = old.services.iter().filter(|s| named(new, &s.name).is_none());
        let gone = gone.map(|service| Pair {
            old: Some(service),
            new: None,
        });
        both.chain(gone)
            .filter_map(|pair| self.service(&pair, flowing))
            .collect()
    }

    fn service(&self, pair: &Pair<'_>, flowing: Flowing<'a>) -> Option<ServicePreview> {
        let (old, new) = (pair.old, pair.new);
        let service = new.or(old)?;
        // A service is where its VIPs are: what has them before and after is compared, whatever it is called.
        let before = held(self.before.maps, &self.old_keys, old.unwrap_or(service));
        let before = before.or_else(|| held(self.before.maps, &self.new_keys, service));
        let before = before.map(|decision| Held {
            maps: self.before.maps,
            decision,
        });
        let after = new.and_then(|new| held(self.after.maps, &self.new_keys, new));
        let after = after.map(|decision| Held {
            maps: self.after.maps,
            decision,
        });
        let same = matches!((before, after), (Some(b), Some(a)) if b.chooses_as(&a));
        if same && self.in_force_alike(&service.name) {
            return None;
        }
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(old), Some(new)) if old != new => Change::Changed,
            (Some(_), Some(_)) => Change::Moved,
        };
        let keys = old
            .zip(new)
            .map_or_else(Vec::new, |(old, new)| keys::of_service(old, new));
        let heir = match (old, new) {
            (Some(old), None) => self.heir(old).map(|heir| Arc::clone(&heir.name)),
            _ => None,
        };
        // What an heir takes over is said there; and the proxy has no slots to compare with.
        let proxied = [old, new].into_iter().flatten().any(Service::is_proxied);
        let slots = if heir.is_some() || proxied {
            Shares::default()
        } else {
            shares(before, after)
        };
        let mut preview = ServicePreview {
            name: Arc::clone(&service.name),
            change,
            keys,
            slots: slots.slots,
            moved: slots.moved,
            closed: old.map_or_else(Vec::new, |old| self.closed(old)),
            heir,
            backends: Vec::new(),
        };
        let in_force = old.and_then(|old| named(&self.before.facts.config, &old.name));
        let backends = Backends {
            service: Arc::clone(&service.name),
            fate: in_force.map(|old| self.fate(old, flowing)),
            before: self.before.facts,
            after: self.after.facts,
            in_force: by_address(list(named(&self.after.facts.config, &service.name))),
            slots: &slots,
        };
        preview.backends = backends.differing(list(old), list(new), list(in_force));
        let says = change != Change::Moved && !(change == Change::Changed && preview.keys.is_empty())
            || !preview.backends.is_empty();
        says.then_some(preview)
    }

    /// Does the same hold of it before and after, in the file and by commands?
    fn in_force_alike(&self, name: &str) -> bool {
        let file = |side: Side<'a>| named(&side.facts.file, name);
        let in_force = |side: Side<'a>| named(&side.facts.config, name);
        file(self.before) == file(self.after) && in_force(self.before) == in_force(self.after)
    }

    /// The service that has VIPs of `old`, which is removed.
    fn heir(&self, old: &Service) -> Option<&'a Service> {
        let mut services = self.after.facts.config.services.iter();
        services.find(|new| new.protocol == old.protocol && new.vips.iter().any(|vip| old.vips.contains(vip)))
    }

    /// VIPs of `old` that nobody has afterwards.
    fn closed(&self, old: &Service) -> Vec<Vip> {
        let leads = |vip: &&Vip| {
            let mut keys = self.old_keys.service(std::slice::from_ref(*vip), old.protocol);
            keys.any(|key| self.after.maps.entries.get(&key).is_some_and(|d| d.is_service()))
        };
        old.vips.iter().filter(|vip| !leads(vip)).copied().collect()
    }

    /// What becomes of flows that this service has, as far as its backends stay.
    fn course(&self, old: &Service, heir: Option<&Service>) -> Course {
        if old.is_pool() {
            // Routes lead to it, and packets to them.
            let stays = heir.is_some_and(Service::is_proxied);
            return if stays { Course::Kept } else { Course::Cut };
        }
        let keys = self.old_keys.service(&old.vips, old.protocol);
        let open = |key: &_| self.after.maps.entries.contains_key(key);
        let courses = keys.filter(open).map(|key| course(self.before.maps, self.plans, key));
        // Without a VIP that stays, nothing does.
        courses.max().unwrap_or(Course::Cut)
    }

    /// What becomes of the flows of this service, backend by backend.
    fn fate(&self, old: &'a Service, flowing: Flowing<'a>) -> Fate<'a> {
        let side = |side: Side<'a>, keys: &Keys, service: &'a Service| {
            if service.is_proxied() {
                let pool = side.facts.pool(service);
                let serves = |member: &&PoolMember| !member.cut && member.health != Health::Down;
                return pool.iter().filter(serves).map(|member| member.address).collect();
            }
            let decision = held(side.maps, keys, service);
            decision.map_or_else(HashSet::new, |decision| {
                Held {
                    maps: side.maps,
                    decision,
                }
                .alive()
            })
        };
        let heir = named(&self.after.facts.config, &old.name).or_else(|| self.heir(old));
        Fate {
            course: self.course(old, heir),
            alive_before: side(self.before, &self.old_keys, old),
            alive_after: heir.map_or_else(HashSet::new, |heir| side(self.after, &self.new_keys, heir)),
            drained: draining(Some(old)),
            drains: draining(heir),
            forgets: heir.is_some_and(forgets),
            name: &old.name,
            flowing,
        }
    }
}

/// Do flows follow the ring at once?
fn forgets(service: &Service) -> bool {
    let by_hash = matches!(service.balance, Balance::Maglev | Balance::SourceHash);
    by_hash && !service.track && matches!(service.mode, Mode::Dsr | Mode::Tunnel)
}

fn named<'c>(config: &'c Config, name: &str) -> Option<&'c Service> {
    config.services.iter().find(|s| *s.name == *name)
}

/// The backends of a service; none where there is no service.
fn list(service: Option<&Service>) -> &[Backend] {
    service.map_or(&[], |service| &service.backends)
}

fn draining(service: Option<&Service>) -> HashSet<SocketAddr> {
    let backends = service.iter().flat_map(|service| &service.backends);
    let draining = backends.filter(|b| b.state == AdminState::Drain);
    draining.map(|b| b.address).collect()
}
