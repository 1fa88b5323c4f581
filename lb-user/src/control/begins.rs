//! When services that are new begin to serve. Pure: time is an argument.
//!
//! What is known of backends comes one by one. A ring that served the first of them at once would be all his, and the
//! others would take their slots over while flows stay where they began: with UDP, all of them for `idle-timeout`. So a
//! service that the maps did not hold waits until something is known of each of its backends, but not for longer than
//! [`PATIENCE`]; then all slots are given to those that can serve, and none of them moves. While more and more is heard of
//! anybody, the node is still asking, and it waits a little longer: a ring that changes with every answer costs a busy node
//! more than the wait. And as long as there is nobody who can serve, nothing is gained by an end.
//!
//! A service that the maps hold, from an earlier run or under another configuration, does not wait. Nor does one of the
//! proxy, which has no ring.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Config, Protocol, Service, Vip};

/// Longest wait, from the first plan that has the service. The kernel asks for a neighbour again after a second, where the
/// first question or its answer was lost.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

/// From something that is heard for the first time: so long is more expected.
const MORE: Duration = Duration::from_millis(500);

/// Longest wait in all.
const MOST: Duration = Duration::from_secs(10);

/// What makes a service another one: its name, and where it is reached.
type Identity = (Arc<str>, Vec<Vip>, Protocol);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Begins {
    /// Services that were new, and how long they wait; `None` when they have begun.
    new: BTreeMap<Identity, Option<Wait>>,
    /// How much was known at the last look.
    known: usize,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Not less than this.
    least: Instant,
    until: Instant,
    /// However much more is heard.
    most: Instant,
}

impl Begins {
    /// The services that wait, of the configuration that is in force. `holds` says whether the maps hold a service,
    /// `is_known` whether something is known of each of its backends.
    pub(super) fn observe(
        &mut self,
        config: &Config,
        holds: impl Fn(&Service) -> bool,
        is_known: impl Fn(&Service) -> bool,
        now: Instant,
    ) -> BTreeSet<Arc<str>> {
        let mut before = std::mem::take(&mut self.new);
        let mut waiting = BTreeSet::new();
        for service in config.balanced() {
            let identity = (Arc::clone(&service.name), service.vips.clone(), service.protocol);
            let until = match before.remove(&identity) {
                Some(until) => until,
                None if holds(service) => continue,
                None => Some(Wait {
                    least: now + PATIENCE,
                    until: now + PATIENCE,
                    most: now + MOST,
                }),
            };
            let until = until.filter(|_| !is_known(service));
            if until.is_some() {
                waiting.insert(Arc::clone(&service.name));
            }
            self.new.insert(identity, until);
        }
        waiting
    }

    /// Those have begun that have waited for long enough, when so much is `known` of all backends together, and those
    /// services, by name, have a backend that `serves`.
    pub(super) fn end(&mut self, known: usize, serves: impl Fn(&str) -> bool, now: Instant) {
        let more = known > std::mem::replace(&mut self.known, known);
        for ((name, ..), waiting) in &mut self.new {
            let Some(wait) = waiting else { continue };
            if more {
                wait.until = wait.least.max(now + MORE).min(wait.most);
            }
            if now >= wait.until && now < wait.most && !serves(name) {
                wait.until = wait.most;
            }
            *waiting = waiting.filter(|wait| now < wait.until);
        }
    }

