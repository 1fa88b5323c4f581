//! The folder of pins: a bpffs, one daemon at a time, maps in a subfolder that is named after their layout.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData, MapInfo};
use aya::programs::links::PinnedLink;
use lb_common::layout::{self, MAPS};
use lb_common::limits::SERVICE_BUCKETS;
use lb_common::service::{BucketV4, BucketV6, Decision, Mode};
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::super::region::Region;
use crate::plan::ServiceKey;

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
        Flock::lock(folder, FlockArg::LockExclusiveNonblock)
            .map(|folder| Self { _folder: folder })
            .map_err(|(folder, errno)| match errno {
                nix::Error::EWOULDBLOCK => PinError::Taken {
                    path: pin_dir.to_owned(),
                    pid: folder.metadata().ok().and_then(|m| holder(m.dev(), m.ino())),
                },
                errno => PinError::at("lock", pin_dir, errno.into()),
            })
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

/// Makes `pin_dir`, and mounts a bpffs: at the system's usual place when `pin_dir` is below that, else at `pin_dir`.
fn make_on_bpffs(pin_dir: &Path) -> Result<(), PinError> {
    const USUAL: &str = "/sys/fs/bpf";
    let usual = Path::new(USUAL);
    if pin_dir.starts_with(usual) && !on_bpffs(usual) {
        mount_bpffs(usual)?;
    }
    fs::create_dir_all(pin_dir).map_err(|e| PinError::at("create", pin_dir, e))?;
    if !on_bpffs(pin_dir) {
        mount_bpffs(pin_dir)?;
    }
    Ok(())
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
const MAPS_PREFIX: &str = "maps-";

fn maps_folder(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("{MAPS_PREFIX}{:016x}", layout::digest()))
}

fn links_folder(pin_dir: &Path) -> PathBuf {
    pin_dir.join(LINKS)
}

/// The folder of maps of this layout, with nothing in it that is not of this layout.
pub(super) fn prepare_maps(pin_dir: &Path) -> Result<PathBuf, PinError> {
    let folder = maps_folder(pin_dir);
    fs::create_dir_all(&folder).map_err(|e| PinError::at("create", &folder, e))?;
    for map in MAPS {
        let path = folder.join(map.name);
        if !path.exists() {
            continue;
        }
        let found = MapInfo::from_pin(&path).map_err(|e| PinError::at("open the map", &path, io::Error::other(e)))?;
        let expected = [map.key, map.value, map.entries];
        let found = [found.key_size(), found.value_size(), found.max_entries()];
        if found != expected {
            let difference = format!("key, value and entries are {found:?} instead of {expected:?}");
            return Err(PinError::Foreign { path, difference });
        }
    }
    Ok(folder)
}

/// The folder of links.
pub(super) fn prepare_links(pin_dir: &Path) -> Result<PathBuf, PinError> {
    let folder = links_folder(pin_dir);
    fs::create_dir_all(&folder).map_err(|e| PinError::at("create", &folder, e))?;
    Ok(folder)
}

/// Where the link of `interface` is pinned. A bpffs allows no dots in names, interfaces may have some.
pub(super) fn link(folder: &Path, interface: &str, mode: &str) -> PathBuf {
    folder.join(format!("{}-{mode}", interface.replace('.', "%2E")))
}

