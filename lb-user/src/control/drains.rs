//! How long backends have been draining. Pure: time is an argument.
//!
//! It is known as long as the manager runs; after a restart it counts from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{AdminState, Config, MemberKey};

/// By then every thread of the proxy has heard that a backend drains: what is under way after that is all that there will be.
pub(super) const HEARD: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Drains {
    since: BTreeMap<MemberKey, Instant>,
    over: BTreeSet<MemberKey>,
    next: Option<Instant>,
    /// Flows that were cut because a drain was over, by backend, since the manager started.
    cut: BTreeMap<MemberKey, u64>,
}

impl Drains {
    /// This configuration is in force: those whose drain has ended with this look.
    pub(super) fn observe(&mut self, config: &Config, now: Instant) -> Vec<MemberKey> {
        let before = std::mem::take(&mut self.since);
        let was_over = std::mem::take(&mut self.over);
        let mut ended = Vec::new();
        self.next = None;
        for service in &config.services {
            for backend in service.backends.iter().filter(|b| b.state == AdminState::Drain) {
                let member = MemberKey::of(service, backend);
                let since = before.get(&member).copied().unwrap_or(now);
                // One that is over stays so, whatever the file says next of how long it may take.
                let ends = service.drain_timeout.map(|timeout| since + timeout);
                if was_over.contains(&member) || ends.is_some_and(|ends| ends <= now) {
                    if !was_over.contains(&member) {
                        ended.push(member.clone());
                    }
                    self.over.insert(member.clone());
                } else if let Some(ends) = ends {
                    self.next = Some(self.next.map_or(ends, |next| next.min(ends)));
                }
                self.since.insert(member, since);
            }
        }
        ended
    }

    /// Since when a backend drains.
    pub(super) fn since(&self, member: &MemberKey) -> Option<Instant> {
        self.since.get(member).copied()
    }

    /// Has the proxy heard that a backend drains?
    pub(super) fn is_heard(&self, member: &MemberKey, now: Instant) -> bool {
        self.since(member).is_some_and(|since| since + HEARD <= now)
    }

    /// Those whose drain is over: they are cut off from their flows.
    pub(super) fn over(&self) -> &BTreeSet<MemberKey> {
        &self.over
    }

    /// When the next one is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// So many flows are cut.
    pub(super) fn cut(&mut self, member: MemberKey, flows: u64) {
        *self.cut.entry(member).or_default() += flows;
    }

    /// How many flows of a backend have been cut.
    pub(super) fn cut_of(&self, member: &MemberKey) -> u64 {
        self.cut.get(member).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(state: &str, timeout: &str) -> Config {
        let toml = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\n\
                    address = \"192.0.2.10:80\"\nmode = \"dsr\"\n[[service.backend]]\naddress = \"10.0.0.1:80\"\n";
        let mut config = crate::config::parse("test.toml", toml).unwrap().config;
        let service = &mut config.services[0];
        service.drain_timeout = (timeout != "never").then(|| Duration::from_secs(timeout.parse().unwrap()));
        service.backends[0].state = AdminState::ALL.into_iter().find(|s| s.label() == state).unwrap();
        config
    }

    #[test]
    fn a_drain_ends_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut drains = Drains::default();
        assert!(drains.observe(&config("active", "60"), at(0)).is_empty() && drains.next().is_none());
        assert!(drains.observe(&config("drain", "60"), at(10)).is_empty());
        assert_eq!(drains.next(), Some(at(70)));
        assert!(drains.observe(&config("drain", "60"), at(69)).is_empty());
        assert_eq!(drains.observe(&config("drain", "60"), at(70)).len(), 1);
        assert!(drains.observe(&config("drain", "600"), at(71)).is_empty(), "said once");
        assert!(drains.over().len() == 1 && drains.next().is_none());
        // Back in service, and out again: from the beginning.
        drains.observe(&config("active", "60"), at(80));
        assert!(drains.over().is_empty());
        assert!(drains.observe(&config("drain", "60"), at(90)).is_empty());
        assert_eq!(drains.next(), Some(at(150)));
        assert!(drains.observe(&config("drain", "never"), at(1_000_000)).is_empty());
        assert_eq!(drains.next(), None);
    }
}
