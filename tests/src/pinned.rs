//! An array of the daemon's, through its pin: what a foreigner may look at, and write to.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// `len` elements, mapped until this process ends.
#[derive(Debug)]
pub struct Pinned<T> {
    first: *mut T,
    len: u32,
}

impl<T: Pod> Pinned<T> {
    /// Maps the array that is pinned as `name` in a folder of maps below `pins`.
    ///
    /// # Errors
    /// When there is none, or the kernel does not let it be mapped.
    pub fn open(pins: &Path, name: &str, len: u32) -> Result<Self> {
        let pins = fs::read_dir(pins)?.map(|entry| Ok(entry?.path().join(name)));
        let pins: Vec<PathBuf> = pins.collect::<Result<_>>()?;
        let pin = pins.into_iter().find(|pin| pin.exists());
        let map = MapData::from_pin(pin.with_context(|| format!("no pinned {name}"))?)?;
        let bytes = NonZeroUsize::new(size_of::<T>() * len as usize).context("no elements")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping; no memory of this process is touched.
        let first = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, map.fd(), 0) }?;
        Ok(Self {
            first: first.as_ptr().cast(),
            len,
        })
    }

    /// An element as it is now.
    ///
    /// # Panics
    /// When there is no such element.
    pub fn get(&self, index: u32) -> T {
        assert!(index < self.len, "no element {index}");
        // SAFETY: so many are mapped, and stay so; whatever their bytes are is a value.
        unsafe { self.first.add(index as usize).read_volatile() }
    }

    /// Writes one, and asks nobody.
    ///
    /// # Panics
    /// When there is no such element.
    pub fn set(&self, index: u32, value: T) {
        assert!(index < self.len, "no element {index}");
        // SAFETY: as above; nobody holds a reference into the mapping.
        unsafe { self.first.add(index as usize).write_volatile(value) }
    }

    /// All of them, one after the other.
    pub fn all(&self) -> impl Iterator<Item = (u32, T)> {
        (0..self.len).map(|index| (index, self.get(index)))
    }
}
