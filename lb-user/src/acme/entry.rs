//! One certificate: what serves, when another one is due, and what became of the last tries.

mod outcome;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::leaf::Leaf;
use super::order::Obtained;
use super::schedule::{Failures, Held, Window, due};
use super::store::{Attempts, Fault, Store, account_name};
use super::{ASK, ASK_AGAIN, folder, keys, shared, usable};
use crate::model::Config;
use crate::model::acme::{Acme, CertificateStatus, Doing, Issued, Origin, Step};

/// Wait before something is written again that could not be, in seconds.
const WRITE_AGAIN: u64 = 10;

/// See the module.
pub(super) struct Entry {
    pub(super) acme: Arc<Acme>,
    pub(super) store: Store,
    pub(super) folder: PathBuf,
    /// Of the service.
    pub(super) addresses: Vec<IpAddr>,
    held: Option<(Issued, Leaf)>,
    stand_in: Option<Issued>,
    attempts: Attempts,
    window: Option<Window>,
    /// When the authority is asked about the window.
    ask_at: u64,
    doing: Doing,
    /// The authority is being asked when it wants a renewal.
    asking: bool,
    /// A command is being done that asks it something.
    commanded: bool,
    /// A command wants another one.
    forced: bool,
    /// What serves is not on the disk, and is written at this time.
    write_at: Option<u64>,
    issued: u64,
    failed: BTreeMap<Step, u64>,
}

impl Entry {
    /// What is on the disk, and a stand-in where nothing is.
    pub(super) fn load(service: &str, acme: Arc<Acme>, config: &Config) -> Self {
        let folder = folder(&acme, config);
        let store = Store::new(folder.clone());
        let found = store
            .certificate(service)
            .map_err(|fault| fault.to_string())
            .and_then(|issued| {
                let usable = |issued: Issued| {
                    let leaf = usable(&issued).map_err(|reason| format!("{}: {reason}", issued.file.display()))?;
                    Ok::<_, String>((issued, leaf))
                };
                issued.map(usable).transpose()
            });
        let held = found.unwrap_or_else(|reason| {
            tracing::error!(
                service,
                reason,
                "a certificate that is kept cannot be used; another one is ordered"
            );
            None
        });
        let stand_in = held.is_none().then(|| keys::stand_in(&acme.domains));
        let stand_in = stand_in.transpose().unwrap_or_else(|reason| {
            tracing::error!(
                service,
                reason,
                "no certificate can stand in; the service waits for one that is issued"
            );
            None
        });
        let mut of_service = config.services.iter().filter(|candidate| *candidate.name == *service);
        let addresses = of_service
            .next()
            .map(|service| service.vips.iter().map(|vip| vip.ip).collect());
        Self {
            attempts: store.attempts(service),
            store,
            folder,
            addresses: addresses.unwrap_or_default(),
            acme,
            held,
            stand_in,
            window: None,
            ask_at: 0,
            doing: Doing::Waiting,
            asking: false,
            commanded: false,
            forced: false,
            write_at: None,
            issued: 0,
            failed: BTreeMap::new(),
        }
    }

    /// What clients get.
    pub(super) fn serves(&self) -> Option<Issued> {
        self.issued().or(self.stand_in.as_ref()).cloned()
    }

    /// What an authority has signed.
    pub(super) fn issued(&self) -> Option<&Issued> {
        self.held.as_ref().map(|(issued, _)| issued)
    }

    pub(super) fn leaf(&self) -> Option<&Leaf> {
        self.held.as_ref().map(|(_, leaf)| leaf)
    }

    /// Do other nodes look into its folder?
    pub(super) fn is_shared(&self) -> bool {
        self.acme.authority.storage.is_some()
    }

    /// Whose account it is ordered with.
    pub(super) fn account_key(&self) -> (PathBuf, String) {
        (self.folder.clone(), account_name(&self.acme.authority))
    }

    pub(super) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    fn schedule(&self) -> Option<Held> {
        self.leaf().map(|leaf| Held {
            not_before: leaf.validity.not_before,
            not_after: leaf.validity.not_after,
            fits: leaf.fits(&self.acme) && self.attempts.revoked.as_ref() != Some(&leaf.digest()),
        })
    }

    fn due(&self) -> u64 {
        let failures = Failures {
            count: self.attempts.failures,
            last: self.attempts.last.unwrap_or_default(),
            until: self.attempts.until,
        };
        let chance = self.leaf().map_or(0.5, Leaf::chance);
        due(self.schedule(), self.window, failures, chance)
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.forced || self.due() <= now
    }

    /// Is the authority to be asked when it wants a renewal?
    pub(super) fn asks(&self, now: u64) -> bool {
        self.held.is_some() && self.ask_at <= now
    }

    pub(super) fn is_busy(&self) -> bool {
        self.asking || self.is_taken()
    }

    /// Has something begun that no command may come between?
    pub(super) fn is_taken(&self) -> bool {
        self.commanded || self.doing == Doing::Ordering
    }

