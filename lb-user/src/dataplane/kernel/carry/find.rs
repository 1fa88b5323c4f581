//! Which of the pinned maps are those that packets meet, and where the wanted ones are made.
//!
//! ```text
//! maps-DIGEST         in use, or taken over by one that is
//! maps-new-DIGEST     being made: no attached program uses it
//! maps-gone-DIGEST    being removed: no attached program uses it
//! ```
//!
//! Folders change their state by being renamed, whole, so a process that is killed leaves one of these states, and the
//! next start removes what is half made or half gone. Where two folders are left, the kernel is asked whose program is
//! attached; it answers only to who has `CAP_SYS_ADMIN`, so without, their names and ages have to tell.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aya::maps::MapData;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use lb_common::layout::{MapKind, MapLayout};

use super::super::pins::{self, PinError};
use super::releases;

/// What the names of folders that are being made begin with; the digest follows.
const NEW: &str = "maps-new-";

/// The same, of those that are being removed.
const GONE: &str = "maps-gone-";

/// A folder of maps of a layout that this version knows.
pub(super) struct Source {
    pub(super) folder: PathBuf,
    pub(super) maps: Vec<MapLayout>,
    ids: BTreeSet<u32>,
}

/// Where the wanted maps are, or are made, and what they take over.
pub(in super::super) struct Place {
    wanted: PathBuf,
    pub(super) maps: Vec<MapLayout>,
    /// Where they are made; `None` when they are there.
    new: Option<PathBuf>,
    /// Maps that packets met before these; while these are made, the first are those that they meet now.
    pub(super) sources: Vec<Source>,
}

impl Place {
    /// Looks around in `pin_dir` for `maps`. What is half made or half gone is removed; what is unknown, or was left
    /// behind by something else, is named in the log and left alone.
    ///
    /// # Errors
    /// When the pins cannot be read, and when a map in the folder of `maps` is not what its name says.
    pub(in super::super) fn find(pin_dir: &Path, maps: &[MapLayout]) -> Result<Self, PinError> {
        let wanted = pins::maps_folder(pin_dir, maps);
        let mut sources = known(pin_dir, &wanted)?;
        pins::check(&wanted, maps)?;
        let there = ids(&wanted, maps)?;
        let attached = attached_maps(pin_dir)?;
        let all: Vec<_> = sources.iter().map(|s| s.ids.clone()).chain([there.clone()]).collect();
        // Maps may be in several folders; what lies in one alone tells whose program is attached.
        let in_use = |ids: &BTreeSet<u32>| {
            let alone = |id: &&u32| all.iter().filter(|ids| ids.contains(id)).count() == 1;
            ids.intersection(&attached).any(|id| alone(&id))
        };
        // Those in use first, then the newest.
        sources.sort_by_key(|s| (!in_use(&s.ids), Reverse(modified(&s.folder))));
        let adopted = !there.is_empty()
            && if attached.is_empty() {
                // Maps are in both as soon as the wanted ones are complete; else another version has run in between.
                let newer = |s: &&Source| modified(&s.folder) > modified(&wanted);
                let related = |s: &Source| !s.ids.is_disjoint(&there);
                sources.iter().find(newer).is_none_or(related)
            } else {
                in_use(&there) || !sources.iter().any(|s| in_use(&s.ids))
            };
        let leading = match sources.first() {
            Some(source) if !adopted => source.ids.clone(),
            _ => there.clone(),
        };
        if !adopted && !there.is_empty() {
            // Filled by a start that could not attach its program, or long ago.
            discard(&wanted)?;
        }
        sources.retain(|source| {
            let related = !source.ids.is_disjoint(&leading);
            if !related {
                say_unused(&source.folder, "no program that is attached uses them");
            }
            related
        });
        Ok(Self {
            new: (!adopted).then(|| pin_dir.join(format!("{NEW}{}", digest(&wanted)))),
            maps: maps.to_vec(),
            wanted,
            sources,
        })
    }

    /// The folder that the program is loaded with.
    pub(in super::super) fn folder(&self) -> &Path {
        self.new.as_ref().unwrap_or(&self.wanted)
    }

