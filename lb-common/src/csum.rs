//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// `checksum`, as it sits in a header, after the 16-bit word `old` of what it covers has become `new`.
///
/// All three as loaded from the packet, in any one byte order. RFC 1624 equation 3, which unlike equation 4 never
/// turns a correct checksum into 0xFFFF where the full computation gives 0.
#[inline(always)]
pub const fn replace_u16(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u32 & 0xffff;
    fold(sum + (!old as u32 & 0xffff) + new as u32)
}

/// Folds the carries of a sum of 16-bit words and complements it. `sum` may be anything.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    !((sum >> 16) + (sum & 0xffff)) as u16
}

/// The same of a sum of words of 32 bits.
#[inline(always)]
pub const fn fold_wide(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    fold(((sum & 0xffff) + (sum >> 16)) as u32)
}

/// What has to be added to a checksum's complement when the words `old` of what it covers become `new`: the one's
/// complement difference of their sums. For what is rewritten the same way again and again, see [`apply`].
#[inline(always)]
pub const fn difference<const N: usize>(old: [u64; N], new: [u64; N]) -> u16 {
    let mut sum = 0u64;
    let mut i = 0;
    while i < N {
        let (old, new) = (!old[i], new[i]);
        sum += (old & 0xffff_ffff) + (old >> 32) + (new & 0xffff_ffff) + (new >> 32);
        i += 1;
    }
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// `checksum`, as it sits in a header, after a change with this [`difference`]; RFC 1624 equation 3.
#[inline(always)]
pub const fn apply(checksum: u16, difference: u16) -> u16 {
    fold((!checksum as u32 & 0xffff) + difference as u32)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// RFC 1071 §4.1, word by word.
    fn reference(words: &[u16]) -> u16 {
        let mut sum = 0u32;
        for &word in words {
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: the header field 0x5555 becomes 0x3285, the checksum 0xDD2F becomes 0x0000.
        assert_eq!(replace_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_new_sum(mut words in proptest::collection::vec(any::<u16>(), 2..40), at: usize, new: u16) {
            let at = at % words.len();
            let before = reference(&words);
            let old = core::mem::replace(&mut words[at], new);
            let updated = replace_u16(before, old, new);
            let full = reference(&words);
            // Both zeros of one's complement verify; they differ only when everything else sums to zero.
            let rest: Vec<u16> = words.iter().copied().filter(|&w| w != 0).collect();
            prop_assert!(updated == full || rest.is_empty(), "{updated:04x} {full:04x}");
        }

        #[test]
        fn a_difference_applied_equals_a_new_sum(old: [u64; 5], new: [u64; 5], rest in proptest::collection::vec(1..=u16::MAX, 1..20)) {
            let words = |changed: [u64; 5]| -> Vec<u16> {
                let changed = changed.into_iter().flat_map(|w| [w as u16, (w >> 16) as u16, (w >> 32) as u16, (w >> 48) as u16]);
                changed.chain(rest.iter().copied()).collect()
            };
            let updated = apply(reference(&words(old)), difference(old, new));
            prop_assert_eq!(updated, reference(&words(new)));
        }

        #[test]
        fn fold_equals_the_reference(words in proptest::collection::vec(any::<u16>(), 0..60)) {
            prop_assert_eq!(fold(words.iter().map(|&w| u32::from(w)).sum()), reference(&words));
        }
    }
}
