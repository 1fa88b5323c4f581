//! How much of each source: token buckets, in the form of the generic cell rate algorithm (ITU-T I.371, annex A).
//!
//! All that is kept of a source is when it will have nothing left to make up for. While that is past, its bucket is full and
//! nothing is known of it, so its place may be anybody's: what is kept are sources that have sent within `burst / rate`, and
//! no others. A flood from spoofed addresses fills the table only as far as it lasts that long.
//!
//! The table is sets of [`WAYS`] places, a cache line each. What the limits of one owner keep of a source is in one set. Where
//! all places of a set are of sources that still have to make up for something, the one that is done first gives way, and that
//! is counted.

use crate::addr::Ipv6Be;
use crate::hash::{GOLDEN, Key};

/// Places of a set.
pub const WAYS: usize = 4;

/// Nanoseconds by which the program's clock may be late: a tick of the slowest kernel. A source may send so much at once as
/// comes in this time, however small its burst.
pub const TICK: u64 = 10_000_000;

/// A limit as the program applies it; of all zeros, none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Nanoseconds by which a source may be ahead.
    pub tolerance: u64,
    /// Nanoseconds for one packet; 0: there is no limit.
    pub interval: u32,
    /// Tells limits apart that a source meets: the two low bits those of one owner, the others the owners.
    pub scope: u32,
    /// Which bits of an IPv4 address tell sources apart, in network order.
    pub mask_v4: u32,
    /// 1 if the second half of an IPv6 address does.
    pub whole_v6: u32,
    /// Which bits of the first half do, in network order.
    pub mask_v6: u64,
}

impl Limit {
    /// `rate` in a second and `burst` at once, both 1 to 10 million, for each source: those whose first `per_v4` bits (0 to
    /// 32), or `per_v6` bits (0 to 64, or 128), are equal.
    #[must_use]
    pub const fn new(rate: u32, burst: u32, per_v4: u8, per_v6: u8, scope: u32) -> Self {
        // Nearest, so that no limit is a per cent off.
        let interval = (1_000_000_000 + rate / 2) / rate;
        let tolerance = (burst as u64 - 1) * interval as u64;
        Self {
            tolerance: if tolerance < TICK { TICK } else { tolerance },
            interval,
            scope,
            mask_v4: ((first_bits(per_v4) >> 32) as u32).to_be(),
            whole_v6: (per_v6 > 64) as u32,
            mask_v6: first_bits(if per_v6 > 64 { 64 } else { per_v6 }).to_be(),
        }
    }

    /// Is there a limit?
    #[inline(always)]
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.interval != 0
    }

    /// What is known of a source by, hashed with `secret`, so that nobody chooses whose place he takes. Never 0.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self, v4: bool, source: &Ipv6Be, Key(secret): &Key) -> u64 {
        let [mut high, mut low] = source.0;
        if v4 {
            low &= (self.mask_v4 as u64) << 32;
        } else {
            high &= self.mask_v6;
            low &= (0_u64).wrapping_sub(self.whole_v6 as u64);
        }
        // Each step can be undone, so sources of IPv4 never share a key.
        let mut hash = (low ^ secret[0]).wrapping_mul(ODD[0]);
        hash = (hash ^ hash >> 32 ^ high ^ secret[1]).wrapping_mul(ODD[1]);
        hash = (hash ^ hash >> 29 ^ (self.scope as u64 >> 2) << 1).wrapping_mul(ODD[0]);
        hash ^= hash >> 32 ^ (self.scope as u64 & 3);
        if hash == 0 { 1 } else { hash }
    }

    /// When a source will have nothing left to make up for, if it sends at `now` what it would have to until `done`; `None`
    /// when that is too much.
    #[inline(always)]
    #[must_use]
    pub const fn take(&self, done: u64, now: u64) -> Option<u64> {
        let from = if done > now { done } else { now };
        if from - now > self.tolerance {
            return None;
        }
        Some(from + self.interval as u64)
    }
}

/// Odd numbers without a pattern: the golden ratio, and a multiplier of MurmurHash3's last step.
const ODD: [u64; 2] = [GOLDEN, 0xff51_afd7_ed55_8ccd];

/// So many ones at the high end, 0 to 64.
const fn first_bits(count: u8) -> u64 {
    match u64::MAX.checked_shr(count as u32) {
        Some(rest) => !rest,
        None => u64::MAX,
    }
}

/// What is kept of a source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// [`Limit::key`]; 0: nobody's.
    pub key: u64,
    /// When it will have nothing left to make up for, in nanoseconds.
    pub done: u64,
}

/// A cache line of them.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(pub [Bucket; WAYS]);

/// The set of a key, of `sets`, a power of two.
#[inline(always)]
#[must_use]
pub const fn set_of(key: u64, sets: u32) -> u32 {
    (key >> 32) as u32 & (sets - 1)
}

/// Where a key is in its set, or may be.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the places, less than [`WAYS`].
    pub index: u32,
    /// 1 if the key is there already.
    pub known: u32,
    /// What is kept there.
    pub done: u64,
}

/// The place of a key, or the one that gives way to it: of who is done first.
#[inline(always)]
#[must_use]
pub const fn place(set: &Set, key: u64) -> Place {
    let mut place = Place {
        index: 0,
        known: 0,
        done: u64::MAX,
    };
    let mut index = 0;
    while index < WAYS {
        let bucket = set.0[index];
        if bucket.key == key {
            return Place {
                index: index as u32,
                known: 1,
                done: bucket.done,
            };
        }
        if bucket.done < place.done {
            place.index = index as u32;
            place.done = bucket.done;
        }
        index += 1;
    }
    place
}
