//! What is fixed for the program's life: in .rodata, set by the loader.

use aya_ebpf::Global;
use lb_common::hash::Key;

/// Key of the flow hash.
#[unsafe(no_mangle)]
static HASH_KEY: Global<[u64; 4]> = Global::new([0; 4]);

/// Key of the flow hash.
#[inline(always)]
pub(crate) fn hash_key() -> Key {
    Key(HASH_KEY.load())
}
