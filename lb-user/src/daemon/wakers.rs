//! What the daemon reacts to from outside.

use std::path::Path;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::files;

/// Signals, and the file.
pub(super) struct Wakers {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
    file: mpsc::Receiver<()>,
}

/// What has happened.
pub(super) enum Wake {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Hangup,
    /// SIGUSR2.
    Upgrade,
    /// The configuration may have changed.
    File,
}

impl Wakers {
    /// From here on, signals and changes of the file at `path` wait to be seen.
    pub(super) async fn new(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        // Not from the first thread, since the watcher's has the capabilities of its maker.
        let file = tokio::task::spawn_blocking(move || files::watch(&path));
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
            file: file.await??,
        })
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
            Some(()) = self.file.recv() => Wake::File,
            _ = self.terminate.recv() => Wake::Stop,
            _ = self.interrupt.recv() => Wake::Stop,
        }
    }
}
