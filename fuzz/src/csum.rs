//! Checksums: what is updated equals what is summed up anew.
//!
//! An input is what `fold` gets, the place and the value of a change, old and new words of a larger one, and the words of
//! a message.

use std::array::from_fn;

use lb_common::csum::{apply, difference, fold, replace_u16};

use crate::input::Input;

/// Panics when a checksum is wrong.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let sum = input.u32();
    assert_eq!(fold(sum), computed([(sum >> 16) as u16, sum as u16]));

    let (at, new) = (usize::from(input.u8()), input.u16());
    let (before, after): ([u64; 5], [u64; 5]) = (from_fn(|_| input.u64()), from_fn(|_| input.u64()));
    let mut words = Vec::new();
    while !input.is_empty() {
        words.push(input.u16());
    }

    same(before, after, &words);
    let ([a, b, ..], [c, d, ..]) = (before, after);
    same([a, b], [c, d], &words);
    same([a], [c], &words);
    same([], [], &words);

    if !words.is_empty() {
        let at = at % words.len();
        let checksum = computed(words.iter().copied());
        let old = std::mem::replace(&mut words[at], new);
        agree(replace_u16(checksum, old, new), &words);
    }
}

/// A message of `rest` and of words that change, as a flow of `nat` rewrites it.
fn same<const N: usize>(before: [u64; N], after: [u64; N], rest: &[u16]) {
    let message = |changed: [u64; N]| -> Vec<u16> {
        let split = |word: u64| {
            [
                word as u16,
                (word >> 16) as u16,
                (word >> 32) as u16,
                (word >> 48) as u16,
            ]
        };
        changed
            .into_iter()
            .flat_map(split)
            .chain(rest.iter().copied())
            .collect()
    };
    let checksum = computed(message(before));
    agree(apply(checksum, difference(before, after)), &message(after));
}

/// An update gives what a new sum does. Of a message of zeros alone it gives the other zero of one's complement, which
/// verifies as well; no packet is one, since every pseudo header has a protocol.
fn agree(updated: u16, message: &[u16]) {
    let full = computed(message.iter().copied());
    if message.iter().all(|&word| word == 0) {
        assert_eq!(full, 0xffff);
        assert!(updated == 0 || updated == 0xffff, "{updated:04x}");
    } else {
        assert_eq!(updated, full, "{updated:04x} {full:04x}");
    }
}

/// RFC 1071 §4.1, word by word.
fn computed(words: impl IntoIterator<Item = u16>) -> u16 {
    let mut sum = 0u32;
    for word in words {
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
