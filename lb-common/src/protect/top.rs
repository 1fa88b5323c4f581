//! The top of the lists for all services, of each family: what most packets need of them, in reads without a call.
//!
//! - For each value of the first 16 bits of an address a [`Ref`], 256 KiB: what is known of all these addresses, or where
//!   the trie of [`super::prefixes`] goes on, two bytes further than its family begins.
//! - An outline, 2 MiB: a bit for each value of the first 24 bits, set where something is known of an address that begins so.
//!   Of a list of a million addresses it keeps nineteen of twenty sources away from the trie.

use super::prefixes::{Line, Lines, Ref};
use crate::addr::Ipv6Be;

/// Bits of an address that choose a ref.
pub const BITS: u32 = 16;

/// Bits of an address that choose a bit of the outline.
pub const OUTLINE_BITS: u32 = 24;

/// Lines of the refs; behind them is the outline.
pub const REFS: u32 = (1 << BITS) / REFS_PER_LINE;

/// Lines of a family.
pub const LINES: u32 = REFS + (1 << OUTLINE_BITS) / BITS_PER_LINE;

const REFS_PER_LINE: u32 = 16;
const BITS_PER_LINE: u32 = 512;

/// The first 24 bits of an address of a family.
#[inline(always)]
#[must_use]
pub const fn block(v4: bool, address: &Ipv6Be) -> u32 {
    let first = if v4 { address.0[1] >> 32 } else { address.0[0] };
    u32::from_be(first as u32) >> (32 - OUTLINE_BITS)
}

/// The ref for a block, in the top that begins at line `first`.
#[inline(always)]
pub fn way<L: Lines + ?Sized>(lines: &L, first: u32, block: u32) -> Option<Ref> {
    let value = block >> (OUTLINE_BITS - BITS);
    let line = lines.line(first + value / REFS_PER_LINE)?;
    Some(Ref(line.half(value)))
}

/// Is something known of an address in this block? It is so where it is known of all of them, too.
#[inline(always)]
pub fn is_mentioned<L: Lines + ?Sized>(lines: &L, first: u32, block: u32) -> bool {
    let Some(line) = lines.line(first + REFS + block / BITS_PER_LINE) else {
        return false;
    };
    line.0[(block >> 6 & 7) as usize] >> (block & 63) & 1 != 0
}

/// Writes the ref for a value of the first 16 bits into the lines of a top.
pub fn lead(lines: &mut [Line], value: u32, way: Ref) {
    lines[(value / REFS_PER_LINE) as usize].set_half(value & 15, way.0);
}

/// Writes into the lines of a top that something is known in these blocks.
pub fn mention(lines: &mut [Line], blocks: core::ops::Range<u32>) {
    let outline = &mut lines[REFS as usize..];
    let mut block = blocks.start;
    while block < blocks.end {
        let end = blocks.end.min((block | 63) + 1);
        let word = &mut outline[(block / BITS_PER_LINE) as usize].0[(block >> 6 & 7) as usize];
        *word |= u64::MAX >> (64 - (end - block)) << (block & 63);
        block = end;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut lines = vec![Line::default(); LINES as usize];
        let ranges = [0..1, 31..33, 63..64, 100..300, 1023..1024, 0xff_ff00..0x100_0000];
        for range in ranges.clone() {
            mention(&mut lines, range);
        }
        lead(&mut lines, 0xffff, Ref::end(7));
        lead(&mut lines, 1, Ref::node(9));
        let lines = &lines[..];
        for block in (0..2048).chain(0xff_f000..0x100_0000) {
            let mentioned = ranges.iter().any(|range| range.contains(&block));
            assert_eq!(is_mentioned(&lines, 0, block), mentioned, "{block}");
        }
        for (block, way_there) in [(0xff_ff03, Ref::end(7)), (0x1ff, Ref::node(9)), (0x2ff, Ref(0))] {
            assert_eq!(way(&lines, 0, block), Some(way_there));
        }
    }

    #[test]
    fn blocks_are_the_first_bits() {
        let of = |ip: &str| {
            let ip: std::net::IpAddr = ip.parse().unwrap();
            block(ip.is_ipv4(), &Ipv6Be::mapped(ip))
        };
        assert_eq!(of("192.0.2.77"), 0xc0_0002);
        assert_eq!(of("2001:db8:7::1"), 0x20_010d);
    }
}
