//! Reading a whole hash in few system calls: `BPF_MAP_LOOKUP_BATCH` (Linux 5.6), which aya does not offer.
//!
//! The kernel goes bucket by bucket: an entry that is there from the beginning to the end is seen exactly once, one that
//! comes or goes meanwhile may be seen or not.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::Pod;
use aya::maps::MapData;
use nix::errno::Errno;
use nix::libc;

/// Entries asked for at once: a hash of 262,144 takes 64 calls, and the buffers of flows half a megabyte.
const CHUNK: usize = 4096;

/// `enum bpf_cmd` of linux/bpf.h.
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// `union bpf_attr`, as batch operations see it.
#[repr(C, align(8))]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A hash, to be read whole.
pub(super) struct Batch<K, V> {
    map: OwnedFd,
    entries: PhantomData<(K, V)>,
}

impl<K: Pod, V: Pod> Batch<K, V> {
    /// Of `map`, a hash whose keys and values are `K` and `V`.
    pub(super) fn new(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        // The kernel writes as many bytes as the map has.
        if sizes != (size_of::<K>(), size_of::<V>()) {
            let (key, value) = sizes;
            return Err(io::Error::other(format!(
                "entries have {key} and {value} bytes, and not {} and {}",
                size_of::<K>(),
                size_of::<V>()
            )));
        }
        Ok(Self {
            map: map.fd().as_fd().try_clone_to_owned()?,
            entries: PhantomData,
        })
    }

    /// Shows every entry to `each`, a chunk at a time; ends with its first error.
    pub(super) fn visit<E: From<io::Error>>(&self, mut each: impl FnMut(&[K], &[V]) -> Result<(), E>) -> Result<(), E> {
        let mut chunk = Chunk::<K, V>::new(CHUNK);
        // Where the next chunk begins: of a hash, the number of a bucket.
        let mut place: Option<u32> = None;
        loop {
            match self.read(&mut chunk, &mut place) {
                Ok(()) => each(&chunk.keys, &chunk.values)?,
                // The end, which may come with the last entries.
                Err(Errno::ENOENT) => return each(&chunk.keys, &chunk.values),
                // One bucket holds more than this.
                Err(Errno::ENOSPC) => chunk = Chunk::new(chunk.room * 2),
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
    }

    /// Reads the chunk at `place`, and moves that on.
    fn read(&self, chunk: &mut Chunk<K, V>, place: &mut Option<u32>) -> nix::Result<()> {
        chunk.keys.clear();
        chunk.values.clear();
        let mut next = 0u32;
        let mut attributes = Attributes {
            in_batch: place.as_ref().map_or(0, |place| std::ptr::from_ref(place) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: chunk.keys.as_mut_ptr() as u64,
            values: chunk.values.as_mut_ptr() as u64,
            count: u32::try_from(chunk.room).map_err(|_| Errno::ENOSPC)?,
            map_fd: self.map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the attributes have the size that is said. `in_batch` and `out_batch` point to a u32 each, which is what
        // a hash reads and writes there; `keys` and `values` to room for `count` entries of the map's sizes.
        let result = Errno::result(unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                std::ptr::from_mut(&mut attributes),
                size_of::<Attributes>(),
            )
        });
        if matches!(result, Ok(_) | Err(Errno::ENOENT)) {
            let count = (attributes.count as usize).min(chunk.room);
            // SAFETY: the kernel has written the first `count` of each, and any bytes are a `Pod`.
            unsafe {
                chunk.keys.set_len(count);
                chunk.values.set_len(count);
            }
            *place = Some(next);
        }
        result.map(drop)
    }
}

/// Room for entries.
struct Chunk<K, V> {
    room: usize,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Chunk<K, V> {
    fn new(room: usize) -> Self {
        Self {
            room,
            keys: Vec::with_capacity(room),
            values: Vec::with_capacity(room),
        }
    }
}
