//! When the next probe is due. Pure: time and randomness are arguments.
//!
//! Every delay counts from the start of the probe before, and there is one probe at a time per backend: one that ends
//! late is followed at once by the next, and those that would have started meanwhile are left out. Nothing queues up.

use std::time::Duration;

/// First probes are spread over this, or over the interval where that is shorter: a node with 20,000 backends starts
/// about 20 probes per millisecond, and yet knows of all of them soon.
pub const FIRST_WINDOW: Duration = Duration::from_secs(1);

/// An interval varies by one part in so many, up and down: 10 %.
const JITTER: u32 = 10;

/// From the appearance of a backend to its first probe: less than [`FIRST_WINDOW`] and than `interval`.
#[must_use]
pub fn first(interval: Duration, random: u16) -> Duration {
    fraction(interval.min(FIRST_WINDOW), random)
}

/// From now to the next probe, when the last one began `ago`: zero when it is overdue.
#[must_use]
pub fn next(interval: Duration, ago: Duration, random: u16) -> Duration {
    let jitter = interval / JITTER;
    (interval - jitter)
        .saturating_add(fraction(jitter * 2, random))
        .saturating_sub(ago)
}

/// `random` parts in 65,536 of `whole`.
fn fraction(whole: Duration, random: u16) -> Duration {
    whole / (u32::from(u16::MAX) + 1) * u32::from(random)
}

/// A source of random numbers that is good enough for spreading work (SplitMix64), and no better.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Numbers that follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn roll(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 48) as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_ends_of_the_ranges() {
        assert_eq!(first(2 * SECOND, 0), Duration::ZERO);
        assert_eq!(
            first(Duration::from_millis(100), 1 << 15).as_millis(),
            49,
            "half, rounded down"
        );
        assert_eq!(next(10 * SECOND, Duration::ZERO, 0), 9 * SECOND);
        assert_eq!(next(10 * SECOND, 4 * SECOND, 0), 5 * SECOND);
        assert_eq!(
            next(10 * SECOND, 60 * SECOND, u16::MAX),
            Duration::ZERO,
            "overdue: at once"
        );
        assert!(
            next(Duration::MAX, Duration::ZERO, u16::MAX) > Duration::MAX / 2,
            "no overflow"
        );
    }

    #[test]
    fn first_probes_of_many_backends_spread_evenly() {
        let mut dice = Dice::new(1);
        let mut tenths = [0_u32; 10];
        for _ in 0..20_000 {
            let due = first(30 * SECOND, dice.roll());
            tenths[(due.as_millis() / 100) as usize] += 1;
        }
        assert!(tenths.iter().all(|&n| (1800..2200).contains(&n)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(millis in 1_u64..10_000_000, ago in 0_u64..20_000_000, random: u16) {
            let (interval, ago) = (Duration::from_millis(millis), Duration::from_millis(ago));
            prop_assert!(first(interval, random) < interval.min(FIRST_WINDOW));
            let total = next(interval, ago, random) + ago;
            prop_assert!(total >= interval * 9 / 10 && (total <= interval * 11 / 10 || total == ago));
        }

        #[test]
        fn a_late_probe_is_followed_by_one_probe_only(millis in 1_u64..10_000, late in 1_u64..100_000, seed: u64) {
            let interval = Duration::from_millis(millis);
            let mut dice = Dice::new(seed);
            prop_assert_eq!(next(interval, interval * 2 + Duration::from_millis(late), dice.roll()), Duration::ZERO);
            prop_assert!(next(interval, Duration::ZERO, dice.roll()) >= interval * 9 / 10);
        }
    }
}
