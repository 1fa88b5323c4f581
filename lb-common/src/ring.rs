//! The ring of a service: slots in blocks.

use crate::id::MemberIndex;
use crate::limits::SLOTS_PER_BLOCK;

/// One slot: who serves it now in the low half, who served it before in the high half.
///
/// The high half tells the state: 0 stable, a member's index moving, 0xFFFF settled. A slot is read and written as one
/// aligned `u32`, so a packet sees a state, never a mixture of two.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

/// What is to be known of the flows of a slot; see [`crate::slot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All go to the current member, and none is written down.
    Stable,
    /// Those that are older than the change go to this member.
    Moving(MemberIndex),
    /// Those that are written down go where they went.
    Settled,
}

impl Slot {
    const SETTLED: u16 = u16::MAX;

    /// A stable slot that `current` serves; with [`MemberIndex::NONE`] nobody does.
    pub const fn stable(current: MemberIndex) -> Self {
        Self(current.0 as u32)
    }

    /// A slot that `current` serves since it was taken from `previous`, which is a member.
    pub const fn moving(current: MemberIndex, previous: MemberIndex) -> Self {
        Self(current.0 as u32 | (previous.0 as u32) << 16)
    }

    /// A slot that `current` serves, where flows of others may be known.
    pub const fn settled(current: MemberIndex) -> Self {
        Self::moving(current, MemberIndex(Self::SETTLED))
    }

    /// Stable, and so without flows that are known?
    #[inline(always)]
    pub const fn is_stable(self) -> bool {
        self.0 >> 16 == 0
    }

    /// Its state.
    #[inline(always)]
    pub const fn state(self) -> State {
        match (self.0 >> 16) as u16 {
            0 => State::Stable,
            Self::SETTLED => State::Settled,
            previous => State::Moving(MemberIndex(previous)),
        }
    }

    /// Who serves new flows of this slot.
    #[inline(always)]
    pub const fn current(self) -> MemberIndex {
        MemberIndex(self.0 as u16)
    }
}

/// Element of `RING`: 64 slots, four cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct RingBlock {
    /// The slots, in order.
    pub slots: [Slot; SLOTS_PER_BLOCK as usize],
}

/// The slot of `hash` in a ring of 2^`log2` slots.
#[inline(always)]
pub const fn index(log2: u8, hash: u64) -> u32 {
    hash as u32 & ((1u32 << (log2 & 31)) - 1)
}

/// Where the slot of `hash` lies in a ring of 2^`log2` slots that starts at `first_block`: block, and slot within it.
#[inline(always)]
pub const fn position(first_block: u32, log2: u8, hash: u64) -> (u32, usize) {
    let index = index(log2, hash);
    (
        first_block + index / SLOTS_PER_BLOCK,
        (index % SLOTS_PER_BLOCK) as usize,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stay_inside_the_ring() {
        assert_eq!(position(7, 6, u64::MAX), (7, 63));
        assert_eq!(position(7, 14, u64::MAX), (7 + 255, 63));
        assert_eq!(position(0, 14, 64), (1, 0));
    }
}
