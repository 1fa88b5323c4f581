//! The top of the lists for all services: see [`lb_common::protect::top`].

use std::ops::Range;

use lb_common::protect::Header;
use lb_common::protect::prefixes::{Line, Ref};
use lb_common::protect::top::{OUTLINE_BITS, lead, mention};

use super::nodes;
use super::stretches::{Family, Stretches};

/// Of a family.
#[derive(Clone, Debug)]
pub struct Top {
    /// Where each value of the first two bytes leads.
    pub ways: Vec<Ref>,
    /// The values of the first three bytes of addresses of which something is known.
    mentioned: Vec<Range<u32>>,
}

impl Top {
    pub(super) fn append(stretches: &Stretches, family: Family, lines: &mut Vec<Line>) -> Self {
        let shift = 128 - 8 * family.byte() - OUTLINE_BITS;
        let block = |address: u128| (address >> shift) as u32 & ((1 << OUTLINE_BITS) - 1);
        let ends = stretches.starts[1..].iter().map(|&next| next - 1);
        let ends = ends.chain([family.block().last()]);
        let each = stretches.starts.iter().zip(ends).zip(&stretches.verdicts);
        let known = each.filter(|&(_, &verdict)| verdict != 0);
        Self {
            mentioned: known.map(|((&start, end), _)| block(start)..block(end) + 1).collect(),
            ways: nodes::append_each(stretches, family, lines),
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
        for blocks in &self.mentioned {
            mention(lines, blocks.clone());
        }
    }
}
