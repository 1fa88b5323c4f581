//! The first release: its program and its maps, where a newer one ran.
//!
//! The object is the one that it shipped; what its maps hold is brought there from those of today, by raw words, since
//! that release's types are gone.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{Xdp, loaded_programs};
use aya::{Ebpf, EbpfLoader};
use lb_common::hash::Seed;
use lb_common::stats::Counters;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// What it called the folder of its maps.
pub const FOLDER: &str = "maps-baf29a91074b8b6b";

/// Its maps.
const MAPS: [&str; 8] = [
    "SERVICES_V4",
    "SERVICES_V6",
    "OVERFLOW_V4",
    "OVERFLOW_V6",
    "RING",
    "BACKENDS",
    "COUNTERS",
    "DROPS",
];

/// Puts the first release's program, which hashes with `seed`, on all interfaces in place of today's, with maps of its
/// own below `pin_dir` that say the same. Of today's, nothing is left. No daemon may run meanwhile.
///
/// # Panics
/// When that fails.
pub fn bring_back(pin_dir: &Path, seed: Seed) {
    let today = folders(pin_dir).pop().unwrap();
    let folder = pin_dir.join(FOLDER);
    fs::create_dir(&folder).unwrap();
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layout-1.o");
    let mut loader = EbpfLoader::new();
    loader.override_global("HASH_SEED", &seed.0, true);
    for map in MAPS {
        loader.map_pin_path(map, folder.join(map));
    }
    let mut program = loader.load(&fs::read(object).unwrap()).unwrap();
    xdp(&mut program).load().unwrap();

    for map in ["SERVICES_V4", "SERVICES_V6"] {
        copy::<8>(pinned(&today, map), pinned(&folder, map));
    }
    copy::<32>(pinned(&today, "RING"), pinned(&folder, "RING"));
    members(pinned(&today, "BACKENDS"), pinned(&folder, "BACKENDS"));
    counters(pinned(&today, "COUNTERS"), pinned(&folder, "COUNTERS"));
    copy::<1>(attached(pin_dir, "NICS"), program.take_map("NICS").unwrap());

    swap(&mut program, pin_dir);
    for pin in fs::read_dir(&today).unwrap() {
        fs::remove_file(pin.unwrap().path()).unwrap();
    }
    fs::remove_dir(today).unwrap();
}

/// The folders of maps below `pin_dir`.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn folders(pin_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(pin_dir).unwrap().map(|entry| entry.unwrap().path());
    let is_maps = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("maps-");
    entries.filter(is_maps).collect()
}

/// A pinned map.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn pinned(folder: &Path, name: &str) -> Map {
    Map::from_map_data(MapData::from_pin(folder.join(name)).unwrap()).unwrap()
}

/// A map of the program that is attached by the links below `pin_dir`, pinned or not.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn attached(pin_dir: &Path, name: &str) -> Map {
    let link = fs::read_dir(pin_dir.join("links")).unwrap().next().unwrap().unwrap();
    let link = FdLink::from(PinnedLink::from_pin(link.path()).unwrap());
    let id = link.info().unwrap().program_id();
    let program = loaded_programs().filter_map(Result::ok).find(|p| p.id() == id).unwrap();
    let mut maps = program.map_ids().unwrap().unwrap().into_iter();
    let map = maps.find_map(|id| {
        let map = MapData::from_id(id).unwrap();
        (map.info().unwrap().name_as_str() == Some(name)).then_some(map)
    });
    Map::from_map_data(map.unwrap()).unwrap()
}

/// The words of one of today's arrays, each of which is one element to the kernel.
fn words(map: Map) -> Vec<u64> {
    let Map::Array(data) = map else {
        panic!("an array");
    };
    let bytes = NonZeroUsize::new(data.info().unwrap().value_size() as usize).unwrap();
    // SAFETY: a new mapping, which nobody else knows of, of as many bytes as are read.
    unsafe {
        let first = mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, data.fd(), 0).unwrap();
        let words = std::slice::from_raw_parts(first.cast::<u64>().as_ptr(), bytes.get() / 8).to_vec();
        munmap(first, bytes.get()).unwrap();
        words
    }
}

/// Copies what is not zero to an array of elements of so many words.
fn copy<const WORDS: usize>(from: Map, to: Map) {
    let mut to: Array<MapData, [u64; WORDS]> = to.try_into().unwrap();
    for (index, value) in (0..).zip(words(from).as_chunks::<WORDS>().0) {
        if *value != [0; WORDS] {
            to.set(index, value, 0).unwrap();
        }
    }
}

/// Members had address, next hop, local MAC, interface and port, one after the other, and then nothing.
fn members(from: Map, to: Map) {
    let mut to: Array<MapData, [u64; 8]> = to.try_into().unwrap();
    for (id, member) in (0..).zip(words(from).as_chunks::<8>().0) {
        let [high, low, next_hop, local, last, ..] = *member;
        if [high, low] != [0; 2] {
            // Interface and port; the first port of `nat` follows them today.
            let last = last & 0xffff_ffff_ffff;
            to.set(id, [high, low, next_hop, local, last, 0, 0, 0], 0).unwrap();
        }
    }
}

/// Counters had the first three of today's fields.
fn counters(from: Map, to: Map) {
    let from: PerCpuArray<MapData, Counters> = from.try_into().unwrap();
    let mut to: PerCpuArray<MapData, [u64; 3]> = to.try_into().unwrap();
    for id in 0..from.len() {
        let values = from.get(&id, 0).unwrap();
        if values.iter().any(|c| c.packets > 0) {
            let values = values.iter().map(|c| [c.packets, c.bytes, c.new_flows]);
            let values = PerCpuValues::try_from(values.collect::<Vec<_>>()).unwrap();
            to.set(id, values, 0).unwrap();
        }
    }
}

fn xdp(program: &mut Ebpf) -> &mut Xdp {
    program.program_mut("fulcrum").unwrap().try_into().unwrap()
}

fn swap(program: &mut Ebpf, pin_dir: &Path) {
    let xdp = xdp(program);
    for pin in fs::read_dir(pin_dir.join("links")).unwrap() {
        let link = FdLink::from(PinnedLink::from_pin(pin.unwrap().path()).unwrap());
        let id = xdp.attach_to_link(link.try_into().unwrap()).unwrap();
        drop(xdp.take_link(id).unwrap());
    }
}
