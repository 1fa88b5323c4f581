//! The folder of pins: a bpffs, one daemon at a time, maps in a subfolder that is named after their layout.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use aya::programs::links::PinnedLink;
use lb_common::layout::{self, MapLayout};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// The pins are not usable.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A file operation failed.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another daemon works with the same pins.
    #[error("{} belongs to a fulcrum that runs already{}; stop it, or give this one another [node] pin-dir", path.display(), pid.map(|p| format!(", process {p}")).unwrap_or_default())]
    Taken {
        /// The folder.
        path: PathBuf,
        /// Who runs.
        pid: Option<u32>,
    },
    /// A pinned map is not one that the program can use.
    #[error("{} is not the map that this version makes ({difference}); `fulcrum detach` removes it", path.display())]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
}

impl PinError {
    pub(super) fn at(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

/// The right to work with a pin folder, as long as it lives.
#[derive(Debug)]
pub struct Lock {
    pub(super) pin_dir: PathBuf,
    _folder: Flock<File>,
}

impl Lock {
    /// Makes `pin_dir`, on a bpffs, and takes it for this process.
    ///
    /// # Errors
    /// [`PinError::Taken`] when another process has it, and when it cannot be made.
    pub fn take(pin_dir: &Path) -> Result<Self, PinError> {
        make_on_bpffs(pin_dir)?;
        let folder = File::open(pin_dir).map_err(|e| PinError::at("open", pin_dir, e))?;
        let lock = Flock::lock(folder, FlockArg::LockExclusiveNonblock);
        let folder = lock.map_err(|(folder, errno)| match errno {
            nix::Error::EWOULDBLOCK => PinError::Taken {
                path: pin_dir.to_owned(),
                pid: folder.metadata().ok().and_then(|m| holder(m.dev(), m.ino())),
            },
            errno => PinError::at("lock", pin_dir, errno.into()),
        })?;
        Ok(Self {
            pin_dir: pin_dir.to_owned(),
            _folder: folder,
        })
    }

    /// As [`Self::take`], where there are pins; `None` where there is nothing, and nothing is made.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_existing(pin_dir: &Path) -> Result<Option<Self>, PinError> {
        if on_bpffs(pin_dir) {
            Self::take(pin_dir).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Who holds a lock on the file with this device and inode number, by /proc/locks (proc_locks(5)).
fn holder(device: u64, inode: u64) -> Option<u32> {
    let file = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let at = fields.iter().position(|field| *field == file)?;
        fields.contains(&"FLOCK").then(|| fields[at - 1].parse().ok())?
    })
}

/// Is this folder on a bpffs?
fn on_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Where a system's bpffs usually is.
pub(super) const USUAL: &str = "/sys/fs/bpf";

/// Makes `pin_dir`, and mounts a bpffs: at the system's usual place when `pin_dir` is below that, else at `pin_dir`.
fn make_on_bpffs(pin_dir: &Path) -> Result<(), PinError> {
    let usual = Path::new(USUAL);
    if pin_dir.starts_with(usual) && !on_bpffs(usual) {
        mount_bpffs(usual)?;
    }
    create(pin_dir)?;
    if !on_bpffs(pin_dir) {
        mount_bpffs(pin_dir)?;
    }
    close(pin_dir)
}

/// Who has a map can aim every packet: what another program or an earlier version has left open is closed to others.
fn close(pin_dir: &Path) -> Result<(), PinError> {
    let metadata = fs::metadata(pin_dir).map_err(|e| PinError::at("look at", pin_dir, e))?;
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(pin_dir, Permissions::from_mode(0o700)).map_err(|e| PinError::at("close to others", pin_dir, e))
}

fn mount_bpffs(path: &Path) -> Result<(), PinError> {
    let none: Option<&Path> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))
        .or_else(|_| mount(Some("bpf"), path, Some("bpf"), flags, none))
        .map_err(|e| PinError::at("mount a bpffs at", path, e.into()))
}

/// Name of the folder of links.
const LINKS: &str = "links";

/// What the names of folders of maps begin with; the digest of the layout follows.
pub(super) const MAPS_PREFIX: &str = "maps-";

