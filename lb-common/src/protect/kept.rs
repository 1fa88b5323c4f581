//! What is kept for SYN cookies, in one array: of services whether they have given some out, and of flows whether packets have gone on
//! to the kernel lately.
//!
//! Of a connection that there is the kernel takes no cookie, nor of one that has just ended, so before a SYN is answered the kernel is
//! asked, which takes longer than all else. But where no packet of a flow has gone on to it in the last two minutes there is no
//! connection that has just ended: `TIME_WAIT` takes one minute from the last packet on. So each packet that goes on leaves a *stamp*
//! in a place that its flow shares with others, and where there is none, nobody asks. What shares its place with another flow costs a
//! question, and is not wrong.
//!
//! A connection may be silent for longer. Whoever opens another one from the same port while the old one is still there gets a cookie
//! that the kernel does not take, and has to try again from another port, as where a NAT on the way has forgotten it.

use super::PLACES;
use super::limit::Limit;
use crate::addr::Ipv6Be;
use crate::hash::Key;

/// Nanoseconds of a unit of stamps, log2: 17 s.
const UNIT: u32 = 34;

/// Whole units for which a stamp says something: two minutes.
const LASTS: u32 = 7;

/// Nanoseconds for which all packets have to be stamped before stamps can be believed: as long as one lasts at most, and a unit for the
/// time in which the program is put in place.
pub const SETTLES: u64 = (LASTS as u64 + 2) << UNIT;

/// Places of stamps, a power of two: 512 KiB.
pub const STAMPS: u32 = 1 << 19;

/// What is kept of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Giver {
    /// Until when cookies are good that it has given out, in nanoseconds of the program's clock.
    pub good: u64,
    /// When the kernel will have nothing left to make up for of the SYNs that are left to it: of [`Limit::take`].
    pub done: u64,
}

/// The array.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Kept {
    /// From when stamps can be believed, in nanoseconds of the program's clock; 0: never.
    pub from: u64,
    #[doc(hidden)]
    pub pad: [u64; 7],
    /// By the place of a service.
    pub givers: [Giver; PLACES as usize],
    /// By [`index`].
    pub stamps: [u8; STAMPS as usize],
}

/// The place of a flow's stamp, less than [`STAMPS`]; `ports` are both of them as they lie in a packet.
#[inline(always)]
#[must_use]
pub const fn index(v4: bool, source: &Ipv6Be, ports: u32, secret: &Key) -> u32 {
    let flow = Limit {
        tolerance: 0,
        interval: 0,
        scope: ports,
        mask_v4: u32::MAX,
        whole_v6: 1,
        mask_v6: u64::MAX,
    };
    (flow.key(v4, source, secret) >> 32) as u32 & (STAMPS - 1)
}

/// The stamp of a packet at `now`; never 0, which is none.
#[inline(always)]
#[must_use]
pub const fn stamp(now: u64) -> u8 {
    (now >> (UNIT - 1)) as u8 | 1
}

/// May a packet have left this stamp within the last two minutes? One that is far older may look like it.
#[inline(always)]
#[must_use]
pub const fn is_fresh(left: u8, now: u64) -> bool {
    // Another CPU's clock may be a unit ahead by now.
    left != 0 && stamp(now).wrapping_sub(left).wrapping_add(2) <= 2 * (LASTS as u8 + 1)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_was_never_stamped_is_not_fresh() {
        assert!((0..10_000).all(|seconds| !is_fresh(0, seconds * SECOND)));
    }

    proptest! {
        #[test]
        fn a_stamp_lasts_two_minutes(left in 0..u64::MAX / 4, age in 0..1200 * SECOND) {
            let fresh = is_fresh(stamp(left), left + age);
            prop_assert!(fresh || age > 120 * SECOND);
            prop_assert!(!fresh || age < 140 * SECOND);
            prop_assert!(SETTLES > 150 * SECOND);
        }

        /// A CPU whose clock is a tick behind.
        #[test]
        fn a_stamp_of_the_future_is_fresh(left in SECOND..u64::MAX / 4, behind in 0..SECOND) {
            prop_assert!(is_fresh(stamp(left), left - behind));
        }

        #[test]
        fn places_are_those_of_flows(v4: bool, source: [u64; 2], ports: u32, secret: [u64; 4]) {
            let (source, key) = (Ipv6Be(source), Key(secret));
            let place = index(v4, &source, ports, &key);
            prop_assert!(place < STAMPS);
            prop_assert_eq!(place, index(v4, &source, ports, &key));
        }
    }
}
