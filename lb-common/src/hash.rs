//! The keyed hash that spreads flows over slots: SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input
//! PRF", 2012, with the reduced rounds that Rust's standard library uses).
//!
//! It is keyed, so that nobody who does not know the seed can aim flows at one backend, and it keeps the seed from
//! someone who sees which backend answers.

/// 2^64 by the golden ratio.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fibonacci hashing (Knuth, "The Art of Computer Programming", volume 3, section 6.4): the upper `bits` of a product with
/// 2^64 by the golden ratio, 1 to 32. It resists nobody who chooses words.
#[inline(always)]
pub(crate) const fn fibonacci(word: u64, bits: u32) -> u32 {
    (word.wrapping_mul(GOLDEN) >> (64 - bits)) as u32
}

/// The 128-bit seed; the same on every node of a fleet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u64; 2]);

impl Seed {
    /// From 16 bytes, as a seed file holds them: two little-endian words.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_le_bytes(bytes);
        Self([value as u64, (value >> 64) as u64])
    }
}

/// What one half of the state does in a round before it meets the other, which takes in the message.
macro_rules! first_half {
    ($v0:ident, $v1:ident) => {
        $v0 = $v0.wrapping_add($v1);
        $v1 = $v1.rotate_left(13) ^ $v0;
        $v0 = $v0.rotate_left(32);
    };
}

/// The rest of the round.
macro_rules! second_half {
    ($v0:ident, $v1:ident, $v2:ident, $v3:ident) => {
        $v2 = $v2.wrapping_add($v3);
        $v3 = $v3.rotate_left(16) ^ $v2;
        $v2 = $v2.wrapping_add($v1);
        $v0 = $v0.wrapping_add($v3);
        $v1 = $v1.rotate_left(17) ^ $v2;
        $v3 = $v3.rotate_left(21) ^ $v0;
        $v2 = $v2.rotate_left(32);
    };
}

/// A seed as the hash begins with it: its state as far as it does not depend on the message, which is a part of the first
/// round too. BPF has no rotation, so these are a tenth of the instructions that a hash takes there.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub [u64; 4]);

impl From<Seed> for Key {
    fn from(Seed([k0, k1]): Seed) -> Self {
        let mut v0 = k0 ^ 0x736f_6d65_7073_6575;
        let mut v1 = k1 ^ 0x646f_7261_6e64_6f6d;
        first_half!(v0, v1);
        Self([v0, v1, k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573])
    }
}

/// SipHash-1-3 of a message that is given as its padded words: the last word holds the message's last 0 to 7 bytes
/// and, in its top byte, the message's length.
#[inline(always)]
pub const fn siphash13<const N: usize>(key: Key, words: [u64; N]) -> u64 {
    const { assert!(N > 0 && N <= 5) };
    let Key([mut v0, mut v1, mut v2, mut v3]) = key;
    // Not a loop: LLVM leaves it one for BPF, with the message and a part of the state on the stack.
    macro_rules! take {
        ($word:literal) => {
            if N > $word {
                if $word > 0 {
                    first_half!(v0, v1);
                }
                v3 ^= words[$word];
                second_half!(v0, v1, v2, v3);
                v0 ^= words[$word];
            }
        };
    }
    take!(0);
    take!(1);
    take!(2);
    take!(3);
    take!(4);
    v2 ^= 0xff;
    let mut rounds = 0;
    while rounds < 3 {
        first_half!(v0, v1);
        second_half!(v0, v1, v2, v3);
        rounds += 1;
    }
    v0 ^ v1 ^ v2 ^ v3
}
