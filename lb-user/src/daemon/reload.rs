//! Taking a new configuration, or refusing it whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::hosts::Known;
use super::machine::{self, Confirmed};
use crate::api::Token;
use crate::config::hosts::{Hosts, names, resolve};
use crate::config::{self, ConfigError, Files, Parsed};
use crate::control::ReloadRefused;
use crate::model::status::Reloads;
use crate::model::{Balance, Config, Mode, Service};
use crate::net::Net;

/// A configuration to run.
pub(super) struct Taken {
    /// With the addresses of its hosts.
    pub(super) config: Arc<Config>,
    /// Is it another one than before?
    pub(super) changed: bool,
    /// That the file names.
    pub(super) token: Option<Token>,
}

/// Why a file is not taken.
enum Refusal {
    /// For itself.
    OfFile(ReloadRefused),
    /// For what this machine does not keep at the moment.
    OfMachine(ReloadRefused),
}

impl From<ReloadRefused> for Refusal {
    fn from(reason: ReloadRefused) -> Self {
        Self::OfFile(reason)
    }
}

/// The file, and what of it runs.
pub(super) struct Reload {
    path: PathBuf,
    net: Net,
    /// As it was read.
    running: Arc<Config>,
    /// With the addresses of its hosts.
    resolved: Arc<Config>,
    known: Known,
    /// What was read last, accepted or not.
    seen: Option<Vec<u8>>,
    /// The files that were read with it.
    files: Files,
    /// That was refused for what this machine is like, which may change without the file.
    pending: bool,
    results: Reloads,
}

impl Reload {
    /// Of the file at `path`, which was read and runs.
    pub(super) fn new(path: &Path, net: Net, read: &Parsed, mut known: Known) -> Self {
        let running = Arc::new(read.config.clone());
        known.keep(&names(&running));
        Self {
            path: path.to_owned(),
            net,
            resolved: resolve(&running, known.hosts(), &running),
            running,
            known,
            seen: Some(read.text().as_bytes().to_owned()),
            files: read.files().clone(),
            pending: false,
            results: Reloads::none(now()),
        }
    }

    /// Reads the file. `None` when it says nothing new; unless `forced`, one that has not been touched, nor any that it is read
    /// with, is not even looked at, except while it is [pending](Self::is_pending). Then it is refused again in silence, as long as it is
    /// for the same reason.
    ///
    /// # Errors
    /// Why it is refused; the running configuration stays.
    pub(super) async fn read(&mut self, forced: bool) -> Result<Option<Taken>, ReloadRefused> {
        let text = fs::read(&self.path).ok();
        let again = !forced && text.is_some() && text == self.seen && self.files.changed().is_none();
        if again && !self.pending {
            return Ok(None);
        }
        self.seen = text;
        self.results.unread = None;
        let outcome = self.accept(again).await;
        self.pending = matches!(outcome, Err(Refusal::OfMachine(_)));
        match outcome {
            Ok((config, token)) => {
                let changed = config != self.running;
                if changed {
                    tracing::info!(services = config.services.len(), "configuration reloaded");
                    self.running = Arc::clone(&config);
                } else {
                    tracing::info!("configuration read again: nothing has changed");
                }
                self.results.accept(now());
                let names = self.host_names();
                if forced {
                    self.known.refresh(&names).await;
                } else {
                    self.known.learn(&names).await;
                }
                self.resolve();
                let config = self.config();
                Ok(Some(Taken { config, changed, token }))
            }
            Err(Refusal::OfFile(reason) | Refusal::OfMachine(reason)) => {
                let text = reason.to_string();
                if !again || self.results.refusal.as_ref() != Some(&text) {
                    tracing::error!(%reason, "reload refused, the running configuration stays");
                    self.results.refuse(now(), text);
                }
                Err(reason)
            }
        }
    }

