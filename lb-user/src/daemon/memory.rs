//! Memory of a daemon that reads large files again and again.
//!
//! Parsing takes about fifty times the file for a moment. glibc raises its threshold for mappings with every large block
//! that is freed, takes the next ones from its heap, and the small ones that stay in between keep it from shrinking: a node
//! with 20,000 backends was seen to grow by 7 MB with every reload. Elsewhere both functions do nothing.

#[cfg(target_env = "gnu")]
use nix::libc;

/// Blocks of this size are mappings of their own, which end when they are freed: glibc's threshold at the start.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Keeps the threshold where it is.
pub(super) fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets one parameter of the allocator; any value is fine.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives back to the system what has been freed.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches free memory only, under the allocator's locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
