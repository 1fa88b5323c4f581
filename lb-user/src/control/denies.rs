//! Prefixes that commands deny, whatever the file allows. Pure: time is an argument; the daemon keeps them on the disk.
//!
//! A prefix is denied by all services, or by one of them, known by its name; each of these has an end of its own, or none.
//! What a service denies that leaves the file stays known, without effect until the service comes back: a reload is no
//! reason to let anybody in.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use crate::model::protection::Deny;
use crate::model::{Prefix, count};

/// The most that are denied, of all services and of each together: 65,536. More belongs into files of `[protection]`, which are
/// read once, where each command writes all of them.
pub const MOST: usize = 65_536;

/// There are [`MOST`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{MOST} prefixes are denied at run time, and more cannot be: remove some, or list them in `deny` of [protection]"
)]
pub struct Full;

/// This is not denied. `Display` says what is denied nearby.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{prefix} is not denied by {}; {near}", By(service.as_deref()))]
pub struct NotDenied {
    prefix: Prefix,
    service: Option<Arc<str>>,
    near: String,
}

/// All that is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denies {
    /// By all services (`None`), or by one. Shared, as copies are made of all with each command.
    by: BTreeMap<Option<Arc<str>>, Arc<DeniedBy>>,
}

/// What all services deny, or one. Never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DeniedBy {
    until: BTreeMap<Prefix, Option<SystemTime>>,
    /// The prefixes of `until`.
    list: Arc<[Prefix]>,
    /// When the first of them ends.
    next: Option<SystemTime>,
}

