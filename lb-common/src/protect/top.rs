//! The top of the lists for all services, of each family: what most packets need of them, in reads without a call.
//!
//! - For each value of the first 16 bits of an address a [`Ref`], 256 KiB: what is known of all these addresses, or where
//!   the trie of [`super::prefixes`] goes on, two bytes further than its family begins.
//! - An [`Outline`]: of IPv4 by the first 24 bits; of IPv6 by the first 16 to 48, as many as the list leaves room for. Of a list of a
//!   million addresses it keeps fifteen of sixteen sources away from the trie, at which each would wait for memory three times.
//! - Those that it does not keep away, a finer one does, by up to 32 and up to 64 bits. It is one for both families, and few packets
//!   ask it: of such a list one source in three hundred is left.

use super::prefixes::{Line, Lines, Ref};
use crate::addr::Ipv6Be;
use crate::hash::fibonacci;

/// Bits of an address that choose a ref.
pub const BITS: u32 = 16;

/// Lines of the refs of a family.
pub const REFS: u32 = (1 << BITS) / REFS_PER_LINE;

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

/// Writes the ref for a value of the first 16 bits into the lines of a top.
pub fn lead(lines: &mut [Line], value: u32, way: Ref) {
    lines[(value / REFS_PER_LINE) as usize].set_half(value & 15, way.0);
}

/// A bit for each block of addresses, which begin alike: set where something is known of one of them. 2 MiB.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    /// Its first line in the sheet.
    pub first: u32,
    /// Bits at the end of the beginning of an address that do not count.
    pub unasked: u32,
    /// There may be more blocks than bits, so those of several are the same.
    pub is_hashed: bool,
}

impl Outline {
    /// There are 2 to the power of this many bits.
    pub const BITS: u32 = 24;

    /// Lines.
    pub const LINES: u32 = (1 << Self::BITS) / BITS_PER_LINE;

    /// Blocks that are one another's neighbours are in one line, as clients are.
    #[inline(always)]
    const fn line(&self, block: u64) -> u32 {
        let line = block / BITS_PER_LINE as u64;
        let line = if self.is_hashed {
            fibonacci(line, Self::LINES.ilog2())
        } else {
            line as u32
        };
        self.first + line
    }

    /// Is something known of addresses that begin so?
    #[inline(always)]
    pub fn mentions<L: Lines + ?Sized>(&self, lines: &L, beginning: u64) -> bool {
        let block = beginning >> (self.unasked & 63);
        let Some(line) = lines.line(self.line(block)) else {
            return false;
        };
        line.0[(block >> 6 & 7) as usize] >> (block & 63) & 1 != 0
    }

    /// Writes into the lines of a sheet that something is known of addresses that begin so, from the first to the last one.
    pub fn mention(&self, lines: &mut [Line], first: u64, last: u64) {
        let [mut block, last] = [first, last].map(|beginning| beginning >> self.unasked);
        loop {
            let end = last.min(block | 63);
            let word = &mut lines[self.line(block) as usize].0[(block >> 6 & 7) as usize];
            *word |= u64::MAX >> (63 - (end - block)) << (block & 63);
            if end == last {
                return;
            }
            block = end + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (unasked, is_hashed) in [(8, false), (16, true), (40, true)] {
            let outline = Outline {
                first: 3,
                unasked,
                is_hashed,
            };
            let mut lines = vec![Line::default(); 3 + Outline::LINES as usize];
            let ranges = [
                (0, 0),
                (31, 32),
                (63, 63),
                (100, 299),
                (1023, 1023),
                (0xff_ff00, 0xff_ffff),
            ];
            for (first, last) in ranges {
                outline.mention(&mut lines, first << unasked | 3, last << unasked | 1);
            }
            let lines = &lines[..];
            assert!(lines[..3].iter().all(|&line| line == Line::default()));
            for block in (0..2048).chain(0xff_f000..0x100_0000) {
                let mentioned = ranges.iter().any(|&(first, last)| (first..=last).contains(&block));
                let beginning = block << unasked | 5;
                assert_eq!(outline.mentions(lines, beginning), mentioned, "{block}");
            }
        }
    }

    #[test]
    fn ways_are_by_the_first_two_bytes() {
        let mut lines = vec![Line::default(); REFS as usize];
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
