//! Files besides its own that a configuration was read from, and whether they are still as they were.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files as they were when they were read, those included that could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Option<Stamp>>);

/// What tells a file from what it was before, without reading it. Whoever writes to it, or puts another in its place, changes
/// one of these; two writes of the same length within a tick of the kernel's clock, some milliseconds, may look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds of the last change of content, name or rights.
    changed: (i64, i64),
}

impl Files {
    /// `path` is read from now on.
    pub(super) fn note(&mut self, path: &Path) {
        self.0.insert(path.to_owned(), stamp(path));
    }

    /// Their paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// The first that is not as it was.
    #[must_use]
    pub fn changed(&self) -> Option<&Path> {
        let changed = self.0.iter().find(|(path, before)| stamp(path) != **before);
        changed.map(|(path, _)| path.as_path())
    }
}

/// `None` where nothing is, or nobody may look.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        length: found.len(),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_comes_changes_or_goes_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let [list, draft] = ["list", "draft"].map(|name| folder.path().join(name));
        let noted = || {
            let mut files = Files::default();
            files.note(&list);
            files
        };
        let missing = noted();
        assert_eq!(missing.changed(), None);
        fs::write(&list, "1").unwrap();
        assert_eq!(missing.changed(), Some(list.as_path()));
        let first = noted();
        assert_eq!(first.changed(), None);
        fs::write(&draft, "2").unwrap();
        fs::rename(&draft, &list).unwrap();
        assert_eq!(first.changed(), Some(list.as_path()), "of the same length");
        let second = noted();
        fs::write(&list, "22").unwrap();
        assert_eq!(second.changed(), Some(list.as_path()));
        let third = noted();
        fs::remove_file(&list).unwrap();
        assert_eq!(third.changed(), Some(list.as_path()));
        assert_eq!(third.paths().collect::<Vec<_>>(), [list.as_path()]);
    }
}