    /// What runs, with the addresses of its hosts.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.resolved)
    }

    /// The hosts that it names.
    pub(super) fn host_names(&self) -> BTreeSet<Arc<str>> {
        names(&self.running)
    }

    /// Hosts have been looked up: what runs, when that changes it.
    pub(super) fn found(&mut self, found: Hosts) -> Option<Arc<Config>> {
        if !self.known.take(found) {
            return None;
        }
        if !self.resolve() {
            return None;
        }
        tracing::info!("hosts have other addresses");
        Some(self.config())
    }

    /// Puts the addresses that are known in the place of hosts. True when that changes anything.
    fn resolve(&mut self) -> bool {
        self.known.keep(&self.host_names());
        let resolved = resolve(&self.running, self.known.hosts(), &self.resolved);
        // Of two that are alike, others have the first already.
        let changed = resolved != self.resolved;
        if changed {
            self.resolved = resolved;
        }
        changed
    }

    /// Sees whether the file is still as it was read. Changes of it are noticed, but not where it is a link whose target's
    /// folder has been put in the place of another.
    pub(super) fn look(&mut self) {
        let now = fs::read(&self.path).ok();
        let changed = |path: &Path| {
            format!(
                "{} has changed since it was read; `fulcrum reload` reads it",
                path.display()
            )
        };
        self.results.unread = match (&now, &self.seen) {
            (now, seen) if now == seen => self.files.changed().map(changed),
            (None, _) => Some(format!("{} is not to be read any more", self.path.display())),
            (Some(_), _) => Some(changed(&self.path)),
        };
    }

    /// The files that were read with it, whether it was accepted or not.
    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// May the file be taken later as it is?
    pub(super) fn is_pending(&self) -> bool {
        self.pending
    }

    /// What came of it so far.
    pub(super) fn results(&self) -> &Reloads {
        &self.results
    }

    /// Judges the file. What it warns of has been said when it is read `again`.
    async fn accept(&mut self, again: bool) -> Result<(Arc<Config>, Option<Token>), Refusal> {
        let parsed = config::load(&self.path);
        let files = parsed.as_ref().map_or_else(ConfigError::files, Parsed::files);
        self.files.clone_from(files);
        let parsed = parsed.map_err(|error| refused(&error))?;
        for warning in parsed.warnings.iter().filter(|_| !again) {
            tracing::warn!(reason = %warning, "the configuration is taken with a warning");
        }
        let (config, confirmed) = self.allow(&self.path.display().to_string(), parsed).await?;
        for warning in confirmed.warnings.iter().filter(|_| !again) {
            tracing::warn!(reason = %warning, "the configuration is taken with a warning");
        }
        Ok((config, confirmed.token))
    }

    /// Judges another text as [`Self::read`] would, and changes nothing; `origin` is what errors call it.
    ///
    /// # Errors
    /// Why a reload would refuse it.
    pub(super) async fn judge(&self, origin: &str, text: &str) -> Result<Arc<Config>, ReloadRefused> {
        let parsed = config::parse(origin, text).map_err(|error| refused(&error))?;
        let (config, _) = self.allow(origin, parsed).await.map_err(|refusal| match refusal {
            Refusal::OfFile(reason) | Refusal::OfMachine(reason) => reason,
        })?;
        let mut known = self.known.clone();
        known.learn(&names(&config)).await;
        Ok(resolve(&config, known.hosts(), &self.resolved))
    }

    /// Judges what a file says beside what runs. What this machine has to say to it besides may be warned of.
    async fn allow(&self, origin: &str, parsed: Parsed) -> Result<(Arc<Config>, Confirmed), Refusal> {
        let (old, new) = (&self.running, &parsed.config);
        let fixed = [
            ("[node] name", old.node.name != new.node.name),
            ("[node] interfaces", old.node.interfaces != new.node.interfaces),
            ("[node] xdp-mode", old.node.xdp_mode != new.node.xdp_mode),
            (
                "[node] hash-seed-file",
                old.node.hash_seed_file != new.node.hash_seed_file,
            ),
            ("[node] state-dir", old.node.state_dir != new.node.state_dir),
            ("[node] pin-dir", old.node.pin_dir != new.node.pin_dir),
            (
                "[node] flow-table-size",
                old.node.flow_table_size != new.node.flow_table_size,
            ),
            ("[node] proxy-threads", old.node.proxy_threads != new.node.proxy_threads),
            ("[node] script-user", old.node.script_user != new.node.script_user),
            ("[admin] socket", old.admin.socket != new.admin.socket),
            ("[admin] listen", old.admin.listen != new.admin.listen),
        ];
        let changed: Vec<_> = fixed
            .iter()
            .filter(|(_, changed)| *changed)
            .map(|(key, _)| *key)
            .collect();
        if !changed.is_empty() {
            let reason = format!(
                "{origin}: {} cannot change while the daemon runs; restart it (packets keep flowing meanwhile)",
                changed.join(", ")
            );
            return Err(ReloadRefused::Fixed(reason).into());
        }
        if let Some(service) = new.services.iter().find(|service| shrinks(old, service)) {
            let reason = format!(
                "{origin}: service `{}`: table-size cannot become smaller while its flows are to keep their backends; leave it \
                 as it is, or take the service out of the file for one reload, which ends its flows",
                service.name
            );
            return Err(ReloadRefused::Fixed(reason).into());
        }
        let confirmed = machine::confirm(&self.net, &parsed, Some(old)).await;
        let confirmed = confirmed.map_err(|error| Refusal::OfMachine(ReloadRefused::File(format!("{error:#}"))))?;
        Ok((Arc::new(parsed.config), confirmed))
    }
}

/// For people.
#[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn refused(error: &ConfigError) -> ReloadRefused {
    ReloadRefused::File(error.to_string())
}

/// Would the ring of a service become smaller, of whose flows it remembers something? Slots that become one would have to
/// agree on their backends. A service is known by its VIPs.
fn shrinks(running: &Config, service: &Service) -> bool {
    let remembers = |service: &Service| {
        let by_hash = matches!(service.balance, Balance::Maglev | Balance::SourceHash);
        by_hash && service.track && matches!(service.mode, Mode::Dsr | Mode::Tunnel)
    };
    let same =
        |old: &&Service| old.protocol == service.protocol && old.vips.iter().any(|vip| service.vips.contains(vip));
    running.services.iter().filter(same).any(|old| {
        let both = remembers(old) && remembers(service) && old.balance == service.balance;
        both && service.table_size.slots() < old.table_size.slots()
    })
}

#[cfg(test)]
mod tests;
