//! When a certificate is ordered. Pure: time is an argument, in seconds since 1970, and chance is a fraction that whoever asks
//! keeps, so that the same question has the same answer after a restart and on every node.

use std::time::Duration;

/// First wait after a failure. Waits grow sixfold, so that five tries fall into the first hour: authorities count those that
/// fail, by account and name (Let's Encrypt lets five an hour).
const FIRST: Duration = Duration::from_secs(10);
const GROWTH: u32 = 6;

/// Longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);

/// Least time between two renewals.
const SPACING: Duration = Duration::from_secs(6 * 3_600);

/// A certificate lives for so many of its first waits and its longest: what lives for an hour cannot wait for half a day.
const FIRST_PART: u32 = 50;
const LONGEST_PART: u32 = 10;

/// Furthest ahead of two thirds of a lifetime, as a part of it, that chance puts a renewal.
const EARLIER: f64 = 1.0 / 20.0;

/// A certificate that an authority has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Its first second.
    pub(super) not_before: u64,
    /// Its last one.
    pub(super) not_after: u64,
    /// It is for all names that the file has, with a key of the kind that it has.
    pub(super) fits: bool,
}

impl Held {
    fn lifetime(self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }
}

/// When an authority wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What became of tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    /// How many have failed since one went well.
    pub(super) count: u32,
    /// When the last one was over, however it went.
    pub(super) last: u64,
    /// The authority does not want to hear of it before.
    pub(super) until: u64,
}

/// When the next try is due: at once for what there is no certificate for, and never before failures allow it.
/// `chance`: from 0 to 1.
pub(super) fn due(held: Option<Held>, window: Option<Window>, failures: Failures, chance: f64) -> u64 {
    let wanted = match held {
        Some(held) if held.fits => renewal(held, window, chance),
        _ => 0,
    };
    if failures.count == 0 {
        // An authority that wants each certificate to be renewed at once would be asked for nothing else.
        return match held {
            Some(held) if held.fits && failures.last > 0 => wanted.max(failures.last.saturating_add(spacing(held))),
            _ => wanted,
        };
    }
    let again = failures
        .last
        .saturating_add(back_off(failures.count, held, chance).as_secs());
    wanted.max(again).max(failures.until)
}

/// Least time between two certificates that nobody has asked for, in seconds.
fn spacing(held: Held) -> u64 {
    SPACING.as_secs().min(held.lifetime() / u64::from(LONGEST_PART))
}

/// When a certificate is renewed: where chance falls in what its authority suggests, else at two thirds of its lifetime or a
/// little before.
fn renewal(held: Held, window: Option<Window>, chance: f64) -> u64 {
    let chance = chance.clamp(0.0, 1.0);
    if let Some(Window { start, end }) = window.filter(|window| window.start <= window.end) {
        return start + part(end - start, chance);
    }
    held.not_before + part(held.lifetime(), 2.0 / 3.0 - chance * EARLIER)
}

/// How long it is waited after so many failures in a row.
pub(super) fn back_off(failures: u32, held: Option<Held>, chance: f64) -> Duration {
    let (first, longest) = match held {
        Some(held) => {
            let lifetime = Duration::from_secs(held.lifetime());
            (FIRST.min(lifetime / FIRST_PART), LONGEST.min(lifetime / LONGEST_PART))
        }
        None => (FIRST, LONGEST),
    };
    let grown = first.saturating_mul(GROWTH.saturating_pow(failures.saturating_sub(1)));
    // Up to a quarter more, so that nodes that failed together do not come back together.
    let wait = grown.min(longest).mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0);
    wait.max(Duration::from_secs(1))
}

