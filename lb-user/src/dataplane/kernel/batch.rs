//! Reading much of a map in few system calls: `BPF_MAP_LOOKUP_BATCH` (Linux 5.6, of per-CPU arrays 5.13), which aya does
//! not offer.

use std::io;
use std::marker::PhantomData;
use std::ops::AddAssign;
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
///
/// The kernel goes bucket by bucket: an entry that is there from the beginning to the end is seen exactly once, one that
/// comes or goes meanwhile may be seen or not.
pub(super) struct Batch<K, V> {
    map: OwnedFd,
    entries: PhantomData<(K, V)>,
}

impl<K: Pod, V: Pod> Batch<K, V> {
    /// Of `map`, a hash whose keys and values are `K` and `V`.
    pub(super) fn new(map: &MapData) -> io::Result<Self> {
        Ok(Self {
            map: checked::<K, V>(map)?,
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
        // SAFETY: `in_batch` and `out_batch` point to a u32 each, which is what a hash reads and writes there; `keys` and
        // `values` to room for `count` entries of the map's sizes.
        let result = unsafe { look_up(&mut attributes) };
        if matches!(result, Ok(_) | Err(Errno::ENOENT)) {
            let count = (attributes.count as usize).min(chunk.room);
            // SAFETY: there is room for so many, the kernel has written them, and any bytes are a `Pod`.
            unsafe { chunk.keys.set_len(count) };
            // SAFETY: as above.
            unsafe { chunk.values.set_len(count) };
            *place = Some(next);
        }
        result
    }
}

/// A per-CPU array, read as the sums over CPUs.
pub(super) struct Sums<V> {
    map: OwnedFd,
    cpus: usize,
    elements: PhantomData<V>,
}

impl<V: Pod + Default + AddAssign> Sums<V> {
    /// Of `map`, a per-CPU array whose values are `V`.
    pub(super) fn new(map: &MapData) -> io::Result<Self> {
        // The kernel puts each CPU's value at a multiple of 8 bytes.
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        Ok(Self {
            map: checked::<u32, V>(map)?,
            cpus: aya::util::nr_cpus().map_err(|(_, error)| error)?,
            elements: PhantomData,
        })
    }

    /// `count` elements from `first` on, fewer where the array ends.
    pub(super) fn read(&self, first: u32, count: u32) -> io::Result<Vec<V>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        // What an array is told is the element before; the first has none.
        let before = first.checked_sub(1);
        let mut last = 0u32;
        let mut keys = vec![0u32; count as usize];
        let mut values = vec![V::default(); count as usize * self.cpus];
        let mut attributes = Attributes {
            in_batch: before.as_ref().map_or(0, |before| std::ptr::from_ref(before) as u64),
            out_batch: std::ptr::from_mut(&mut last) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count,
            map_fd: self.map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: `in_batch` and `out_batch` point to a u32 each, which is what an array reads and writes there; `keys` to
        // room for `count` of its keys, and `values` for as many values of each CPU.
        match unsafe { look_up(&mut attributes) } {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let of_each = values.chunks(self.cpus).take(attributes.count as usize);
        Ok(of_each
            .map(|of_cpus| {
                of_cpus.iter().fold(V::default(), |mut sum, &value| {
                    sum += value;
                    sum
                })
            })
            .collect())
    }
}

/// The map, if its keys and values have these sizes: the kernel writes as many bytes as the map has.
fn checked<K, V>(map: &MapData) -> io::Result<OwnedFd> {
    let info = map.info().map_err(io::Error::other)?;
    let (key, value) = (info.key_size() as usize, info.value_size() as usize);
    if (key, value) != (size_of::<K>(), size_of::<V>()) {
        return Err(io::Error::other(format!(
            "entries have {key} and {value} bytes, and not {} and {}",
            size_of::<K>(),
            size_of::<V>()
        )));
    }
    map.fd().as_fd().try_clone_to_owned()
}

/// # Safety
/// What the attributes point to is as the map wants it.
unsafe fn look_up(attributes: &mut Attributes) -> nix::Result<()> {
    // SAFETY: the attributes have the size that is said; the rest is the caller's word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            std::ptr::from_mut(attributes),
            size_of::<Attributes>(),
        )
    };
    Errno::result(result).map(drop)
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
