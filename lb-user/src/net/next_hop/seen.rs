//! What many targets have in common: the neighbour entries that they need, and what one look has just seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::super::link::Link;
use super::super::neighbour::{Key, Neighbour};
use super::super::{Error, Net};

/// Which target needs which entry.
#[derive(Debug, Default)]
pub(super) struct Needs {
    entries: HashMap<IpAddr, Key>,
    targets: BTreeMap<Key, BTreeSet<IpAddr>>,
}

impl Needs {
    /// A target needs this entry from now on, and no other: the one that nobody needs any more.
    pub(super) fn set(&mut self, target: IpAddr, entry: Option<Key>) -> Option<Key> {
        let before = match entry {
            Some(entry) => self.entries.insert(target, entry),
            None => self.entries.remove(&target),
        };
        if before == entry {
            return None;
        }
        if let Some(entry) = entry {
            self.targets.entry(entry).or_default().insert(target);
        }
        let before = before?;
        let targets = self.targets.get_mut(&before)?;
        targets.remove(&target);
        if !targets.is_empty() {
            return None;
        }
        self.targets.remove(&before);
        Some(before)
    }

    /// The targets that need an entry.
    pub(super) fn of(&self, entry: Key) -> impl Iterator<Item = IpAddr> {
        self.targets.get(&entry).into_iter().flatten().copied()
    }
}

/// Interfaces and neighbours as they were seen since the last message of the kernel: thousands of targets may share a
/// router, and asking for each of them costs as much as the route. Whoever holds it forgets it when anything may have
/// changed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    links: HashMap<u32, Option<Link>>,
    neighbours: HashMap<Key, Option<Neighbour>>,
}

impl Seen {
    /// Anything may have changed.
    pub(super) fn forget(&mut self) {
        self.links.clear();
        self.neighbours.clear();
    }

    /// As [`Net::link_at`].
    pub(super) async fn link(&mut self, net: &Net, index: u32) -> Result<Option<Link>, Error> {
        if let Some(link) = self.links.get(&index) {
            return Ok(link.clone());
        }
        let link = net.link_at(index).await?;
        self.links.insert(index, link.clone());
        Ok(link)
    }

    /// As [`Net::neighbour`].
    pub(super) async fn neighbour(&mut self, net: &Net, key: Key) -> Result<Option<Neighbour>, Error> {
        match self.neighbours.get(&key) {
            Some(entry) => Ok(*entry),
            None => self.neighbour_now(net, key).await,
        }
    }

    /// The same of one that has just been changed.
    pub(super) async fn neighbour_now(&mut self, net: &Net, key: Key) -> Result<Option<Neighbour>, Error> {
        let entry = net.neighbour(key).await?;
        self.neighbours.insert(key, entry);
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_goes_with_the_last_target_that_needs_it() {
        let target = |last| IpAddr::from([10, 0, 0, last]);
        let key = |last| Key {
            interface: 3,
            ip: target(last),
        };
        let mut needs = Needs::default();
        assert_eq!(needs.set(target(1), Some(key(254))), None);
        assert_eq!(needs.set(target(2), Some(key(254))), None);
        assert_eq!(needs.of(key(254)).collect::<Vec<_>>(), [target(1), target(2)]);
        assert_eq!(needs.set(target(1), Some(key(254))), None, "that is no news");
        assert_eq!(needs.set(target(1), Some(key(253))), None, "another one needs it");
        assert_eq!(needs.set(target(2), None), Some(key(254)));
        assert_eq!(needs.set(target(2), None), None);
        assert_eq!(needs.set(target(1), Some(key(252))), Some(key(253)));
        assert_eq!(needs.of(key(253)).count(), 0);
    }
}