    pub(super) fn begins(&mut self) {
        self.doing = Doing::Ordering;
        self.forced = false;
    }

    pub(super) fn begins_to_ask(&mut self) {
        self.asking = true;
    }

    /// A command begins.
    pub(super) fn obeys(&mut self) {
        self.commanded = true;
    }

    /// The authority has answered it.
    pub(super) fn answered(&mut self) {
        self.commanded = false;
    }

    /// Why a certificate from elsewhere does not serve; `None`: it does.
    pub(super) fn refuses(&self, leaf: &Leaf, now: u64) -> Option<String> {
        if leaf.validity.not_after < now {
            return Some("it has expired".to_owned());
        }
        let missing: Vec<&str> = self
            .acme
            .domains
            .iter()
            .map(|domain| &**domain)
            .filter(|domain| !leaf.names.iter().any(|n| n == domain))
            .collect();
        if !missing.is_empty() {
            return Some(format!("it is not for {}", missing.join(", ")));
        }
        let older = |held: &Leaf| held.fits(&self.acme) && leaf.validity.not_before < held.validity.not_before;
        self.leaf()
            .is_some_and(older)
            .then(|| "the one that serves was issued later".to_owned())
    }

    /// It is this node that orders.
    pub(super) fn here(&mut self) {
        self.doing = Doing::Waiting;
    }

    /// It is another one. What was begun comes to its end.
    pub(super) fn elsewhere(&mut self) {
        if self.doing == Doing::Waiting {
            self.doing = Doing::Elsewhere;
            // What a command has asked for here is not done when this node's turn comes, long after.
            self.forced = false;
        }
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        self.doing == Doing::Elsewhere
    }

    /// The authority does not want to hear of it until then.
    pub(super) fn waits_until(&self, now: u64) -> Option<u64> {
        (self.attempts.until > now).then_some(self.attempts.until)
    }

    /// A command wants another one.
    pub(super) fn force(&mut self) {
        self.forced = self.doing != Doing::Ordering;
    }

    /// Takes one that comes from elsewhere, if it is better than what is there. `keep`: it is to be written.
    pub(super) fn take(&mut self, issued: Issued, keep: bool) -> bool {
        if self.issued() == Some(&issued) {
            return false;
        }
        let Ok(leaf) = usable(&issued) else { return false };
        if !shared::beats(&leaf, self.leaf(), &self.acme) {
            return false;
        }
        self.set(issued, leaf);
        self.write_at = keep.then_some(0);
        true
    }

    /// Serves one that a command brings, and keeps it.
    pub(super) fn put(&mut self, issued: Issued, leaf: Leaf) {
        self.set(issued, leaf);
        self.attempts.failures = 0;
        self.attempts.error = None;
        self.write_at = Some(0);
    }

    fn set(&mut self, issued: Issued, leaf: Leaf) {
        self.held = Some((issued, leaf));
        self.stand_in = None;
        self.window = None;
        self.ask_at = 0;
    }

    /// It is no good any more, and another one is ordered. Until then it serves.
    pub(super) fn revoked(&mut self, leaf: &Leaf) {
        self.attempts.revoked = Some(leaf.digest());
        self.attempts.failures = 0;
    }

    pub(super) fn status(&self, service: &str) -> CertificateStatus {
        let time = |second: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(second));
        let leaf = self.leaf();
        CertificateStatus {
            service: service.into(),
            domains: self.acme.domains.clone(),
            directory: Arc::clone(&self.acme.authority.directory),
            challenge: self.acme.challenge,
            origin: if leaf.is_some() {
                Origin::Issued
            } else {
                Origin::StandIn
            },
            not_before: leaf.and_then(|leaf| time(leaf.validity.not_before)),
            not_after: leaf.and_then(|leaf| time(leaf.validity.not_after)),
            renew_at: if self.is_elsewhere() { None } else { time(self.due()) },
            suggested: self.window.is_some(),
            doing: self.doing,
            last_attempt: self.attempts.last.and_then(time),
            last_error: self.attempts.error.clone(),
            failures: self.attempts.failures,
            issued: self.issued,
            failed: self.failed.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::tests::pem_of;
    use crate::model::Hidden;
    use crate::model::acme::Failure;

    /// In the middle of 2026.
    const NOW: u64 = 1_782_000_000;

    fn config(folder: &std::path::Path) -> Config {
        let text = format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nstate-dir = \"{}\"\n[[service]]\nname = \"web\"\n\
             address = \"192.0.2.10:443\"\nmode = \"proxy\"\n[service.tls]\n\
             acme = {{ domains = [\"a.example\"], directory = \"https://ca.example/\" }}\n",
            folder.display()
        );
        crate::config::parse("x.toml", &text)
            .unwrap_or_else(|error| panic!("{error}"))
            .config
    }

