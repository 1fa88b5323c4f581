//! The top of the lists for all services: see [`lb_common::protect::top`].

use std::ops::RangeInclusive;

use lb_common::protect::Header;
use lb_common::protect::prefixes::{Line, Ref};
use lb_common::protect::top::{BITS, DEEPEST, OUTLINE_BITS, lead, length, mention};

use super::nodes;
use super::stretches::{Family, Stretches};

/// Bits that are set in an outline of IPv6: one in sixteen at the most, where fewer bits of the addresses can be asked for.
const MOST_BLOCKS: u64 = 1 << (OUTLINE_BITS - 4);

/// Of a family.
#[derive(Clone, Debug)]
pub struct Top {
    /// Where each value of the first two bytes leads.
    pub ways: Vec<Ref>,
    /// As [`Header::unasked`].
    pub unasked: u32,
    family: Family,
    /// How addresses begin of which something is known, in order, and those between the two.
    known: Vec<RangeInclusive<u64>>,
}

impl Top {
    pub(super) fn append(stretches: &Stretches, family: Family, lines: &mut Vec<Line>) -> Self {
        let ways = nodes::append_each(stretches, family, lines);
        let known = known(stretches, family, &ways);
        let bits = length(family == Family::V4);
        let unasked = match family {
            Family::V4 => bits - OUTLINE_BITS,
            Family::V6 => (bits - DEEPEST..bits - BITS)
                .step_by(4)
                .find(|&unasked| blocks(&known, unasked) <= MOST_BLOCKS)
                .unwrap_or(bits - BITS),
        };
        Self {
            ways,
            unasked,
            family,
            known,
        }
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

    /// Writes it, when the ways lead where they shall, into lines of zeros.
    pub fn write(&self, lines: &mut [Line]) {
        for (value, &way) in (0..).zip(&self.ways) {
            lead(lines, value, way);
        }
        for range in &self.known {
            let [first, last] = [range.start(), range.end()].map(|beginning| beginning >> self.unasked);
            mention(lines, self.family == Family::V4, first, last);
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
fn blocks(known: &[RangeInclusive<u64>], unasked: u32) -> u64 {
    let mut count = 0;
    let mut next = 0;
    for range in known {
        let (first, last) = (range.start() >> unasked, range.end() >> unasked);
        count += (last + 1).saturating_sub(first.max(next));
        next = last + 1;
    }
    count
}
