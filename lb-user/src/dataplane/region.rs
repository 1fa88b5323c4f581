//! An array that the XDP program reads while the manager stores to it.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// `len` elements of a map, in this process's memory: a mapping of the kernel's, or the heap for [`super::fake`].
///
/// The program only reads it. Words that it may be reading are stored by [`store_u32`] and [`store_u64`],
/// whole and once.
pub(super) struct Region<T> {
    first: NonNull<T>,
    len: usize,
    mapped: bool,
}

// SAFETY: the memory belongs to the region, which hands out references under the usual rules.
unsafe impl<T: Send> Send for Region<T> {}

impl<T: Copy> Region<T> {
    /// Maps the array `map`, whose elements are of type `T` without padding between them.
    pub(super) fn mapped(map: impl AsFd, len: u32) -> nix::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 4096) };
        let bytes = NonZeroUsize::new(len as usize * size_of::<T>()).ok_or(nix::Error::EINVAL)?;
        // SAFETY: a new mapping of a file of our own; no memory of this process is touched.
        let first = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map,
                0,
            )
        }?;
        Ok(Self {
            first: first.cast(),
            len: len as usize,
            mapped: true,
        })
    }

    /// An array of `len` times `element` on the heap.
    pub(super) fn heap(element: T, len: u32) -> Self {
        let elements = vec![element; len as usize].into_boxed_slice();
        Self {
            len: elements.len(),
            first: NonNull::from(Box::leak(elements)).cast(),
            mapped: false,
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.as_slice().get(index as usize)
    }

    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: `len` elements from `first` on are ours; only `&mut self` writes them.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }

    /// Copies these to the beginning, before the program reads any of it.
    pub(super) fn fill(&mut self, elements: &[T]) {
        for (at, &element) in (0..).zip(elements) {
            if let Some(to) = self.get_mut(at) {
                *to = element;
            }
        }
    }

    /// The element at `index`, for plain stores to what the program does not read at the moment, and for the two
    /// stores below.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        // SAFETY: as above, and `&mut self` makes it the only reference.
        let all = unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) };
        all.get_mut(index as usize)
    }
}

/// Stores `value` to a word that the program may be reading; what was stored before is seen before.
pub(super) fn store_u64(word: &mut u64, value: u64) {
    // SAFETY: a `&mut u64` is valid and aligned for its lifetime.
    unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::Release);
}

/// As [`store_u64`].
pub(super) fn store_u32(word: &mut u32, value: u32) {
    // SAFETY: a `&mut u32` is valid and aligned for its lifetime.
    unsafe { AtomicU32::from_ptr(word) }.store(value, Ordering::Release);
}

impl<T> Drop for Region<T> {
    fn drop(&mut self) {
        if self.mapped {
            // SAFETY: the very mapping that `mapped` made; nothing refers to it any more.
            let unmapped = unsafe { munmap(self.first.cast(), self.len * size_of::<T>()) };
            debug_assert_eq!(unmapped, Ok(()));
        } else {
            // SAFETY: the very box that `heap` leaked.
            drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len)) });
        }
    }
}
