//! What test runs leave behind that were killed: namespaces, and folders with a bpffs in them. The next run removes it.
//!
//! Names say whose something is: `ft-PID-...` in /run/netns, `fulcrum-test-PID-...` among the temporary files. What
//! belongs to a process that lives is left alone, also where another process got the id of a dead one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use lb_user::net::Namespace;
use nix::mount::{MntFlags, umount2};

/// How names of namespaces begin.
const NAMESPACE: &str = "ft-";

/// How names of folders begin.
const FOLDER: &str = "fulcrum-test-";

/// A name for a namespace of this process.
pub(crate) fn namespace_name(rest: &str) -> String {
    format!("{NAMESPACE}{}-{rest}", std::process::id())
}

/// A folder of this process, gone on drop. What is mounted in it has to be unmounted before.
///
/// # Panics
/// When it cannot be made.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix(&format!("{FOLDER}{}-", std::process::id()))
        .tempdir()
        .expect("a folder")
}

/// Sweeps, the first time that this process asks for it.
pub(crate) fn sweep_once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep);
}

/// Removes what dead processes left. Best effort: another run may be at the same, and what cannot be removed is said.
pub fn sweep() {
    for name in Namespace::names().unwrap_or_default() {
        if is_left(&name, NAMESPACE)
            && let Err(error) = Namespace::delete(&name)
        {
            eprintln!("namespace {name} of an earlier run stays behind: {error:?}");
        }
    }
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        // Not through a link, and nothing that is somebody else's.
        let own = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw());
        if own && is_left(&entry.file_name().to_string_lossy(), FOLDER) {
            remove(&entry.path());
        }
    }
}

fn remove(folder: &Path) {
    // The last mounted first: it may be inside another.
    for mount in mounts_below(folder).iter().rev() {
        if let Err(error) = umount2(mount, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            eprintln!("{} of an earlier run stays mounted: {error}", mount.display());
            return;
        }
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("{} of an earlier run stays behind: {error}", folder.display());
    }
}

/// Where something is mounted below a folder, in the order of mounting.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    places
        .map(PathBuf::from)
        .filter(|place| place.starts_with(folder))
        .collect()
}

/// Does this name belong to a process that is dead?
fn is_left(name: &str, prefix: &str) -> bool {
    let owner = name.strip_prefix(prefix).and_then(|rest| rest.split_once('-'));
    owner.is_some_and(|(pid, _)| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_processes_are_left() {
        // Above what the kernel gives out.
        assert!(is_left("ft-4194305-0-node", "ft-"));
        assert!(!is_left(&namespace_name("0-node"), "ft-"), "this one lives");
        for name in ["ft-", "ft-x-y", "ft-4194305", "fl-4194305-0", "ft-../self-x", "ft--x"] {
            assert!(!is_left(name, "ft-"), "{name}");
        }
    }
}
