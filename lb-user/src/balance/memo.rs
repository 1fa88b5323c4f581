//! Rings that need not be built again.

use std::collections::HashMap;
use std::sync::Arc;

use lb_common::hash::Seed;
use lb_common::id::MemberIndex;

use super::maglev::{self, Candidate};
use super::smooth;
use crate::model::RingSize;

/// Remembers the rings of the last round, so that planning a node costs what its *changed* services cost.
///
/// A round asks [`Self::ring`] for every service, then calls [`Self::end_round`], which forgets what nobody asked for.
/// So memory is bounded by the rings of one round and those of the round before.
#[derive(Clone, Debug)]
pub struct Rings {
    seed: Seed,
    kept: HashMap<Recipe, Kept>,
}

/// In which order members get the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// So that few slots change hands when members do: [`maglev`].
    Maglev,
    /// One after the other, as evenly as weights allow: [`smooth`].
    Smooth,
}

/// All that a ring is a function of, except the seed. Candidates are in the order given: callers pass them in a stable
/// order, and a different order only costs one more build.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Recipe {
    members: Box<[Candidate]>,
    log2: u8,
    order: Order,
}

#[derive(Clone, Debug)]
struct Kept {
    ring: Option<Arc<[MemberIndex]>>,
    used: bool,
}

impl Rings {
    /// An empty memory for rings with this seed.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            kept: HashMap::new(),
        }
    }

    /// The ring of `size` slots over `members`, as [`maglev::build`] or [`smooth::build`] makes it.
    pub fn ring(&mut self, members: &[Candidate], size: RingSize, order: Order) -> Option<Arc<[MemberIndex]>> {
        let recipe = Recipe {
            members: members.into(),
            log2: size.log2(),
            order,
        };
        let seed = self.seed;
        let kept = self.kept.entry(recipe).or_insert_with(|| {
            let ring = match order {
                Order::Maglev => maglev::build(members, size, seed),
                Order::Smooth => smooth::build(members, size),
            };
            Kept {
                ring: ring.map(Arc::from),
                used: true,
            }
        });
        kept.used = true;
        kept.ring.clone()
    }

    /// Forgets the rings that nobody has asked for since the last call.
    pub fn end_round(&mut self) {
        self.kept.retain(|_, kept| std::mem::take(&mut kept.used));
    }

    /// How many rings it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Does it remember none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_ring_is_the_same_allocation_until_a_round_passes_without_it() {
        let mut rings = Rings::new(Seed([1, 2]));
        let a = [Candidate {
            address: "10.0.0.1:80".parse().unwrap(),
            weight: 1,
            index: MemberIndex(1),
        }];
        let first = rings.ring(&a, RingSize::DEFAULT, Order::Maglev).unwrap();
        rings.end_round();
        let again = rings.ring(&a, RingSize::DEFAULT, Order::Maglev).unwrap();
        assert!(Arc::ptr_eq(&first, &again));

        let heavier = [Candidate { weight: 2, ..a[0] }];
        assert!(rings.ring(&heavier, RingSize::DEFAULT, Order::Maglev).is_some());
        assert_eq!(rings.ring(&[], RingSize::DEFAULT, Order::Maglev), None);
        assert_eq!(rings.len(), 3);
        rings.end_round();
        assert_eq!(rings.len(), 3);
        assert!(rings.ring(&heavier, RingSize::DEFAULT, Order::Maglev).is_some());
        rings.end_round();
        assert_eq!(rings.len(), 1, "what this round did not ask for is gone");
        rings.end_round();
        assert!(rings.is_empty());
        assert!(!Arc::ptr_eq(
            &first,
            &rings.ring(&a, RingSize::DEFAULT, Order::Maglev).unwrap()
        ));
    }
}
