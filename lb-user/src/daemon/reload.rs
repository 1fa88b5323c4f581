//! Taking a new configuration, or refusing it whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::machine;
use crate::config;
use crate::control::ReloadRefused;
use crate::model::Config;
use crate::model::status::Reloads;
use crate::net::Net;

/// A configuration to run.
pub(super) struct Taken {
    pub(super) config: Arc<Config>,
    /// Is it another one than before?
    pub(super) changed: bool,
}

/// The file, and what of it runs.
pub(super) struct Reload {
    path: PathBuf,
    net: Net,
    running: Arc<Config>,
    /// What was read last, accepted or not.
    seen: Option<Vec<u8>>,
    results: Reloads,
}

impl Reload {
    pub(super) fn new(path: &Path, net: Net, running: Arc<Config>) -> Self {
        Self {
            path: path.to_owned(),
            net,
            running,
            seen: None,
            results: Reloads::none(SystemTime::now()),
        }
    }

    /// Reads the file. `None` when it says nothing new; unless `forced`, one that has not been touched is not even
    /// looked at.
    ///
    /// # Errors
    /// Why it is refused; the running configuration stays.
    pub(super) async fn read(&mut self, forced: bool) -> Result<Option<Taken>, ReloadRefused> {
        let text = fs::read(&self.path).ok();
        if !forced && text.is_some() && text == self.seen {
            return Ok(None);
        }
        self.seen = text;
        match self.accept().await {
            Ok(config) => {
                let changed = config != self.running;
                if changed {
                    tracing::info!(services = config.services.len(), "configuration reloaded");
                    self.running = Arc::clone(&config);
                } else {
                    tracing::info!("configuration read again: nothing has changed");
                }
                self.results.accept(SystemTime::now());
                Ok(Some(Taken { config, changed }))
            }
            Err(reason) => {
                tracing::error!("reload refused, the running configuration stays:\n{reason}");
                self.results.refuse(SystemTime::now(), reason.to_string());
                Err(reason)
            }
        }
    }

    /// What came of it so far.
    pub(super) fn results(&self) -> &Reloads {
        &self.results
    }

    async fn accept(&self) -> Result<Arc<Config>, ReloadRefused> {
        let parsed = config::load(&self.path).map_err(|error| ReloadRefused::File(error.to_string()))?;
        for warning in &parsed.warnings {
            tracing::warn!("{warning}");
        }
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
            ("[admin] socket", old.admin.socket != new.admin.socket),
            ("[admin] listen", old.admin.listen != new.admin.listen),
        ];
        let changed: Vec<_> = fixed
            .iter()
            .filter(|(_, changed)| *changed)
            .map(|(key, _)| *key)
            .collect();
        if !changed.is_empty() {
            return Err(ReloadRefused::Fixed(format!(
                "{}: {} cannot change while the daemon runs; restart it (packets keep flowing meanwhile)",
                self.path.display(),
                changed.join(", ")
            )));
        }
        let confirmed = machine::confirm(&self.net, &parsed).await;
        confirmed.map_err(|error| ReloadRefused::File(format!("{error:#}")))?;
        Ok(Arc::new(parsed.config))
    }
}
