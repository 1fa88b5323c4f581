//! The slots of a ring, and who has how many of them.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use lb_common::ring::{Slot, State};

use crate::model::status::SlotStates;

/// The slots of a ring, in order. They do not change: a ring that changes has others. Copies are the same slots.
#[derive(Clone)]
pub struct Slots(Arc<Counted>);

struct Counted {
    slots: Box<[Slot]>,
    /// A node has up to 16 Mi slots, and is asked every few seconds: they are counted once.
    census: OnceLock<Census>,
}

/// Who has how many slots, and how many are in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By [index](lb_common::id::MemberIndex).
    pub shares: Vec<Share>,
    /// All slots are in one of them.
    pub states: SlotStates,
}

/// The slots that refer to a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// It has them.
    pub current: u32,
    /// It has had them, and their older flows are still its own.
    pub previous: u32,
}

impl Slots {
    /// Are they the same slots, and not just equal ones?
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Counts them, unless they have been.
    #[must_use]
    pub fn census(&self) -> &Census {
        self.0.census.get_or_init(|| Census::of(self))
    }
}

impl Census {
    fn of(slots: &[Slot]) -> Self {
        let mut census = Self::default();
        for slot in slots {
            census.share(slot.current().0).current += 1;
            match slot.state() {
                State::Stable => census.states.stable += 1,
                State::Moving(previous) => {
                    census.states.moving += 1;
                    census.share(previous.0).previous += 1;
                }
                State::Settled => census.states.settled += 1,
            }
        }
        census
    }

    fn share(&mut self, index: u16) -> &mut Share {
        let index = usize::from(index);
        if index >= self.shares.len() {
            self.shares.resize(index + 1, Share::default());
        }
        &mut self.shares[index]
    }
}

impl Deref for Slots {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        &self.0.slots
    }
}

impl From<Vec<Slot>> for Slots {
    fn from(slots: Vec<Slot>) -> Self {
        Self(Arc::new(Counted {
            slots: slots.into(),
            census: OnceLock::new(),
        }))
    }
}

impl FromIterator<Slot> for Slots {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        slots.into_iter().collect::<Vec<_>>().into()
    }
}

impl PartialEq for Slots {
    fn eq(&self, other: &Self) -> bool {
        self.ptr_eq(other) || **self == **other
    }
}

impl Eq for Slots {}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use lb_common::id::MemberIndex;

    use super::*;

    #[test]
    fn every_slot_counts_for_whom_it_refers_to() {
        let [one, three] = [MemberIndex(1), MemberIndex(3)];
        let slots = vec![
            Slot::stable(three),
            Slot::moving(one, three),
            Slot::settled(one),
            Slot::stable(one),
        ];
        let slots = Slots::from(slots);
        let shares = [(0, 0), (3, 0), (0, 0), (1, 1)];
        let census = slots.census();
        assert_eq!(
            census.shares,
            shares.map(|(current, previous)| Share { current, previous })
        );
        let states = SlotStates {
            stable: 2,
            moving: 1,
            settled: 1,
        };
        assert_eq!(census.states, states);
        assert!(
            std::ptr::eq(census, slots.clone().census()),
            "a copy's are counted already"
        );
    }
}
