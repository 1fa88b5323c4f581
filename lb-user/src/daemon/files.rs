//! Noticing that the configuration file has changed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Writing a file takes an editor several steps; after this long without another, it is read.
const QUIET: Duration = Duration::from_millis(50);

/// A message whenever `path` may have changed. One is kept for a receiver that is busy, more are dropped, since it
/// reads the file then anyway.
///
/// Folders are watched, not the file, since editors put a new file in place of the old one: the file's own folder, and
/// where it is a link, that of what it leads to.
///
/// # Errors
/// When a folder cannot be watched.
pub(super) fn watch(path: &Path) -> Result<mpsc::Receiver<()>> {
    let mut files = vec![path.to_owned()];
    // A file that is not there yet leads nowhere.
    files.extend(path.canonicalize().ok());
    let names: Vec<OsString> = files
        .iter()
        .filter_map(|file| file.file_name())
        .map(OsString::from)
        .collect();
    let folders: BTreeSet<&Path> = files.iter().map(|file| folder_of(file)).collect();
    let (touched, mut touches) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error, such as a queue that overflowed, may hide a change.
        if event.as_ref().map_or(true, |event| concerns(event, &names)) {
            let _ = touched.try_send(());
        }
    })
    .context("cannot watch files")?;
    for folder in folders {
        watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .with_context(|| format!("cannot watch {}", folder.display()))?;
    }
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

fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Is this event a change of a file with one of these names? Reading it is none, and neither is what happens to its
/// siblings, except for links: a link on the way to the file may be set anew.
fn concerns(event: &Event, names: &[OsString]) -> bool {
    let changes = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    };
    let named = |path: &Path| path.file_name().is_some_and(|name| names.iter().any(|n| n == name));
    changes && event.paths.iter().any(|path| named(path) || path.is_symlink())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    async fn touched(changes: &mut mpsc::Receiver<()>) {
        let patience = Duration::from_secs(20);
        assert_eq!(tokio::time::timeout(patience, changes.recv()).await, Ok(Some(())));
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("fulcrum.toml"), elsewhere.path().join("real.toml"));
        fs::write(&target, "1").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut changes = watch(&link).unwrap();
        // What the link leads to is written, then replaced; the link is set anew, then replaced by a file.
        fs::write(&target, "2").unwrap();
        touched(&mut changes).await;
        fs::write(elsewhere.path().join("draft"), "3").unwrap();
        fs::rename(elsewhere.path().join("draft"), &target).unwrap();
        touched(&mut changes).await;
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        touched(&mut changes).await;
        fs::write(folder.path().join("draft"), "4").unwrap();
        fs::rename(folder.path().join("draft"), &link).unwrap();
        touched(&mut changes).await;
    }
}
