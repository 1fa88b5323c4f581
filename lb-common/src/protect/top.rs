//! The top of the lists for all services, of each family: what most packets need of them, in reads without a call.
//!
//! - For each value of the first 16 bits of an address a [`Ref`], 256 KiB: what is known of all these addresses, or where
//!   the trie of [`super::prefixes`] goes on, two bytes further than its family begins.
//! - An outline, 2 MiB: bits that are set where something is known of an address, one for all addresses that begin alike: of IPv4 by the
//!   first 24 bits; of IPv6 by the first 16 to 48, as many as the list leaves room for, hashed, since so many have no bits of their own.
//!   Of a list of a million addresses it keeps nineteen of twenty sources away from the trie.

use super::prefixes::{Line, Lines, Ref};
use crate::addr::Ipv6Be;
use crate::hash::fibonacci;

/// Bits of an address that choose a ref.
pub const BITS: u32 = 16;

/// Bits of an address of IPv4 that choose a bit of the outline.
pub const OUTLINE_BITS: u32 = 24;

/// As many do of IPv6 at the most.
pub const DEEPEST: u32 = 48;

/// Lines of the refs; behind them is the outline.
pub const REFS: u32 = (1 << BITS) / REFS_PER_LINE;

const OUTLINE: u32 = (1 << OUTLINE_BITS) / BITS_PER_LINE;

/// Lines of a family.
pub const LINES: u32 = REFS + OUTLINE;

const REFS_PER_LINE: u32 = 16;
const BITS_PER_LINE: u32 = 512;

/// Bits of an address that are its [`beginning`].
#[inline(always)]
#[must_use]
pub const fn length(v4: bool) -> u32 {
    if v4 { 32 } else { 64 }
}

/// The first 32 bits of an address of IPv4, the first 64 of one of IPv6.
#[inline(always)]
#[must_use]
pub const fn beginning(v4: bool, address: &Ipv6Be) -> u64 {
    let [high, low] = address.0;
    if v4 {
        u32::from_be((low >> 32) as u32) as u64
    } else {
        u64::from_be(high)
    }
}

/// The ref for addresses that begin so, in the top that begins at line `first`.
#[inline(always)]
pub fn way<L: Lines + ?Sized>(lines: &L, first: u32, v4: bool, beginning: u64) -> Option<Ref> {
    let value = (beginning >> (length(v4) - BITS)) as u32;
    let line = lines.line(first + value / REFS_PER_LINE)?;
    Some(Ref(line.half(value)))
}

/// The line of the outline, from its first one on, with the bit of a block: of addresses that begin alike, and whose first bits
/// are this number. Blocks that are one another's neighbours are in one line, as clients are.
#[inline(always)]
const fn line_of(v4: bool, block: u64) -> u32 {
    let lines = block / BITS_PER_LINE as u64;
    if v4 {
        lines as u32
    } else {
        fibonacci(lines, OUTLINE.ilog2())
    }
}

/// Is something known of an address that begins so? `unasked` bits at the end of the beginning do not count.
#[inline(always)]
pub fn is_mentioned<L: Lines + ?Sized>(lines: &L, first: u32, v4: bool, beginning: u64, unasked: u32) -> bool {
    let block = beginning >> (unasked & 63);
    let Some(line) = lines.line(first + REFS + line_of(v4, block)) else {
        return false;
    };
    line.0[(block >> 6 & 7) as usize] >> (block & 63) & 1 != 0
}

/// Writes the ref for a value of the first 16 bits into the lines of a top.
pub fn lead(lines: &mut [Line], value: u32, way: Ref) {
    lines[(value / REFS_PER_LINE) as usize].set_half(value & 15, way.0);
}

/// Writes into the lines of a top that something is known in these blocks, from the first to the last one.
pub fn mention(lines: &mut [Line], v4: bool, first: u64, last: u64) {
    let outline = &mut lines[REFS as usize..];
    let mut block = first;
    loop {
        let end = last.min(block | 63);
        let word = &mut outline[line_of(v4, block) as usize].0[(block >> 6 & 7) as usize];
        *word |= u64::MAX >> (63 - (end - block)) << (block & 63);
        if end == last {
            return;
        }
        block = end + 1;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (v4, unasked) in [(true, 8), (false, 16), (false, 40)] {
            let mut lines = vec![Line::default(); LINES as usize];
            let ranges = [
                (0, 0),
                (31, 32),
                (63, 63),
                (100, 299),
                (1023, 1023),
                (0xff_ff00, 0xff_ffff),
            ];
            for (first, last) in ranges {
                mention(&mut lines, v4, first, last);
            }
            let lines = &lines[..];
            for block in (0..2048).chain(0xff_f000..0x100_0000) {
                let mentioned = ranges.iter().any(|&(first, last)| (first..=last).contains(&block));
                let beginning = block << unasked | 5;
                assert_eq!(is_mentioned(lines, 0, v4, beginning, unasked), mentioned, "{block}");
            }
        }
    }

    #[test]
    fn ways_are_by_the_first_two_bytes() {
        let mut lines = vec![Line::default(); LINES as usize];
        lead(&mut lines, 0xffff, Ref::end(7));
        lead(&mut lines, 1, Ref::node(9));
        for (value, there) in [(0xffff, Ref::end(7)), (1, Ref::node(9)), (2, Ref(0))] {
            assert_eq!(way(&lines[..], 0, true, value << 16 | 3), Some(there));
            assert_eq!(way(&lines[..], 0, false, value << 48 | 3), Some(there));
        }
    }

    #[test]
    fn beginnings_are_the_first_bits() {
        let of = |ip: &str| {
            let ip: std::net::IpAddr = ip.parse().unwrap();
            beginning(ip.is_ipv4(), &Ipv6Be::mapped(ip))
        };
        assert_eq!(of("192.0.2.77"), 0xc000_024d);
        assert_eq!(of("2001:db8:7::1"), 0x2001_0db8_0007_0000);
    }
}
