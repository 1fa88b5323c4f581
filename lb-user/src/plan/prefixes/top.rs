//! The top of the lists for all services: see [`lb_common::protect::top`].

use std::ops::RangeInclusive;

use lb_common::protect::prefixes::{Line, Ref};
use lb_common::protect::top::{BITS, Outline, lead, length};
use lb_common::protect::{Header, top_of};

use super::nodes;
use super::stretches::{Family, Stretches};

/// Bits of an address of IPv6 that its coarse outline asks for at the most: clients are in the same lines with what a provider gives to
/// one site.
const DEEPEST: u32 = 48;

/// Bits that are set in a coarse outline: one in sixteen at the most, where fewer bits of the addresses can be asked for.
const MOST_COARSELY: u128 = 1 << (Outline::BITS - 4);

/// Those that each family sets in the fine one: one in four.
const MOST_FINELY: u128 = 1 << (Outline::BITS - 2);

/// Of a family.
#[derive(Clone, Debug)]
pub struct Top {
    /// Where each value of the first two bytes leads.
    pub ways: Vec<Ref>,
    family: Family,
    /// How addresses begin of which something is known, in order, and those between the two.
    known: Vec<RangeInclusive<u64>>,
}

impl Top {
    pub(super) fn append(stretches: &Stretches, family: Family, lines: &mut Vec<Line>) -> Self {
        let ways = nodes::append_each(stretches, family, lines);
        let known = known(stretches, family, &ways);
        Self { ways, family, known }
    }

    /// As [`Header::unasked`], where it is IPv6's.
    #[must_use]
    pub fn unasked(&self) -> u32 {
        self.fewest(DEEPEST, MOST_COARSELY)
    }

    /// As [`Header::unasked_finely`].
    #[must_use]
    pub fn unasked_finely(&self) -> u32 {
        self.fewest(u32::MAX, MOST_FINELY)
    }

    /// How many bits are left out, where no more than `deepest` are asked for, and no more than `most` blocks are mentioned.
    fn fewest(&self, deepest: u32, most: u128) -> u32 {
        let bits = length(self.family == Family::V4);
        (bits.saturating_sub(deepest)..bits - BITS)
            .step_by(4)
            .find(|&unasked| blocks(&self.known, unasked) <= most)
            .unwrap_or(bits - BITS)
    }

    /// What is known of every address, or that it is to be looked for here.
    #[must_use]
    pub fn root(&self) -> Ref {
        let first = self.ways[0];
        if first.is_end() && self.ways.iter().all(|&way| way == first) {
            first
        } else {
            Header::TOP
        }
    }

    /// Writes it, when the ways lead where they shall, into a sheet that has nothing of it yet.
    pub fn write(&self, header: &Header, lines: &mut [Line]) {
        let v4 = self.family == Family::V4;
        for (value, &way) in (0..).zip(&self.ways) {
            lead(&mut lines[top_of(v4) as usize..], value, way);
        }
        for outline in [header.coarse(v4), header.fine(v4)] {
            for range in &self.known {
                outline.mention(lines, *range.start(), *range.end());
            }
        }
    }
}

/// How addresses begin of which something is known that `ways` do not end in.
fn known(stretches: &Stretches, family: Family, ways: &[Ref]) -> Vec<RangeInclusive<u64>> {
    let bits = length(family == Family::V4);
    let beginning = |address: u128| (address >> (128 - 8 * family.byte() - bits)) as u64 & (u64::MAX >> (64 - bits));
    let low = bits - BITS;
    let ends = stretches.starts[1..].iter().map(|&next| next - 1);
    let ends = ends.chain([family.block().last()]);
    let each = stretches.starts.iter().zip(ends).zip(&stretches.verdicts);
    let mut known = Vec::new();
    for ((&start, end), _) in each.filter(|&(_, &verdict)| verdict != 0) {
        let (start, end) = (beginning(start), beginning(end));
        // What lies between is known of all addresses that begin with two such bytes.
        let parts = if start >> low == end >> low {
            [Some(start..=end), None]
        } else {
            let (head, tail) = (start | ((1 << low) - 1), end >> low << low);
            [Some(start..=head), Some(tail..=end)]
        };
        let leads_on = |part: &RangeInclusive<u64>| !ways[(part.start() >> low) as usize].is_end();
        known.extend(parts.into_iter().flatten().filter(leads_on));
    }
    known
}

/// How many blocks of addresses that are mentioned there are where so many bits of their beginnings are not asked for.
fn blocks(known: &[RangeInclusive<u64>], unasked: u32) -> u128 {
    let mut count = 0;
    let mut next = 0;
    for range in known {
        let [first, last] = [range.start(), range.end()].map(|&beginning| u128::from(beginning >> unasked));
        count += (last + 1).saturating_sub(first.max(next));
        next = last + 1;
    }
    count
}