impl Denies {
    /// All of them: first those of all services, then by service, in the order of the prefixes.
    pub fn iter(&self) -> impl Iterator<Item = Deny> {
        self.by.iter().flat_map(|(service, by)| {
            by.until.iter().map(|(&prefix, &until)| Deny {
                prefix,
                service: service.clone(),
                until,
            })
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by.values().map(|by| by.until.len()).sum()
    }

    /// Is nothing denied?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by.is_empty()
    }

    /// When the first of them ends.
    pub(super) fn next(&self) -> Option<SystemTime> {
        self.by.values().filter_map(|by| by.next).min()
    }

    /// The prefixes that all services deny, or this one alone.
    pub(super) fn list(&self, service: Option<&Arc<str>>) -> Arc<[Prefix]> {
        let by = self.by.get(&service.cloned());
        by.map(|by| Arc::clone(&by.list)).unwrap_or_default()
    }

    /// Does a service of this name deny anything by itself?
    pub(super) fn names(&self, service: &Arc<str>) -> bool {
        self.by.contains_key(&Some(Arc::clone(service)))
    }

    /// Adds one, in the place of one of the same prefix and service: that one.
    ///
    /// # Errors
    /// [`Full`], and nothing has changed.
    pub fn add(&mut self, deny: Deny) -> Result<Option<Deny>, Full> {
        let prefix = deny.prefix.cleared();
        let before = self.find(prefix, deny.service.as_ref());
        if before.is_none() && self.len() >= MOST {
            return Err(Full);
        }
        let by = Arc::make_mut(self.by.entry(deny.service).or_default());
        by.until.insert(prefix, deny.until);
        by.settle();
        Ok(before)
    }

    /// Removes one: that one.
    ///
    /// # Errors
    /// [`NotDenied`]
    pub fn remove(&mut self, prefix: Prefix, service: Option<&Arc<str>>) -> Result<Deny, NotDenied> {
        let prefix = prefix.cleared();
        let Some(found) = self.find(prefix, service) else {
            return Err(NotDenied {
                prefix,
                service: service.cloned(),
                near: self.near(prefix, service),
            });
        };
        self.take_out(service, |by| by.until.remove(&prefix));
        Ok(found)
    }

    /// Removes those that have ended.
    pub fn expire(&mut self, now: SystemTime) -> Vec<Deny> {
        let over = |until: Option<SystemTime>| until.is_some_and(|until| until <= now);
        if !over(self.next()) {
            return Vec::new();
        }
        let ended: Vec<Deny> = self.iter().filter(|deny| over(deny.until)).collect();
        let services: Vec<_> = self
            .by
            .iter()
            .filter(|(_, by)| over(by.next))
            .map(|(service, _)| service.clone())
            .collect();
        for service in services {
            self.take_out(service.as_ref(), |by| by.until.retain(|_, until| !over(*until)));
        }
        ended
    }

    /// The longest prefix that denies all of this one, besides itself.
    pub(super) fn covering(&self, prefix: Prefix, service: Option<&Arc<str>>) -> Option<Deny> {
        let shorter = |length| Prefix { ip: prefix.ip, length }.cleared();
        (0..=prefix.length).rev().map(shorter).find_map(|shorter| {
            // Who is denied by all is denied by each.
            let by_all = self
                .find(shorter, None)
                .filter(|_| shorter != prefix || service.is_some());
            by_all.or_else(|| self.find(shorter, service).filter(|_| shorter != prefix))
        })
    }

    fn find(&self, prefix: Prefix, service: Option<&Arc<str>>) -> Option<Deny> {
        let service = service.cloned();
        let until = *self.by.get(&service)?.until.get(&prefix)?;
        Some(Deny { prefix, service, until })
    }

    fn take_out<T>(&mut self, service: Option<&Arc<str>>, out: impl FnOnce(&mut DeniedBy) -> T) {
        let key = service.cloned();
        if let Some(by) = self.by.get_mut(&key) {
            let by = Arc::make_mut(by);
            out(by);
            by.settle();
            if by.until.is_empty() {
                self.by.remove(&key);
            }
        }
    }

    /// What is denied that somebody may have meant who says `prefix`.
    fn near(&self, prefix: Prefix, service: Option<&Arc<str>>) -> String {
        if self.is_empty() {
            return "nothing is denied at run time".to_owned();
        }
        if service.is_none() {
            let with = |by: &&Option<Arc<str>>| by.is_some() && self.find(prefix, by.as_ref()).is_some();
            let mut services = self.by.keys().filter(with).flatten();
            if let Some(first) = services.next() {
                return match services.count() {
                    0 => format!("{first} denies it by itself: name the service"),
                    more => format!(
                        "{first} and {} deny it by themselves: name one",
                        count(more, "other service")
                    ),
                };
            }
        }
        let by_one = || {
            self.by
                .keys()
                .flatten()
                .find_map(|one| self.covering(prefix, Some(one)))
        };
        let holds = self
            .covering(prefix, service)
            .or_else(|| by_one().filter(|_| service.is_none()));
        if let Some(Deny {
            prefix: shorter,
            service: by,
            ..
        }) = holds
        {
            return if shorter == prefix {
                "it is by all services: name no service".to_owned()
            } else {
                format!("{shorter} holds it, denied by {}", By(by.as_deref()))
            };
        }
        match self.within(prefix, service) {
            (0, _) => "nothing near it is".to_owned(),
            (1, first) => format!("{first} within it is"),
            (more, first) => format!("{} within it are, such as {first}", count(more, "prefix")),
        }
    }

    /// How many prefixes within this one all services or this one deny, and the first of them.
    fn within(&self, prefix: Prefix, service: Option<&Arc<str>>) -> (usize, Prefix) {
        let Some(by) = self.by.get(&service.cloned()) else {
            return (0, prefix);
        };
        let longer = by.until.range((Bound::Excluded(prefix), Bound::Unbounded));
        let mut within = longer
            .map(|(longer, _)| *longer)
            .take_while(|longer| prefix.holds(longer.ip));
        match within.next() {
            Some(first) => (1 + within.count(), first),
            None => (0, prefix),
        }
    }
}

impl DeniedBy {
    /// After a change of `until`.
    fn settle(&mut self) {
        self.list = self.until.keys().copied().collect();
        self.next = self.until.values().flatten().min().copied();
    }
}

impl FromIterator<Deny> for Denies {
    /// Of two for the same prefix and service the later one counts.
    fn from_iter<I: IntoIterator<Item = Deny>>(denies: I) -> Self {
        let mut by: BTreeMap<Option<Arc<str>>, DeniedBy> = BTreeMap::new();
        for Deny { prefix, service, until } in denies {
            by.entry(service).or_default().until.insert(prefix.cleared(), until);
        }
        let settled = by.into_iter().map(|(service, mut by)| {
            by.settle();
            (service, Arc::new(by))
        });
        Self { by: settled.collect() }
    }
}

/// Who denies.
struct By<'a>(Option<&'a str>);

impl Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("all services"))
    }
}

#[cfg(test)]
mod tests;
