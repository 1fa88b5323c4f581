//! What one plan leaves for the next, so that planning a node costs what its changed services cost.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lb_common::hash::Seed;
use lb_common::id::MemberIndex;
use lb_common::ring::Slot;
use lb_common::slot;

use super::slots::Slots;
use crate::balance::Rings;

/// Rings that need not be made again. Whatever it has forgotten costs time only.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(super) rings: Rings,
    /// By first block.
    made: HashMap<u32, Made>,
}

/// The last slots of a ring, and what they were made of.
#[derive(Clone, Debug)]
struct Made {
    wanted: Option<Arc<[MemberIndex]>>,
    keeps: Option<BTreeSet<MemberIndex>>,
    slots: Slots,
    used: bool,
}

impl Memory {
    /// An empty one, for rings with this seed.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            rings: Rings::new(seed),
            made: HashMap::new(),
        }
    }

    /// The slots of the ring at `block`, where `installed` lies, and `wanted` is whom each slot shall have (`None`: nobody).
    /// With `keeps`, the members that are alive, flows keep the backend that they have; without, slots change at once.
    ///
    /// Where nothing changes, what is installed is returned, and not a copy of it.
    pub(super) fn slots(
        &mut self,
        block: u32,
        size: usize,
        installed: Option<&Slots>,
        wanted: Option<&Arc<[MemberIndex]>>,
        keeps: Option<BTreeSet<MemberIndex>>,
    ) -> Slots {
        if let Some(made) = self.made.get_mut(&block)
            && made.keeps == keeps
            && same(made.wanted.as_ref(), wanted)
            && installed.is_some_and(|installed| installed.ptr_eq(&made.slots))
        {
            made.used = true;
            return made.slots.clone();
        }
        let target = |i: usize| wanted.map_or(MemberIndex::NONE, |wanted| wanted[i]);
        let slots: Slots = match (installed, &keeps) {
            (Some(installed), Some(alive)) => {
                let most = alive.last().map_or(0, |index| usize::from(index.0));
                let mut lives = vec![false; most + 1];
                for index in alive {
                    lives[usize::from(index.0)] = true;
                }
                let alive = |index: MemberIndex| lives.get(usize::from(index.0)).copied().unwrap_or(false);
                let slots = installed.iter().enumerate();
                slots.map(|(i, &slot)| slot::next(slot, target(i), &alive)).collect()
            }
            _ => (0..size).map(|i| Slot::stable(target(i))).collect(),
        };
        let slots = installed
            .filter(|installed| **installed == slots)
            .map_or(slots, Slots::clone);
        let made = Made {
            wanted: wanted.cloned(),
            keeps,
            slots: slots.clone(),
            used: true,
        };
        self.made.insert(block, made);
        slots
    }

    /// Forgets what no plan has asked for since the last call.
    pub(super) fn end_round(&mut self) {
        self.rings.end_round();
        self.made.retain(|_, made| std::mem::take(&mut made.used));
    }
}

fn same(a: Option<&Arc<[MemberIndex]>>, b: Option<&Arc<[MemberIndex]>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
