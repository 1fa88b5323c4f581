//! Memory of a daemon that reads large files again and again.
//!
//! Parsing takes about fifty times the file for a moment. glibc raises its threshold for mappings with every large block
//! that is freed, takes the next ones from its heap, and the small ones that stay in between keep it from shrinking: a node
//! with 20,000 backends was seen to grow by 7 MB with every reload. And it gives each thread a heap of its own, though the
//! reconciler's rounds wander from thread to thread, and each heap keeps what the largest round needed: 365 MB instead of 194.
//! Threads of the proxy are another matter: they stay where they are, and each has a heap of its own.
//! Elsewhere these functions do nothing.

#[cfg(target_env = "gnu")]
use nix::libc;

/// Blocks of this size are mappings of their own, which end when they are freed: glibc's threshold at the start.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Heaps, of all threads together.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// Keeps the threshold where it is, and heaps few.
pub(super) fn keep_together() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_ARENA_MAX, HEAPS)] {
        // SAFETY: sets a parameter of the allocator; any value is fine.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// A heap for each of so many threads that begin after this.
pub(super) fn room_for(threads: usize) {
    #[cfg(target_env = "gnu")]
    // SAFETY: as above.
    unsafe {
        libc::mallopt(
            libc::M_ARENA_MAX,
            HEAPS.saturating_add(libc::c_int::try_from(threads).unwrap_or(libc::c_int::MAX)),
        );
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = threads;
}

/// Gives back to the system what has been freed.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches free memory only, under the allocator's locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
