//! How many slots each weight gets: largest remainders, and at least one.

/// Shares `slots` out in proportion to `weights`, all of them positive and no more of them than slots. The shares sum
/// up to `slots`, and equal fractions go to whoever stands first.
///
/// A weight worth less than one slot gets one; the others share what is left by the method of largest remainders
/// (Hamilton), so none of them is off its exact share by a whole slot.
pub(super) fn apportion(weights: &[u32], slots: u32) -> Vec<u32> {
    debug_assert!(weights.len() <= slots as usize && weights.iter().all(|&w| w > 0));
    let mut shares = vec![0; weights.len()];
    let mut left = u64::from(slots);
    let mut total: u64 = weights.iter().map(|&w| u64::from(w)).sum();

    // From the lightest on: once one is worth a whole slot, so are all that are heavier.
    let mut ascending: Vec<usize> = (0..weights.len()).collect();
    ascending.sort_by_key(|&i| weights[i]);
    let light = ascending
        .iter()
        .take_while(|&&i| {
            let weight = u64::from(weights[i]);
            let light = left * weight < total;
            if light {
                shares[i] = 1;
                left -= 1;
                total -= weight;
            }
            light
        })
        .count();

    let mut heavy = ascending.split_off(light);
    heavy.sort_unstable();
    let mut given = 0;
    let mut remainders = Vec::with_capacity(heavy.len());
    for &i in &heavy {
        let exact = left * u64::from(weights[i]);
        shares[i] = (exact / total) as u32;
        given += exact / total;
        remainders.push((exact % total, i));
    }
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for &(_, i) in remainders.iter().take((left - given) as usize) {
        shares[i] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fractions_go_to_the_largest_remainders() {
        assert_eq!(apportion(&[1, 1, 1], 64), [22, 21, 21]);
        assert_eq!(apportion(&[1, 1, 1, 1, 4], 64), [8, 8, 8, 8, 32]);
        assert_eq!(apportion(&[5, 3, 1], 64), [36, 21, 7], "35.6, 21.3, 7.1");
    }

    #[test]
    fn the_lightest_get_one_slot_at_the_others_cost() {
        assert_eq!(apportion(&[1, 65_535, 65_535], 64), [1, 32, 31]);
        assert_eq!(apportion(&[1, 1, 65_535], 64), [1, 1, 62]);
        assert_eq!(apportion(&[65_535; 64], 64), [1; 64]);
        assert_eq!(apportion(&[u32::MAX], 1 << 20), [1 << 20]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nobody_is_off_by_a_slot(
            weights in prop::collection::vec(1u32..=65_535, 1..=200), log2 in 8u32..=14,
        ) {
            let slots = 1 << log2;
            let shares = apportion(&weights, slots);
            prop_assert_eq!(shares.iter().sum::<u32>(), slots);
            prop_assert!(shares.iter().all(|&s| s > 0));
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            let exact = |w: u32| f64::from(slots) * f64::from(w) / total;
            if weights.iter().all(|&w| exact(w) >= 1.0) {
                for (&w, &s) in weights.iter().zip(&shares) {
                    prop_assert!((f64::from(s) - exact(w)).abs() < 1.0, "weight {} of {}: {} slots", w, total, s);
                }
            }
        }

        #[test]
        fn heavier_never_gets_less(weights in prop::collection::vec(1u32..=65_535, 2..=64)) {
            let shares = apportion(&weights, 64);
            for (i, a) in weights.iter().enumerate() {
                for (j, b) in weights.iter().enumerate() {
                    prop_assert!(a <= b || shares[i] >= shares[j]);
                }
            }
        }
    }
}