/// Removes a pin; one that is not there is fine.
fn remove(path: &Path) -> Result<(), PinError> {
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

/// Takes the program off the interfaces that `choose` names, and says which.
pub(super) fn remove_links(folder: &Path, choose: impl Fn(&str) -> bool) -> Result<Vec<String>, PinError> {
    let mut removed = Vec::new();
    for path in entries(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace("%2E", ".");
        let interface = name.rsplit_once('-').map_or(&*name, |(interface, _)| interface);
        if choose(interface) {
            remove_link(&path)?;
            removed.push(interface.to_owned());
        }
    }
    Ok(removed)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, PinError> {
    match fs::read_dir(folder) {
        Ok(found) => found.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
    .map_err(|error| PinError::at("read", folder, error))
}

/// What [`detach`] found and removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Interfaces that the program was on.
    pub interfaces: Vec<String>,
    /// VIPs that Fulcrum had put on the node: the caller takes them off.
    pub addresses: BTreeSet<IpAddr>,
}

/// Takes the program off every interface, and removes all pins, of whatever layout.
///
/// # Errors
/// [`PinError::Taken`] while a daemon runs on these pins, and when a pin cannot be removed.
pub fn detach(pin_dir: &Path) -> Result<Detached, PinError> {
    if !pin_dir.exists() || !on_bpffs(pin_dir) {
        return Ok(Detached::default());
    }
    let lock = Lock::take(pin_dir)?;
    let addresses = owned_addresses(&maps_folder(pin_dir));
    let interfaces = remove_links(&links_folder(pin_dir), |_| true)?;
    // Only our own folders: the root of a bpffs also holds what the kernel puts there.
    let ours = |name: &str| name == LINKS || name.starts_with(MAPS_PREFIX);
    for folder in entries(pin_dir)? {
        if !folder.file_name().is_some_and(|name| ours(&name.to_string_lossy())) {
            continue;
        }
        for pin in entries(&folder)? {
            remove(&pin)?;
        }
        fs::remove_dir(&folder).map_err(|e| PinError::at("remove", &folder, e))?;
    }
    drop(lock);
    let of = |path: &Path| fs::metadata(path).map(|m| m.dev());
    let mounted_here = pin_dir
        .parent()
        .is_some_and(|parent| of(parent).ok() != of(pin_dir).ok());
    if mounted_here && pin_dir != Path::new("/sys/fs/bpf") {
        umount2(pin_dir, MntFlags::empty()).map_err(|e| PinError::at("unmount", pin_dir, e.into()))?;
    }
    fs::remove_dir(pin_dir).map_err(|e| PinError::at("remove", pin_dir, e))?;
    Ok(Detached { interfaces, addresses })
}

/// The VIPs that the maps in `folder` mark as put there by Fulcrum; none where the maps cannot be read.
fn owned_addresses(folder: &Path) -> BTreeSet<IpAddr> {
    let mut entries: Vec<(ServiceKey, Decision)> = Vec::new();
    if let Some(buckets) = array::<BucketV4>(&folder.join("SERVICES_V4")) {
        let all = buckets.as_slice().iter().flat_map(|b| b.entries);
        entries.extend(all.map(|e| (ServiceKey::V4(e.key), e.decision)));
    }
    if let Some(buckets) = array::<BucketV6>(&folder.join("SERVICES_V6")) {
        let all = buckets.as_slice().iter().flat_map(|b| b.entries);
        entries.extend(all.map(|e| (ServiceKey::V6(e.key), e.decision)));
    }
    entries.extend(
        hash(&folder.join("OVERFLOW_V4"))
            .into_iter()
            .map(|(key, d)| (ServiceKey::V4(key), d)),
    );
    entries.extend(
        hash(&folder.join("OVERFLOW_V6"))
            .into_iter()
            .map(|(key, d)| (ServiceKey::V6(key), d)),
    );
    let owned = |d: Decision| d.mode() == Some(Mode::Address) && d.has(Decision::OWNED);
    entries
        .into_iter()
        .filter(|(_, d)| owned(*d))
        .map(|(key, _)| key.ip())
        .collect()
}

fn array<T: Copy>(path: &Path) -> Option<Region<T>> {
    let map = Map::from_map_data(MapData::from_pin(path).ok()?).ok()?;
    let Map::Array(data) = map else { return None };
    (data.info().ok()?.value_size() as usize == size_of::<T>())
        .then(|| Region::mapped(data.fd(), SERVICE_BUCKETS).ok())?
}

fn hash<K: aya::Pod>(path: &Path) -> Vec<(K, Decision)> {
    let open = || HashMap::try_from(Map::from_map_data(MapData::from_pin(path).ok()?).ok()?).ok();
    let map: Option<HashMap<MapData, K, Decision>> = open();
    map.iter().flat_map(|map| map.iter().filter_map(Result::ok)).collect()
}
