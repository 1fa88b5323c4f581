//! The arrays that the program addresses directly: [`Direct`].
//!
//! An instruction may hold the address of an element only where an array has no more than one, and aya knows such
//! instructions of global variables alone. So these arrays are made here, and the object is given to aya with their
//! descriptors in it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use aya::maps::{Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_obj::generated::{BPF_F_MMAPABLE, BPF_PSEUDO_MAP_VALUE};
use lb_common::layout::{Direct, MapLayout};

use super::object::LoadError;

/// Opcode of the instruction of two words that holds 64 bits.
const LOAD_64: u8 = 0x18;

/// Bytes of a word, of which such an instruction is two.
const WORD: usize = 8;

/// Every such array, by name.
pub(super) struct Arrays(BTreeMap<&'static str, MapData>);

impl Arrays {
    /// Those of `maps` are pinned in `folder`, if there is one, and made where they are not yet; the others are made.
    pub(super) fn open(maps: &[MapLayout], folder: Option<&Path>) -> Result<Self, LoadError> {
        let open = |array: Direct| {
            let layout = array.layout();
            let pin = folder
                .filter(|_| maps.contains(&layout))
                .map(|folder| folder.join(layout.name));
            let map = match &pin {
                Some(pin) if pin.exists() => MapData::from_pin(pin),
                _ => make(&layout),
            };
            let map = map.map_err(|error| LoadError::map(layout.name, error))?;
            if let Some(pin) = pin.filter(|pin| !pin.exists()) {
                map.pin(pin).map_err(|error| LoadError::map(layout.name, error))?;
            }
            Ok((layout.name, map))
        };
        Direct::ALL.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Another hold of one.
    pub(super) fn get(&self, name: &str) -> Option<Map> {
        let fd = self.0.get(name)?.fd().as_fd().try_clone_to_owned().ok()?;
        Map::from_map_data(MapData::from_fd(fd).ok()?).ok()
    }

    /// The object with their descriptors in the places of their markers. They have to stay open as long as its programs may be
    /// loaded.
    pub(super) fn address(&self, object: &[u8]) -> Vec<u8> {
        let mut object = object.to_vec();
        for at in (0..object.len().saturating_sub(2 * WORD - 1)).step_by(WORD) {
            let Some([first, second]) = instruction(&mut object[at..]) else {
                continue;
            };
            let (low, high) = (immediate(first), immediate(second));
            let marker = u64::from(low) | u64::from(high) << 32;
            let Some(array) = Direct::ALL.into_iter().find(|array| array.marker() == marker) else {
                continue;
            };
            let map = &self.0[array.layout().name];
            first[1] = first[1] & 0xf | (BPF_PSEUDO_MAP_VALUE as u8) << 4;
            first[4..].copy_from_slice(&map.fd().as_fd().as_raw_fd().to_le_bytes());
            // The offset in the array.
            second[4..].fill(0);
        }
        object
    }
}

fn make(layout: &MapLayout) -> Result<MapData, aya::maps::MapError> {
    let MapLayout {
        key, value, entries, ..
    } = *layout;
    let array = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, value, entries, BPF_F_MMAPABLE);
    MapData::create(array, layout.name, None)
}

/// The two words of an instruction at the beginning of these bytes, if it is one that holds 64 bits.
fn instruction(bytes: &mut [u8]) -> Option<[&mut [u8; WORD]; 2]> {
    let (first, rest) = bytes.split_first_chunk_mut()?;
    let (second, _) = rest.split_first_chunk_mut()?;
    (first[0] == LOAD_64).then_some([first, second])
}

/// Half of what it holds.
fn immediate(word: &[u8; WORD]) -> u32 {
    let [.., a, b, c, d] = *word;
    u32::from_le_bytes([a, b, c, d])
}
