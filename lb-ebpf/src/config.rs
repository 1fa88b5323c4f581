//! What is fixed for the program's life: in .rodata, set by the loader, known to the verifier as constants.

use aya_ebpf::Global;
use lb_common::hash::Seed;

/// Key of the flow hash.
#[unsafe(no_mangle)]
static HASH_SEED: Global<[u64; 2]> = Global::new([0, 0]);

/// Key of the flow hash.
#[inline(always)]
pub(crate) fn hash_seed() -> Seed {
    Seed(HASH_SEED.load())
}