fn part(whole: u64, fraction: f64) -> u64 {
    (whole as f64 * fraction) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3_600;

    /// Of 90 days.
    const HELD: Held = Held {
        not_before: 1_000_000,
        not_after: 1_000_000 + 90 * DAY,
        fits: true,
    };

    #[test]
    fn two_thirds_of_a_lifetime_or_a_little_before() {
        let at = |chance| (due(Some(HELD), None, Failures::default(), chance) - HELD.not_before) / 3_600;
        assert_eq!((at(0.0), at(1.0)), (60 * 24, 60 * 24 - 108 - 1));
    }

    #[test]
    fn what_its_authority_suggests() {
        let window = Window { start: 500, end: 700 };
        let at = |chance| due(Some(HELD), Some(window), Failures::default(), chance);
        assert_eq!((at(0.0), at(0.5), at(1.0)), (500, 600, 700));
        // One that makes no sense is none.
        let window = Window { start: 700, end: 500 };
        let without = due(Some(HELD), None, Failures::default(), 0.5);
        assert_eq!(due(Some(HELD), Some(window), Failures::default(), 0.5), without);
    }

    #[test]
    fn at_once_where_there_is_none_or_another_one_is_wanted() {
        assert_eq!(due(None, None, Failures::default(), 0.5), 0);
        let other = Held { fits: false, ..HELD };
        assert_eq!(due(Some(other), None, Failures::default(), 0.5), 0);
    }

    #[test]
    fn waits_grow_to_half_a_day_and_five_fall_into_the_first_hour() {
        let waits: Vec<u64> = (1..=7).map(|count| back_off(count, None, 0.0).as_secs()).collect();
        assert_eq!(waits, [10, 60, 360, 2_160, 12_960, 43_200, 43_200]);
        let within: u64 = waits.iter().take(4).sum();
        assert!(within < 3_600 && within + waits[4] > 3_600);
        assert_eq!(back_off(u32::MAX, None, 0.0), LONGEST);
    }

    #[test]
    fn what_lives_shortly_waits_shortly() {
        let minute = Held {
            not_before: 0,
            not_after: 100,
            fits: true,
        };
        let waits: Vec<u64> = (1..=3)
            .map(|count| back_off(count, Some(minute), 0.0).as_secs())
            .collect();
        assert_eq!(waits, [2, 10, 10]);
    }

    #[test]
    fn one_that_is_always_due_is_not_ordered_again_and_again() {
        let window = Window { start: 1, end: 2 };
        let ordered = Failures {
            last: 5_000_000,
            ..Failures::default()
        };
        assert_eq!(due(Some(HELD), Some(window), ordered, 0.5), 5_000_000 + 6 * 3_600);
        let other = Held { fits: false, ..HELD };
        assert_eq!(due(Some(other), Some(window), ordered, 0.5), 0);
    }

    #[test]
    fn an_authority_that_does_not_want_to_hear_of_it_is_left_alone() {
        let failures = Failures {
            count: 1,
            last: 1_000,
            until: 90_000,
        };
        assert_eq!(due(None, None, failures, 0.0), 90_000);
    }

    fn held() -> impl Strategy<Value = Held> {
        (0u64..1 << 40, 0u64..1 << 32, any::<bool>()).prop_map(|(not_before, lifetime, fits)| Held {
            not_before,
            not_after: not_before + lifetime,
            fits,
        })
    }

    proptest! {
        #[test]
        fn a_renewal_is_within_the_lifetime(held in held(), chance in 0.0..=1.0f64) {
            let held = Held { fits: true, ..held };
            let at = due(Some(held), None, Failures::default(), chance);
            prop_assert!((held.not_before..=held.not_after).contains(&at));
        }

        #[test]
        fn failures_only_delay(
            held in prop::option::of(held()),
            count in 1u32..100,
            last in 0u64..1 << 40,
            until in 0u64..1 << 40,
            chance in 0.0..=1.0f64,
        ) {
            let failures = Failures { count, last, until };
            let at = due(held, None, failures, chance);
            prop_assert!(at >= due(held, None, Failures::default(), chance));
            prop_assert!(at > last && at >= until);
        }

        #[test]
        fn waits_never_shrink_and_are_bounded(held in prop::option::of(held()), count in 1u32..100, chance in 0.0..=1.0f64) {
            let (one, next) = (back_off(count, held, chance), back_off(count + 1, held, chance));
            prop_assert!(one <= next && next <= LONGEST.mul_f64(1.25));
            prop_assert!(one >= Duration::from_secs(1));
        }
    }
}
