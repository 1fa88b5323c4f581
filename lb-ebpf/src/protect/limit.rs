//! Token buckets of sources: `LIMITS`. The rules are those of [`lb_common::protect::limit`].
//!
//! Two CPUs that are at one source at once see to it that none of the two is forgotten, and try again a few times. Two that
//! are at two new sources of one set may take the same place; then one of the two has sent nothing yet.

use core::intrinsics::{AtomicOrdering, atomic_cxchg};

use lb_common::limits::LIMIT_SETS;
use lb_common::protect::limit::{Limit, WAYS, place as place_of, set_of};

use super::Sender;
use crate::config::hash_key;
use crate::maps::{REFUSALS, limits};

/// How often a CPU tries that was too late, before it lets a packet pass.
const TRIES: u32 = 3;

/// Takes from the bucket of a sender at `now`, of [`crate::clock::nanoseconds`]; false when there is too little in it. `place`
/// is where it is counted that another source has given way.
#[inline(always)]
pub(crate) fn admits<const CALLS: bool>(limit: &Limit, sender: &Sender, now: u64, place: u32) -> bool {
    if !limit.exists() {
        return true;
    }
    let key = limit.key(sender.v4, &sender.source, &hash_key());
    if CALLS {
        fulcrum_limit(key, limit.tolerance, limit.interval, now, place) != 0
    } else {
        takes(key, limit, now, place)
    }
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_limit(key: u64, tolerance: u64, interval: u32, now: u64, place: u32) -> u32 {
    let limit = Limit {
        tolerance,
        interval,
        ..Limit::default()
    };
    takes(key, &limit, now, place).into()
}

#[inline(always)]
fn takes(key: u64, limit: &Limit, now: u64, place: u32) -> bool {
    let Some(set) = limits(set_of(key, LIMIT_SETS)) else {
        return true;
    };
    // SAFETY: a place in a map, of words that each side may find changed at any time.
    let set = unsafe { &mut *set };
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        let at = place_of(set, key);
        let bucket = &mut set.0[at.index as usize & (WAYS - 1)];
        if at.known == 0 {
            if at.done > now {
                evicted(place);
            }
            // In this order: whoever finds the key finds what belongs to it.
            bucket.done = now + u64::from(limit.interval);
            bucket.key = key;
            return true;
        }
        let Some(done) = limit.take(at.done, now) else {
            return false;
        };
        let word = (&raw mut bucket.done).cast::<u64>();
        // SAFETY: an aligned word of a map.
        let (_, was) =
            unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(word, at.done, done) };
        if was {
            return true;
        }
    }
    true
}

#[inline(always)]
fn evicted(place: u32) {
    if let Some(refusals) = REFUSALS.get_ptr_mut(place) {
        // SAFETY: this CPU's element, which nobody else writes.
        unsafe { (*refusals).evicted += 1 };
    }
}
