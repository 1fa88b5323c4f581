//! Removing everything again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::programs::links::PinnedLink;
use lb_common::service::Decision;
use nix::mount::{MntFlags, umount2};

use super::pins::{self, Lock};
use super::{PinError, maps};

/// A pinned link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedAttachment {
    /// The interface.
    pub interface: String,
    /// The kernel's id of the link, which stays when the program is swapped.
    pub id: u32,
}

impl Lock {
    /// The attachments that are pinned.
    ///
    /// # Errors
    /// When the pins cannot be read.
    pub fn attachments(&self) -> Result<Vec<PinnedAttachment>, PinError> {
        let attachment = |path: PathBuf| {
            let info = || {
                PinnedLink::from_pin(&path)
                    .map(aya::programs::links::FdLink::from)?
                    .info()
            };
            let info = info().map_err(|error| PinError::at("open the link", &path, io::Error::other(error)))?;
            Ok(PinnedAttachment {
                interface: pins::interface_of(&path),
                id: info.id(),
            })
        };
        pins::entries(&pins::links_folder(&self.pin_dir))?
            .into_iter()
            .map(attachment)
            .collect()
    }

    /// Is there nothing of an earlier run? Maps may stay where no link does: the kernel takes the program off an interface
    /// that goes, and the daemon its link.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn is_unused(&self) -> Result<bool, PinError> {
        let links = pins::links_folder(&self.pin_dir);
        for folder in pins::all_maps_folders(&self.pin_dir)?.into_iter().chain([links]) {
            if !pins::entries(&folder)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The VIPs that the maps say Fulcrum put on the node, and the folders of maps that this version cannot read. The VIPs
    /// are to be taken off before [`Self::detach`], which forgets whose they are.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn owned_addresses(&self) -> Result<(BTreeSet<IpAddr>, Vec<PathBuf>), PinError> {
        let owned = |d: Decision| d.is_vip() && d.has(Decision::OWNED);
        let (mut addresses, mut unreadable) = (BTreeSet::new(), Vec::new());
        for folder in pins::all_maps_folders(&self.pin_dir)? {
            if pins::entries(&folder)?.is_empty() {
                continue;
            }
            let entries = maps::pinned_services(&folder)
                .ok()
                .and_then(|services| services.entries().ok());
            let Some(entries) = entries else {
                unreadable.push(folder);
                continue;
            };
            addresses.extend(entries.into_iter().filter(|(_, d)| owned(*d)).map(|(key, _)| key.ip()));
        }
        Ok((addresses, unreadable))
    }

    /// Takes the program off every interface, says off which, and removes all pins, of whatever layout. What is not
    /// Fulcrum's in the folder stays, and so does a bpffs that holds such.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(self) -> Result<Vec<String>, PinError> {
        let pin_dir = self.pin_dir.clone();
        let links = pins::links_folder(&pin_dir);
        let interfaces = pins::remove_links(&links, |_| true)?;
        let folders = pins::all_maps_folders(&pin_dir)?
            .into_iter()
            .chain(links.exists().then_some(links));
        for folder in folders {
            pins::remove_all(&folder)?;
        }
        drop(self);
        remove_folder(&pin_dir)?;
        Ok(interfaces)
    }
}

/// Removes the folder, and the bpffs if it is mounted right there, unless somebody else uses them.
fn remove_folder(pin_dir: &Path) -> Result<(), PinError> {
    // What the kernel itself puts into the root of a bpffs.
    const KERNELS: [&str; 2] = ["maps.debug", "progs.debug"];
    let others = pins::entries(pin_dir)?;
    let others = others.iter().filter_map(|path| path.file_name()?.to_str());
    if others.into_iter().any(|name| !KERNELS.contains(&name)) {
        return Ok(());
    }
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).ok();
    let mounted_here = pin_dir.parent().is_some_and(|parent| device(parent) != device(pin_dir));
    if mounted_here && pin_dir != Path::new(pins::USUAL) {
        match umount2(pin_dir, MntFlags::empty()) {
            Ok(()) => {}
            Err(nix::Error::EBUSY) => return Ok(()),
            Err(errno) => return Err(PinError::at("unmount", pin_dir, errno.into())),
        }
    }
    match fs::remove_dir(pin_dir) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(PinError::at("remove", pin_dir, error))
        }
        _ => Ok(()),
    }
}
