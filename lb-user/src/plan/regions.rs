//! Space in arrays: aligned regions whose length is a power of two, first fit.
//!
//! Alignment keeps free space as whole as a buddy allocator would, without any state: what is taken is read off the
//! entries that refer to it.

use std::collections::BTreeMap;

/// Regions in use, of an array of `capacity` elements.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    capacity: u32,
    /// Length by start.
    taken: BTreeMap<u32, u32>,
}

impl Regions {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            taken: BTreeMap::new(),
        }
    }

    /// Marks a region as in use. Marking one twice keeps the longer.
    pub(super) fn take(&mut self, start: u32, len: u32) {
        let known = self.taken.entry(start).or_default();
        *known = (*known).max(len);
    }

    /// Is `start..start + len` free of all regions but the one that begins at `start` itself?
    pub(super) fn extends(&self, start: u32, len: u32) -> bool {
        start
            .checked_add(len)
            .is_some_and(|end| end <= self.capacity && self.taken.range(start + 1..end).next().is_none())
    }

    /// Takes the first free region of `len` elements, a power of two; `None` when there is none.
    pub(super) fn allocate(&mut self, len: u32) -> Option<u32> {
        let mut start = 0;
        for (&taken, &taken_len) in &self.taken {
            if start + len <= taken {
                break;
            }
            start = start.max((taken + taken_len).next_multiple_of(len));
        }
        if start + len > self.capacity {
            return None;
        }
        self.take(start, len);
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn space_is_found_between_and_behind() {
        let mut regions = Regions::new(64);
        regions.take(0, 4);
        regions.take(16, 16);
        assert_eq!(regions.allocate(8), Some(8));
        assert_eq!(regions.allocate(4), Some(4));
        assert_eq!(regions.allocate(32), Some(32));
        assert_eq!(regions.allocate(1), None);
        assert!(!regions.extends(0, 8));
        assert!(Regions::new(64).extends(0, 64));
    }

    proptest! {
        #[test]
        fn regions_never_overlap(lens in proptest::collection::vec(0u32..6, 0..60)) {
            let mut regions = Regions::new(256);
            let mut used = [false; 256];
            for log2 in lens {
                let len = 1 << log2;
                if let Some(start) = regions.allocate(len) {
                    prop_assert_eq!(start % len, 0);
                    for element in start..start + len {
                        prop_assert!(!std::mem::replace(&mut used[element as usize], true));
                    }
                } else {
                    let aligned = (0..256 / len).any(|i| (i * len..(i + 1) * len).all(|e| !used[e as usize]));
                    prop_assert!(!aligned, "space for {} was there", len);
                }
            }
        }
    }
}
