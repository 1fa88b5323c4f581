//! Rings for turns: who walks over them slot by slot meets every member as evenly as weights allow.
//!
//! Quotas are those of [`super::apportion`]. A member with `quota` of `slots` slots gets its k-th one between ⌊k × slots /
//! quota⌋ and ⌈(k + 1) × slots / quota⌉, and of those whose time has come, whoever has to be served first is. That always
//! works out (Baruah et al., "Proportionate Progress", Algorithmica 1996), and wherever one begins to count, no member is
//! a whole slot ahead of its share or behind it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lb_common::id::MemberIndex;

use super::apportion::apportion;
use super::maglev::{Candidate, eligible};
use crate::model::RingSize;

/// The ring of `size` slots over `members`, in any order; `None` when no weight is positive.
#[must_use]
pub fn build(members: &[Candidate], size: RingSize) -> Option<Box<[MemberIndex]>> {
    let slots = size.slots();
    let members = eligible(members, slots as usize);
    if members.is_empty() {
        return None;
    }
    let weights: Vec<u32> = members.iter().map(|m| m.weight).collect();
    let order = turns(&apportion(&weights, slots), slots);
    Some(order.into_iter().map(|member| members[member as usize].index).collect())
}

/// Whose slot it is, slot after slot; the sum of `quotas` is `slots`.
fn turns(quotas: &[u32], slots: u32) -> Vec<u32> {
    let begins = |k: u32, member: u32| u64::from(k) * u64::from(slots) / u64::from(quotas[member as usize]);
    let ends = |k: u32, member: u32| {
        let quota = u64::from(quotas[member as usize]);
        (u64::from(k) + 1).wrapping_mul(u64::from(slots)).div_ceil(quota)
    };
    // The turn, whose, which of its own. Equal times go by the order of members.
    let mut later: BinaryHeap<Reverse<(u64, u32, u32)>> = (0..).zip(quotas).map(|(m, _)| Reverse((0, m, 0))).collect();
    let mut due: BinaryHeap<Reverse<(u64, u32, u32)>> = BinaryHeap::new();
    let mut turns = Vec::with_capacity(slots as usize);
    for slot in 0..u64::from(slots) {
        while let Some(&Reverse((begin, member, k))) = later.peek()
            && begin <= slot
        {
            later.pop();
            due.push(Reverse((ends(k, member), member, k)));
        }
        let Some(Reverse((_, member, k))) = due.pop() else {
            break;
        };
        turns.push(member);
        if k + 1 < quotas[member as usize] {
            later.push(Reverse((begins(k + 1, member), member, k + 1)));
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(weights: &[u32]) -> Vec<Candidate> {
        let member = |(i, &weight): (usize, &u32)| Candidate {
            address: ([10, 0, (i >> 8) as u8, i as u8], 80).into(),
            weight,
            index: MemberIndex(i as u16 + 1),
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn order(weights: &[u32]) -> Vec<u16> {
        let ring = build(&members(weights), RingSize::new(64).unwrap()).unwrap();
        ring.iter().map(|index| index.0).collect()
    }

    #[test]
    fn equals_take_turns() {
        let order = order(&[1; 4]);
        assert!(order.chunks(4).all(|turn| turn == [1, 2, 3, 4]), "{order:?}");
    }

    #[test]
    fn the_heavy_do_not_come_in_a_row() {
        let order = order(&[1, 1, 2]);
        assert!(
            order
                .chunks(4)
                .all(|turn| turn.iter().filter(|&&i| i == 3).count() == 2)
        );
        assert!(order.windows(3).all(|three| three != [3, 3, 3]), "{order:?}");
    }

    #[test]
    fn the_order_of_the_file_does_not_matter() {
        let mut members = members(&[5, 1, 3]);
        let size = RingSize::DEFAULT;
        let ring = build(&members, size);
        members.reverse();
        assert_eq!(build(&members, size), ring);
        assert_eq!(build(&[], size), None);
    }

    proptest! {
        #[test]
        fn nobody_is_a_whole_slot_off_its_share(weights in prop::collection::vec(0u32..500, 1..60), log2 in 6u8..11) {
            let members = members(&weights);
            let slots = 1u32 << log2;
            let Some(ring) = build(&members, RingSize::new(slots).unwrap()) else {
                prop_assert!(weights.iter().all(|&weight| weight == 0));
                return Ok(());
            };
            prop_assert_eq!(ring.len(), slots as usize);
            for member in members {
                let quota = ring.iter().filter(|&&i| i == member.index).count() as u64;
                let mut had = 0;
                for (slot, &index) in (1..).zip(&ring) {
                    had += u64::from(index == member.index);
                    // |had - slot × quota / slots| < 1
                    prop_assert!((had * u64::from(slots)).abs_diff(slot * quota) < u64::from(slots));
                }
            }
        }
    }
}
