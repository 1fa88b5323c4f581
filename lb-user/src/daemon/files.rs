//! Noticing that the configuration file has changed.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Writing a file takes an editor several steps; after this long without another, it is read.
const QUIET: Duration = Duration::from_millis(100);

/// A message whenever `path` may have changed. One is kept for a receiver that is busy, more are dropped, since it
/// reads the file then anyway.
///
/// The folder is watched, not the file: editors put a new file in place of the old one.
///
/// # Errors
/// When the folder cannot be watched.
pub(super) fn watch(path: &Path) -> Result<mpsc::Receiver<()>> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().map(ToOwned::to_owned);
    let (touched, mut touches) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error, such as a queue that overflowed, may hide a change.
        if event.as_ref().map_or(true, |event| concerns(event, name.as_deref())) {
            let _ = touched.try_send(());
        }
    })
    .context("cannot watch files")?;
    watcher
        .watch(folder, RecursiveMode::NonRecursive)
        .with_context(|| format!("cannot watch {}", folder.display()))?;
    let (changed, changes) = mpsc::channel(1);
    tokio::spawn(async move {
        // Moved here, so that it watches as long as somebody listens.
        let _watcher = watcher;
        while touches.recv().await.is_some() {
            while tokio::time::timeout(QUIET, touches.recv())
                .await
                .is_ok_and(|touch| touch.is_some())
            {}
            let _ = changed.try_send(());
            if changed.is_closed() {
                return;
            }
        }
    });
    Ok(changes)
}

/// Is this event a change of the file called `name`? Reading it is none, and neither is what happens to its siblings,
/// except for links: a file that is a link may change by another name.
fn concerns(event: &Event, name: Option<&OsStr>) -> bool {
    let changes = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    };
    changes
        && event
            .paths
            .iter()
            .any(|path| path.file_name() == name || path.is_symlink())
}
