//! The keyed hash that spreads flows over slots: SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input
//! PRF", 2012, with the reduced rounds that Rust's standard library uses).
//!
//! It is keyed, so that nobody who does not know the seed can aim flows at one backend, and it keeps the seed from
//! someone who sees which backend answers.

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

macro_rules! round {
    ($v0:ident, $v1:ident, $v2:ident, $v3:ident) => {
        $v0 = $v0.wrapping_add($v1);
        $v2 = $v2.wrapping_add($v3);
        $v1 = $v1.rotate_left(13) ^ $v0;
        $v3 = $v3.rotate_left(16) ^ $v2;
        $v0 = $v0.rotate_left(32);
        $v2 = $v2.wrapping_add($v1);
        $v0 = $v0.wrapping_add($v3);
        $v1 = $v1.rotate_left(17) ^ $v2;
        $v3 = $v3.rotate_left(21) ^ $v0;
        $v2 = $v2.rotate_left(32);
    };
}

/// SipHash-1-3 of a message that is given as its padded words: the last word holds the message's last 0 to 7 bytes
/// and, in its top byte, the message's length.
#[inline(always)]
pub const fn siphash13<const N: usize>(seed: Seed, words: [u64; N]) -> u64 {
    let Seed([k0, k1]) = seed;
    let mut v0 = k0 ^ 0x736f_6d65_7073_6575;
    let mut v1 = k1 ^ 0x646f_7261_6e64_6f6d;
    let mut v2 = k0 ^ 0x6c79_6765_6e65_7261;
    let mut v3 = k1 ^ 0x7465_6462_7974_6573;
    let mut i = 0;
    while i < N {
        v3 ^= words[i];
        round!(v0, v1, v2, v3);
        v0 ^= words[i];
        i += 1;
    }
    v2 ^= 0xff;
    round!(v0, v1, v2, v3);
    round!(v0, v1, v2, v3);
    round!(v0, v1, v2, v3);
    v0 ^ v1 ^ v2 ^ v3
}
