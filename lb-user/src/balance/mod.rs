//! Which backend a slot of a ring belongs to.
//!
//! Everything here is a pure function of its arguments: nodes with the same members, weights, size and seed build the
//! same rings without talking to each other. Who is healthy, and how a ring gets into the kernel, is for others.

mod apportion;
pub mod maglev;
mod memo;

use lb_common::id::MemberIndex;

pub use maglev::{Candidate, build};
pub use memo::Rings;

/// How many slots change hands when `new` replaces `old`.
///
/// Rings of different sizes are compared at the larger one: slots i and i + N of a doubled ring stand for slot i. An
/// empty ring serves nothing, so every slot of the other one counts.
#[must_use]
pub fn moved(old: &[MemberIndex], new: &[MemberIndex]) -> usize {
    let slots = old.len().max(new.len());
    if old.is_empty() || new.is_empty() {
        return slots;
    }
    (0..slots).filter(|i| old[i % old.len()] != new[i % new.len()]).count()
}

#[cfg(test)]
mod tests;
