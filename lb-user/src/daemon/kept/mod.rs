//! What commands have said, on the disk: a file for each kind of it in `state-dir`.
//!
//! A file is replaced as a whole, so it always holds one revision. One that cannot be understood is set aside as
//! `….json.broken` and said to be: a daemon that starts is worth more than what commands once said.

mod denies;
mod overrides;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;

use crate::control::{Denies, Overrides, Revision, Saved};
use crate::disk;

/// After a failure to write, unless something newer comes first.
const RETRY: Duration = Duration::from_secs(10);

/// Largest file that is read, in bytes: room for 65,536 entries with the longest names.
const MAX_BYTES: u64 = 32 << 20;

/// Where what commands have said is kept.
#[derive(Clone, Debug)]
pub(super) struct Store {
    overrides: Kept<Overrides>,
    denies: Kept<Denies>,
}

impl Store {
    /// In `state_dir`.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            overrides: Kept {
                path: state_dir.join("overrides.json"),
                parse: overrides::parse,
                format: overrides::format,
            },
            denies: Kept {
                path: state_dir.join("denies.json"),
                parse: denies::parse,
                format: denies::format,
            },
        }
    }

    /// What is kept; and what is wrong with it, for people. Then that has been set aside, and counts as nothing.
    pub(super) fn load(&self) -> (Revision, Option<String>) {
        let (overrides, first) = self.overrides.load();
        let (denies, second) = self.denies.load();
        let loaded = Revision {
            number: 0,
            overrides,
            denies,
        };
        (loaded, together(first.into_iter().chain(second)))
    }

    /// Writes whatever comes after what was `loaded`, the newest first, and says what has become of it. After a failure it
    /// tries again.
    pub(super) async fn run(
        self,
        loaded: Revision,
        mut revisions: watch::Receiver<Revision>,
        saved: watch::Sender<Saved>,
    ) {
        let mut disk = loaded;
        let mut failed = false;
        loop {
            let changed = tokio::time::timeout(RETRY, revisions.changed());
            match changed.await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) if failed => {}
                Err(_) => continue,
            }
            let wanted = revisions.borrow_and_update().clone();
            let number = wanted.number;
            let (store, before) = (self.clone(), disk.clone());
            let written = tokio::task::spawn_blocking(move || store.write(before, &wanted)).await;
            let fault = match written {
                Ok((after, fault)) => {
                    disk = after;
                    fault
                }
                Err(error) => Some(error.to_string()),
            };
            let fault = fault.map(|error| format!("what commands have set would be forgotten by a restart: {error}"));
            if let Some(fault) = fault.as_ref().filter(|_| !failed) {
                tracing::error!(reason = fault, "what commands have set cannot be kept; trying again");
            }
            failed = fault.is_some();
            saved.send_replace(Saved { number, fault });
        }
    }

    /// Writes what is not on the disk yet; what is there then, and what could not be written.
    fn write(&self, mut disk: Revision, wanted: &Revision) -> (Revision, Option<String>) {
        let faults = [
            self.overrides.replace(&mut disk.overrides, &wanted.overrides),
            self.denies.replace(&mut disk.denies, &wanted.denies),
        ];
        let faults = faults.into_iter().filter_map(Result::err);
        (disk, together(faults.map(|error| format!("{error:#}"))))
    }
}

/// One file.
#[derive(Debug)]
struct Kept<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Result<T>,
    format: fn(&T) -> Result<Vec<u8>>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            ..*self
        }
    }
}

impl<T: Clone + Default + PartialEq> Kept<T> {
    fn load(&self) -> (T, Option<String>) {
        let error = match self.read() {
            Ok(kept) => return (kept, None),
            Err(error) => error,
        };
        let aside = self.path.with_extension("json.broken");
        let (path, aside_path) = (self.path.display(), aside.display());
        let aside = match std::fs::rename(&self.path, &aside) {
            Ok(()) => format!("it is now {aside_path}"),
            Err(error) => format!("and it cannot be renamed to {aside_path}: {error}"),
        };
        let fault = format!("what commands have set is forgotten: {path} cannot be used ({error:#}); {aside}");
        tracing::error!(reason = fault, "what commands have set is forgotten");
        (T::default(), Some(fault))
    }

    fn read(&self) -> Result<T> {
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(error) => return Err(error.into()),
        };
        if text.len() as u64 > MAX_BYTES {
            bail!("it is larger than {} MiB", MAX_BYTES >> 20);
        }
        (self.parse)(&text)
    }

    /// Makes the file hold `wanted`, where it holds `disk`.
    fn replace(&self, disk: &mut T, wanted: &T) -> Result<()> {
        if disk != wanted {
            let text = (self.format)(wanted)?;
            disk::write(&self.path, &text).with_context(|| format!("cannot write {}", self.path.display()))?;
            disk.clone_from(wanted);
        }
        Ok(())
    }
}

fn together(faults: impl Iterator<Item = String>) -> Option<String> {
    let faults: Vec<String> = faults.collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}
