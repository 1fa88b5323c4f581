//! What the daemon reacts to from outside.

use std::path::Path;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::files::Watch;
use crate::config::Files;

/// Signals, and the files.
pub(super) struct Wakers {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
    file: Watch,
}

/// What has happened.
pub(super) enum Wake {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Hangup,
    /// SIGUSR2.
    Upgrade,
    /// The configuration may have changed, or a file that it is read with.
    File,
}

impl Wakers {
    /// From here on, signals and changes of the file at `path` wait to be seen.
    pub(super) async fn new(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        // Not from the first thread, since the watcher's has the capabilities of its maker.
        let file = tokio::task::spawn_blocking(move || Watch::new(&path));
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
            file: file.await??,
        })
    }

    /// From here on, changes of these files count as changes of the configuration, those included that have happened since
    /// they were read; changes of others that were named before do not.
    pub(super) fn watch(&mut self, files: &Files) {
        self.file.also(files.paths());
        if files.changed().is_some() {
            self.file.touch();
        }
    }

    /// Waits until the daemon is told to end, whatever else it is told.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Wake::Stop) {}
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) -> Wake {
        tokio::select! {
            _ = self.hangup.recv() => Wake::Hangup,
            _ = self.upgrade.recv() => Wake::Upgrade,
            Some(()) = self.file.changed() => Wake::File,
            _ = self.terminate.recv() => Wake::Stop,
            _ = self.interrupt.recv() => Wake::Stop,
        }
    }
}