/// Where these maps are pinned.
pub(super) fn maps_folder(pin_dir: &Path, maps: &[MapLayout]) -> PathBuf {
    pin_dir.join(format!("{MAPS_PREFIX}{:016x}", layout::digest(maps)))
}

/// Folders of maps, of whatever layout, those that are being made or removed included.
pub(super) fn all_maps_folders(pin_dir: &Path) -> Result<Vec<PathBuf>, PinError> {
    let mut folders = entries(pin_dir)?;
    folders.retain(|folder| {
        folder
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with(MAPS_PREFIX))
    });
    Ok(folders)
}

pub(super) fn links_folder(pin_dir: &Path) -> PathBuf {
    pin_dir.join(LINKS)
}

/// What tells maps apart.
#[derive(PartialEq, Eq)]
struct Shape {
    name: String,
    key: u32,
    value: u32,
    entries: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            key,
            value,
            entries,
        } = self;
        write!(f, "{name} with {entries} entries of {key} and {value} bytes")
    }
}

/// Compares what is pinned in `folder` with `maps`: aya opens a pinned map without looking. Other pins are nobody's.
pub(super) fn check(folder: &Path, maps: &[MapLayout]) -> Result<(), PinError> {
    for map in maps {
        let path = folder.join(map.name);
        if !path.exists() {
            continue;
        }
        let found = info(&path)?;
        let found = Shape {
            name: found.name_as_str().unwrap_or_default().to_owned(),
            key: found.key_size(),
            value: found.value_size(),
            entries: found.max_entries(),
        };
        let expected = Shape {
            name: map.name.to_owned(),
            key: map.key,
            value: map.value,
            entries: map.entries,
        };
        if found != expected {
            let difference = format!("it is {found}, and not {expected}");
            return Err(PinError::Foreign { path, difference });
        }
    }
    Ok(())
}

/// What the kernel says of a pinned map.
pub(super) fn info(path: &Path) -> Result<MapInfo, PinError> {
    MapInfo::from_pin(path).map_err(|e| PinError::at("open the map", path, io::Error::other(e)))
}

/// Makes a folder that is root's alone, as pins are; one that is there is fine.
pub(super) fn create(folder: &Path) -> Result<(), PinError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| PinError::at("create", folder, e))
}

/// Removes a folder with its pins. What is attached keeps its maps.
pub(super) fn remove_all(folder: &Path) -> Result<(), PinError> {
    for pin in entries(folder)? {
        remove(&pin)?;
    }
    fs::remove_dir(folder).map_err(|e| PinError::at("remove", folder, e))
}

/// The folder of links.
pub(super) fn prepare_links(pin_dir: &Path) -> Result<PathBuf, PinError> {
    let folder = links_folder(pin_dir);
    create(&folder)?;
    Ok(folder)
}

/// Where the link of `interface` is pinned. A bpffs allows no dots in names, interfaces may have some.
pub(super) fn link(folder: &Path, interface: &str, mode: &str) -> PathBuf {
    folder.join(format!("{}-{mode}", interface.replace('.', "%2E")))
}

/// Removes a pin; one that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), PinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PinError::at("remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes a pinned link, and with it the attachment, before this returns: the kernel detaches at once when a file
/// descriptor is the last reference, and some time later when the pin is.
pub(super) fn remove_link(path: &Path) -> Result<(), PinError> {
    match PinnedLink::from_pin(path) {
        Ok(link) => link.unpin().map(drop).map_err(|e| PinError::at("remove", path, e)),
        Err(_) => remove(path),
    }
}

/// The interface whose link is pinned at `path`.
pub(super) fn interface_of(path: &Path) -> String {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace("%2E", ".");
    name.rsplit_once('-')
        .map_or(name.clone(), |(interface, _)| interface.to_owned())
}

/// Takes the program off the interfaces that `choose` names, and says which.
pub(super) fn remove_links(folder: &Path, choose: impl Fn(&str) -> bool) -> Result<Vec<String>, PinError> {
    let mut removed = Vec::new();
    for path in entries(folder)? {
        let interface = interface_of(&path);
        if choose(&interface) {
            remove_link(&path)?;
            removed.push(interface);
        }
    }
    Ok(removed)
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, PinError> {
    match fs::read_dir(folder) {
        Ok(found) => found.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
    .map_err(|error| PinError::at("read", folder, error))
}
