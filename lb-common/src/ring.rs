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

impl Slot {
    /// A stable slot that `current` serves; with [`MemberIndex::NONE`] nobody does.
    pub const fn stable(current: MemberIndex) -> Self {
        Self(current.0 as u32)
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
