//! What order things are done in, and how long the rest of them takes.

use std::time::Duration;

/// Puts things into an order that follows from `seed` and `round` alone, each order about as likely as any other.
pub(super) fn shuffle<T>(things: &mut [T], seed: u64, round: usize) {
    let mut state = seed.wrapping_add((round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for last in (1..things.len()).rev() {
        let other = (random(&mut state) % (last as u64 + 1)) as usize;
        things.swap(last, other);
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How long the rest takes, where so much of all (both in seconds, as they were guessed beforehand) took `elapsed`. The
/// guess counts until something has been done, and the less the more has been.
pub(super) fn left(all: f64, done: f64, elapsed: Duration) -> Duration {
    if all <= 0.0 {
        return Duration::ZERO;
    }
    let part = (done / all).clamp(0.0, 1.0);
    let observed = if done > 0.0 { elapsed.as_secs_f64() / done } else { 1.0 };
    // After a tenth, what was observed is all that counts.
    let trust = (part * 10.0).min(1.0);
    let pace = trust * observed + (1.0 - trust);
    Duration::from_secs_f64((all - done).max(0.0) * pace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_follow_from_the_seed() {
        let order = |seed, round| {
            let mut things: Vec<usize> = (0..14).collect();
            shuffle(&mut things, seed, round);
            things
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        let mut sorted = order(7, 3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..14).collect::<Vec<_>>());
    }

    #[test]
    fn every_place_is_as_likely() {
        let mut first = [0_u32; 4];
        for seed in 0..4000 {
            let mut things = [0, 1, 2, 3];
            shuffle(&mut things, seed, 0);
            first[things[0]] += 1;
        }
        assert!(first.iter().all(|&count| (850..1150).contains(&count)), "{first:?}");
    }

    #[test]
    fn the_rest_takes_as_long_as_what_was_done() {
        let second = Duration::from_secs;
        assert_eq!(left(100.0, 0.0, second(3)), second(100), "as guessed");
        assert_eq!(left(100.0, 50.0, second(100)), second(100), "twice as slow as guessed");
        assert_eq!(left(100.0, 5.0, second(10)), Duration::from_secs_f64(95.0 * 1.5));
        assert_eq!(left(100.0, 120.0, second(10)), Duration::ZERO);
        assert_eq!(left(0.0, 0.0, second(1)), Duration::ZERO);
    }
}