    /// When the next one begins, whatever is known by then.
    pub(super) fn next(&self) -> Option<Instant> {
        self.new.values().flatten().map(|wait| wait.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(names: &[&str]) -> Config {
        let service = |(i, name): (usize, &&str)| {
            format!(
                "[[service]]\nname = \"{name}\"\naddress = \"192.0.2.{i}:80\"\nmode = \"dsr\"\n[[service.backend]]\naddress = \"10.0.0.1:80\"\n"
            )
        };
        let services: String = names.iter().enumerate().map(service).collect();
        let toml = format!("[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n{services}");
        crate::config::parse("test.toml", &toml)
            .unwrap_or_else(|e| panic!("{e}"))
            .config
    }

    fn names(waiting: &BTreeSet<Arc<str>>) -> Vec<&str> {
        waiting.iter().map(|name| &**name).collect()
    }

    #[test]
    fn new_services_wait_until_all_is_known_or_for_too_long() {
        let start = Instant::now();
        let mut begins = Begins::default();
        let config = config(&["held", "known", "new", "slow"]);
        let mut look = |maps: &[&str], known: &[&str], after: Duration| {
            begins.end(0, |_| true, start + after);
            let waiting = begins.observe(
                &config,
                |service| maps.contains(&&*service.name),
                |service| known.contains(&&*service.name),
                start + after,
            );
            (names(&waiting).join(" "), begins.next())
        };
        let until = Some(start + PATIENCE);
        let millis = Duration::from_millis;
        assert_eq!(look(&["held"], &["known"], millis(0)), ("new slow".into(), until));
        let all = ["held", "known", "new", "slow"];
        assert_eq!(look(&all, &["known"], millis(500)), ("new slow".into(), until));
        assert_eq!(look(&all, &["known", "new"], millis(900)), ("slow".into(), until));
        // What is not known any more makes nobody wait who has begun.
        assert_eq!(look(&all, &[], millis(1499)), ("slow".into(), until));
        assert_eq!(look(&all, &[], PATIENCE), (String::new(), None));
        assert_eq!(look(&[], &[], PATIENCE), ("held".into(), Some(start + PATIENCE * 2)));
    }

    #[test]
    fn services_wait_longer_while_more_is_heard() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut begins = Begins::default();
        let config = config(&["new"]);
        begins.observe(&config, |_| false, |_| false, start);
        begins.end(5, |_| true, at(900));
        assert_eq!(
            begins.next(),
            Some(start + PATIENCE),
            "nothing but what it waits for anyway"
        );
        begins.end(6, |_| true, at(1400));
        assert_eq!(begins.next(), Some(at(1900)));
        begins.end(6, |_| true, at(1800));
        assert_eq!(begins.next(), Some(at(1900)), "no news");
        for (known, millis) in (7..).zip((1800..=9800).step_by(400)) {
            begins.end(known, |_| true, at(millis));
        }
        assert_eq!(begins.next(), Some(start + MOST));
        begins.end(100, |_| true, start + MOST);
        assert_eq!(begins.next(), None);
    }

    #[test]
    fn nobody_is_first_because_he_is_the_first_to_be_known() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut begins = Begins::default();
        begins.observe(&config(&["new"]), |_| false, |_| false, start);
        begins.end(0, |_| false, at(1500));
        assert_eq!(begins.next(), Some(start + MOST), "nobody is there yet");
        begins.end(0, |_| false, at(1600));
        begins.end(1, |name| name == "new", at(2000));
        assert_eq!(begins.next(), Some(at(2500)), "somebody is, and others may be");
        begins.end(1, |_| true, at(2500));
        assert_eq!(begins.next(), None);
        // Not for ever.
        let mut begins = Begins::default();
        begins.observe(&config(&["new"]), |_| false, |_| false, start);
        begins.end(0, |_| false, at(1500));
        begins.end(0, |_| false, start + MOST);
        assert_eq!(begins.next(), None);
    }

    #[test]
    fn a_service_that_has_left_is_new_when_it_comes_back() {
        let start = Instant::now();
        let mut begins = Begins::default();
        let (both, one) = (config(&["one", "two"]), config(&["one"]));
        let mut look = |config, maps: &[&str]| {
            let holds = |service: &Service| maps.contains(&&*service.name);
            let waiting = begins.observe(config, holds, |_| false, start);
            names(&waiting).join(" ")
        };
        assert_eq!(look(&both, &["one"]), "two");
        assert_eq!(look(&one, &["one", "two"]), "");
        assert_eq!(look(&both, &["one"]), "two");
    }
}