    fn load(folder: &std::path::Path) -> Entry {
        let config = config(folder);
        let (service, acme) = crate::acme::wanted(&config).next().unwrap();
        Entry::load(&service, acme, &config)
    }

    fn issued(entry: &Entry, names: &[&str], year: i32) -> Issued {
        Issued {
            pem: Arc::new(Hidden(pem_of(names, year))),
            file: entry.store.certificate_file("web").into(),
        }
    }

    fn failure(step: Step, wait: Option<u64>) -> Failure {
        Failure {
            step,
            domain: "a.example".into(),
            reason: "no".to_owned(),
            wait: wait.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_stand_in_serves_until_there_is_one_and_failures_change_nothing_about_what_serves() {
        let folder = tempfile::tempdir().unwrap();
        let mut entry = load(folder.path());
        assert!(entry.serves().is_some() && entry.issued().is_none() && entry.is_due(NOW));
        entry.begins();
        entry.obtained(Err(failure(Step::Challenge, None)), NOW);
        assert!(!entry.is_due(NOW + 5) && entry.is_due(NOW + 20));
        let good = issued(&entry, &["a.example"], 2026);
        entry.obtained(
            Ok(Obtained {
                issued: good.clone(),
                kept: Ok(()),
            }),
            NOW,
        );
        assert_eq!(entry.serves(), Some(good.clone()));
        // Of a year, two thirds have not passed.
        assert!(!entry.is_due(NOW) && entry.status("web").last_error.is_none());
        entry.force();
        assert!(entry.is_due(NOW));
        entry.begins();
        entry.obtained(Err(failure(Step::Order, Some(3_600))), NOW);
        assert_eq!(entry.serves(), Some(good));
        assert_eq!(entry.waits_until(NOW), Some(NOW + 3_600));
        let status = entry.status("web");
        assert_eq!(status.last_error.as_deref(), Some("a.example, step order: no"));
        assert_eq!(status.failed, [(Step::Challenge, 1), (Step::Order, 1)].into());
    }

    #[test]
    fn what_could_not_be_written_serves_and_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut entry = load(folder.path());
        let good = issued(&entry, &["a.example"], 2026);
        let kept = Err(failure(Step::Storage, None));
        entry.obtained(
            Ok(Obtained {
                issued: good.clone(),
                kept,
            }),
            NOW,
        );
        assert_eq!(entry.serves(), Some(good.clone()));
        assert_eq!(
            (entry.unkept(NOW + 9), entry.unkept(NOW + 10)),
            (None, Some(good.clone()))
        );
        assert_eq!(entry.unkept(NOW + 99), None, "it is being written");
        entry.kept(Err("full".to_owned()));
        assert!(
            entry
                .status("web")
                .last_error
                .unwrap()
                .contains("forgotten by a restart: full")
        );
        entry.store.keep_certificate("web", &good).unwrap();
        entry.kept(Ok(()));
        assert_eq!(load(folder.path()).serves(), Some(good));
    }

    #[test]
    fn one_that_is_taken_back_serves_and_is_ordered_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut entry = load(folder.path());
        let good = issued(&entry, &["a.example"], 2026);
        assert!(entry.take(good.clone(), true));
        assert!(!entry.is_due(NOW));
        let leaf = entry.leaf().unwrap().clone();
        entry.revoked(&leaf);
        assert!(entry.is_due(NOW) && entry.serves() == Some(good));
    }

    #[test]
    fn of_those_that_come_from_elsewhere_the_better_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut entry = load(folder.path());
        let (old, new) = (
            issued(&entry, &["a.example"], 2025),
            issued(&entry, &["a.example"], 2026),
        );
        assert!(entry.take(new.clone(), true) && !entry.take(old.clone(), true) && !entry.take(new.clone(), true));
        let broken = Issued {
            pem: Arc::new(Hidden(b"nonsense".to_vec())),
            ..new.clone()
        };
        assert!(!entry.take(broken, true));
        assert_eq!(entry.serves(), Some(new));
        // A command may not put an older one in its place, nor one that is over or for somebody else.
        let refused = |issued: &Issued| entry.refuses(&usable(issued).unwrap(), NOW);
        assert_eq!(refused(&old).as_deref(), Some("it has expired"));
        let other = issued(&entry, &["b.example"], 2026);
        assert_eq!(refused(&other).as_deref(), Some("it is not for a.example"));
    }

    /// That an authority is asked when to renew keeps no command waiting.
    #[test]
    fn a_command_waits_for_orders_and_other_commands_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut entry = load(folder.path());
        assert!(!entry.is_busy());
        entry.begins_to_ask();
        assert!(entry.is_busy() && !entry.is_taken());
        entry.obeys();
        assert!(entry.is_taken());
        entry.answered();
        assert!(!entry.is_taken());
        entry.begins();
        assert!(entry.is_taken());
        // Neither of the two is left behind by a task that is gone.
        entry.obeys();
        entry.is_lost(NOW);
        assert!(!entry.is_busy());
    }
}