    /// Makes that folder, unless it is there. It begins with the maps that can be shared, which are the same to the old
    /// program and to the new one. Programs are not: each has its own.
    pub(in super::super) fn prepare(&self) -> Result<(), PinError> {
        let Some(new) = &self.new else { return Ok(()) };
        pins::create(new)?;
        let Some(leader) = self.sources.first() else {
            return Ok(());
        };
        let shared = |map: &&MapLayout| map.kind != MapKind::Programs && leader.maps.contains(map);
        for map in self.maps.iter().filter(shared) {
            let (from, to) = (leader.folder.join(map.name), new.join(map.name));
            let opened =
                MapData::from_pin(&from).map_err(|e| PinError::at("open the map", &from, io::Error::other(e)))?;
            let pinned = opened.pin(&to);
            pinned.map_err(|e| PinError::at("pin the map at", &to, io::Error::other(e)))?;
        }
        Ok(())
    }

    /// Are the maps those that packets meet already, or met last?
    pub(super) fn is_adopted(&self) -> bool {
        self.new.is_none()
    }

    /// The maps are complete, and the program is about to be attached.
    pub(super) fn complete(&mut self) -> Result<(), PinError> {
        self.new.take().map_or(Ok(()), |new| rename(&new, &self.wanted))
    }
}

impl Drop for Place {
    /// Maps that are not complete go with the start that has failed.
    fn drop(&mut self) {
        if let Some(new) = self.new.take().filter(|new| new.exists())
            && let Err(error) = pins::remove_all(&new)
        {
            tracing::debug!(error = %crate::model::chain(&error), "unfinished maps stay behind");
        }
    }
}

/// The folders of maps but `wanted`, of layouts that are known.
fn known(pin_dir: &Path, wanted: &Path) -> Result<Vec<Source>, PinError> {
    let mut known = Vec::new();
    for folder in pins::all_maps_folders(pin_dir)? {
        let unfinished = [NEW, GONE].iter().any(|prefix| name(&folder).starts_with(prefix));
        if unfinished || pins::entries(&folder)?.is_empty() {
            pins::remove_all(&folder)?;
        } else if folder != wanted {
            match identify(&folder) {
                Ok(source) => known.push(source),
                Err(reason) => say_unused(&folder, &reason),
            }
        }
    }
    Ok(known)
}

/// Removes a folder of maps that no attached program uses.
pub(super) fn discard(folder: &Path) -> Result<(), PinError> {
    let gone = folder.with_file_name(format!("{GONE}{}", digest(folder)));
    rename(folder, &gone)?;
    pins::remove_all(&gone)
}

fn rename(from: &Path, to: &Path) -> Result<(), PinError> {
    fs::rename(from, to).map_err(|error| PinError::at("rename", from, error))
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a folder's name says of its layout.
fn digest(folder: &Path) -> String {
    name(folder).split_off(pins::MAPS_PREFIX.len())
}

fn modified(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder).and_then(|m| m.modified()).ok()
}

fn say_unused(folder: &Path, reason: &str) {
    let path = folder.display();
    tracing::warn!(%path, %reason, "maps that are not used; `fulcrum detach` removes them, with all others");
}

/// Says which layout the maps in `folder` have, or why that is not known.
fn identify(folder: &Path) -> Result<Source, String> {
    let flow_table = pins::info(&folder.join("NAT")).ok().map(|info| info.max_entries());
    let digest = u64::from_str_radix(&digest(folder), 16).ok();
    let maps = digest.and_then(|digest| releases::maps(digest, flow_table));
    let maps = maps.ok_or("this version does not know their layout")?;
    pins::check(folder, &maps).map_err(|error| error.to_string())?;
    let ids = ids(folder, &maps).map_err(|error| error.to_string())?;
    if ids.len() < maps.len() {
        return Err("some are missing".to_owned());
    }
    Ok(Source {
        folder: folder.to_owned(),
        maps,
        ids,
    })
}

/// The kernel's ids of those of `maps` that are pinned in `folder`.
fn ids(folder: &Path, maps: &[MapLayout]) -> Result<BTreeSet<u32>, PinError> {
    let pinned = maps
        .iter()
        .map(|map| folder.join(map.name))
        .filter(|path| path.exists());
    pinned.map(|path| Ok(pins::info(&path)?.id())).collect()
}

/// The kernel's ids of all maps of the programs that are attached; none where it does not say.
fn attached_maps(pin_dir: &Path) -> Result<BTreeSet<u32>, PinError> {
    let program = |path: &PathBuf| Some(FdLink::from(PinnedLink::from_pin(path).ok()?).info().ok()?.program_id());
    let links = pins::entries(&pins::links_folder(pin_dir))?;
    let programs: BTreeSet<u32> = links.iter().filter_map(program).collect();
    let attached = loaded_programs().filter_map(|p| p.ok().filter(|p| programs.contains(&p.id())));
    Ok(attached.filter_map(|p| p.map_ids().ok().flatten()).flatten().collect())
}
