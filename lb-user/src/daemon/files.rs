//! Noticing that the configuration file has changed, or one of those that it is read with.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Writing a file takes an editor several steps; after this long without another, it is read.
const QUIET: Duration = Duration::from_millis(50);

/// Watches files for as long as it lives.
///
/// Folders are watched, not files, since editors put a new file in place of the old one: the file's own folder, and where it
/// is a link, that of what it leads to.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    path: PathBuf,
    /// What is looked for in them.
    names: Arc<Mutex<BTreeSet<OsString>>>,
    /// One is kept for a receiver that is busy, more are dropped, since it reads the files then anyway.
    touched: mpsc::Sender<()>,
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Of the file at `path`.
    ///
    /// # Errors
    /// When its folder cannot be watched.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let (touched, mut touches) = mpsc::channel(1);
        let (touch, wanted) = (touched.clone(), Arc::clone(&names));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let names = wanted.lock().unwrap_or_else(PoisonError::into_inner);
            // An error, such as a queue that overflowed, may hide a change.
            if event.as_ref().map_or(true, |event| concerns(event, &names)) {
                let _ = touch.try_send(());
            }
        })
        .context("cannot watch files")?;
        let (changed, changes) = mpsc::channel(1);
        tokio::spawn(async move {
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
        let mut watch = Self {
            watcher,
            path: path.to_owned(),
            names,
            touched,
            changes,
        };
        match watch.follow(std::iter::empty()).into_iter().next() {
            Some((folder, error)) => Err(error).with_context(|| format!("cannot watch {}", folder.display())),
            None => Ok(watch),
        }
    }

    /// Looks at these besides, and at no others any more. A folder that cannot be watched is said in the log.
    pub(super) fn also<'a>(&mut self, others: impl Iterator<Item = &'a Path>) {
        for (folder, error) in self.follow(others) {
            tracing::warn!(
                path = %folder.display(),
                %error,
                "a folder cannot be watched: changes of files in it take `fulcrum reload`"
            );
        }
    }

    /// Waits until one of them may have changed.
    pub(super) async fn changed(&mut self) -> Option<()> {
        self.changes.recv().await
    }

    /// They may have changed before they were watched.
    pub(super) fn touch(&self) {
        let _ = self.touched.try_send(());
    }

    /// Watches the file and these, and tells which folders cannot be watched, and why.
    fn follow<'a>(&mut self, others: impl Iterator<Item = &'a Path>) -> Vec<(PathBuf, notify::Error)> {
        let mut files = vec![self.path.clone()];
        files.extend(others.map(Path::to_owned));
        // A file that is not there yet leads nowhere.
        let targets: Vec<PathBuf> = files.iter().filter_map(|file| file.canonicalize().ok()).collect();
        files.extend(targets);
        let names = files.iter().filter_map(|file| file.file_name());
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names.map(OsString::from).collect();
        let wanted: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(file).to_owned()).collect();
        let mut failed = Vec::new();
        // Also those that are watched: another folder may be there now under the same name. None is let go of, since it may
        // be another one's under a second name; what is not looked for in there is passed over.
        for folder in wanted {
            if let Err(error) = self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                failed.push((folder, error));
            }
        }
        failed
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Is this event a change of a file with one of these names? Reading it is none, and neither is what happens to its
/// siblings, except for links: a link on the way to the file may be set anew.
fn concerns(event: &Event, names: &BTreeSet<OsString>) -> bool {
    let changes = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    };
    let named = |path: &Path| path.file_name().is_some_and(|name| names.contains(name));
    changes && event.paths.iter().any(|path| named(path) || path.is_symlink())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    async fn touched(watch: &mut Watch) {
        let patience = Duration::from_secs(20);
        assert_eq!(tokio::time::timeout(patience, watch.changed()).await, Ok(Some(())));
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("fulcrum.toml"), elsewhere.path().join("real.toml"));
        fs::write(&target, "1").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut watch = Watch::new(&link).unwrap();
        // What the link leads to is written, then replaced; the link is set anew, then replaced by a file.
        fs::write(&target, "2").unwrap();
        touched(&mut watch).await;
        fs::write(elsewhere.path().join("draft"), "3").unwrap();
        fs::rename(elsewhere.path().join("draft"), &target).unwrap();
        touched(&mut watch).await;
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        touched(&mut watch).await;
        fs::write(folder.path().join("draft"), "4").unwrap();
        fs::rename(folder.path().join("draft"), &link).unwrap();
        touched(&mut watch).await;
    }

    #[tokio::test]
    async fn files_that_it_is_read_with_are_noticed_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let (file, list) = (folder.path().join("fulcrum.toml"), elsewhere.path().join("deny.txt"));
        fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(&file).unwrap();
        let nowhere = folder.path().join("none/deny.txt");
        watch.also([list.as_path(), &nowhere].into_iter());
        fs::write(&list, "1").unwrap();
        touched(&mut watch).await;
        fs::write(elsewhere.path().join("draft"), "2").unwrap();
        fs::rename(elsewhere.path().join("draft"), &list).unwrap();
        touched(&mut watch).await;
        // One that is not named any more may change as it likes; the file itself stays.
        watch.also(std::iter::empty());
        assert!(watch.names.lock().unwrap().iter().eq(["fulcrum.toml"]));
        fs::write(&file, "2").unwrap();
        touched(&mut watch).await;
        watch.touch();
        touched(&mut watch).await;
    }
}
