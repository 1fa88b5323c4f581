//! A trie of stretches, in lines.
//!
//! Where all that differs from its surroundings lies in one narrow block, a skip leads there: no node has a single way on,
//! and a prefix that is alone is one line.

use std::ops::Range;

use lb_common::addr::Ipv6Be;
use lb_common::protect::prefixes::{INLINE, Line, META, OTHERS, OWN, Ref, meta};
use lb_common::protect::top::BITS;

use super::stretches::{Block, Family, Stretches};

/// Most values with a ref of their own in a node that is not full. One with more has a line less to read, and 16 to store: at
/// most a third of a line for each.
const MOST_OWN: usize = 48;

/// Appends the trie of a family, and returns its root.
pub(super) fn append(stretches: &Stretches, family: Family, lines: &mut Vec<Line>) -> Ref {
    let mut trie = Trie::new(stretches, lines);
    trie.block(family.block(), 1..stretches.starts.len(), family.byte())
}

/// Appends a trie for each block of a family whose addresses begin with the same two bytes, and returns their roots.
pub(super) fn append_each(stretches: &Stretches, family: Family, lines: &mut Vec<Line>) -> Vec<Ref> {
    let mut trie = Trie::new(stretches, lines);
    let length = family.block().length + BITS;
    let mut at = 1;
    let roots = (0..1 << BITS).map(|value: u128| {
        let block = Block {
            first: family.block().first | value << (128 - length),
            length,
        };
        let with_it = stretches.starts.get(at) == Some(&block.first);
        let from = at + usize::from(with_it);
        let count = stretches.starts[from..].partition_point(|&start| start <= block.last());
        at = from + count;
        trie.block(block, from..at, length / 8)
    });
    roots.collect()
}

/// A trie that is being written.
struct Trie<'a> {
    stretches: &'a Stretches,
    lines: &'a mut Vec<Line>,
    /// Of the nodes that are not yet written, from the root on: the values of their byte that begin a run, and its ref.
    runs: Vec<(u32, Ref)>,
}

impl<'a> Trie<'a> {
    fn new(stretches: &'a Stretches, lines: &'a mut Vec<Line>) -> Self {
        // A prefix is two stretches mostly. Of random ones a million are 1.2 to 1.3 million lines.
        lines.reserve(stretches.starts.len() * 3 / 4);
        Self {
            stretches,
            lines,
            runs: Vec::new(),
        }
    }

    /// What finds the addresses of a block, from `byte` on, where the block ends or in the byte before; `within` are the
    /// stretches that begin in there, but not with it.
    fn block(&mut self, block: Block, within: Range<usize>, byte: u32) -> Ref {
        if within.is_empty() {
            return self.end(within.start - 1);
        }
        let (core, others) = self.core(block, &within);
        let inner = self.inside(core, &within);
        if inner.is_empty() {
            let inside = self.end(inner.start - 1);
            return self.skip(core, 0, inside, others);
        }
        if let Some([(one, inside_one), (other, inside_other)]) = self.pair(&within, byte) {
            let others = self.skip(other, 0, inside_other, others);
            return self.skip(one, 0, inside_one, others);
        }
        if core.length < 8 * (byte + 1) {
            return self.node(block, within, byte);
        }
        let next = core.length / 8;
        let inside = self.block(core, inner, next);
        self.skip(core, next - byte, inside, others)
    }

    /// The smallest block with all that differs from its surroundings, and where those end.
    fn core(&self, block: Block, within: &Range<usize>) -> (Block, Ref) {
        let starts = &self.stretches.starts;
        let (before, after) = (self.end(within.start - 1), self.end(within.end - 1));
        let (second, last) = (starts[within.start], starts[within.end - 1]);
        if before == after {
            return (Block::around(second, last - 1), before);
        }
        let low = Block::around(block.first, last - 1);
        let high = Block::around(second, block.last());
        if low.length > high.length {
            (low, after)
        } else {
            (high, before)
        }
    }

    /// Two blocks that are all that differs, and what is known of each, if both go on behind `byte`: two skips, the second
    /// for the others of the first, where a node would be a line more.
    fn pair(&self, within: &Range<usize>, byte: u32) -> Option<[(Block, Ref); 2]> {
        let starts = &self.stretches.starts[within.clone()];
        let end = |stretch| self.end(within.start - 1 + stretch);
        let between = match starts.len() {
            3 if end(0) == end(3) => 0,
            4 if end(0) == end(2) && end(0) == end(4) => 1,
            _ => return None,
        };
        let block = |at: usize| {
            let block = Block::around(starts[at], starts[at + 1] - 1);
            let whole = block.first == starts[at] && block.last() == starts[at + 1] - 1;
            (whole && block.length > 8 * (byte + 1)).then_some((block, end(at + 1)))
        };
        Some([block(0)?, block(1 + between)?])
    }

    /// Of the stretches around a core, those that begin in it, but not with it.
    fn inside(&self, core: Block, within: &Range<usize>) -> Range<usize> {
        let starts = &self.stretches.starts;
        let with_it = starts[within.start] == core.first;
        let behind_it = starts[within.end - 1] > core.last();
        within.start + usize::from(with_it)..within.end - usize::from(behind_it)
    }

    /// The end that a stretch is.
    fn end(&self, stretch: usize) -> Ref {
        Ref::end(self.stretches.verdicts[stretch].into())
    }

    fn node(&mut self, block: Block, within: Range<usize>, byte: u32) -> Ref {
        let value = |address: u128| (address >> (120 - 8 * byte)) as u32 & 0xff;
        let stretches = self.stretches;
        let base = self.runs.len();
        let (mut at, mut next) = (within.start, value(block.first));
        while at < within.end {
            let start = stretches.starts[at];
            let own = value(start);
            if next < own {
                self.run(base, next, self.end(at - 1));
            }
            let child = Block {
                first: start & Block::mask(8 * (byte + 1)),
                length: 8 * (byte + 1),
            };
            let end = at + stretches.starts[at..within.end].partition_point(|&start| value(start) == own);
            let begins_with_it = usize::from(start == child.first);
            let way = self.block(child, at + begins_with_it..end, byte + 1);
            self.run(base, own, way);
            (at, next) = (end, own + 1);
        }
        if next <= value(block.last()) {
            self.run(base, next, self.end(within.end - 1));
        }
        let node = write(self.lines, &self.runs[base..]);
        self.runs.truncate(base);
        node
    }

    /// From a value on, this is the way. The first one is that of all values before it too, which the block does not have.
    fn run(&mut self, base: usize, value: u32, way: Ref) {
        match self.runs[base..].last() {
            None => self.runs.push((0, way)),
            Some(&(_, last)) if last == way => {}
            Some(_) => self.runs.push((value, way)),
        }
    }

    /// A skip over so many bytes.
    fn skip(&mut self, block: Block, bytes: u32, inside: Ref, others: Ref) -> Ref {
        let words = |bits: u128| Ipv6Be::new(bits.to_be_bytes()).0;
        let ([a, b], [c, d]) = (words(block.first), words(Block::mask(block.length)));
        let mut line = Line([a, b, c, d, 0, 0, 0, 0]);
        line.set_half(META, meta::SKIP | bytes << 2);
        line.set_half(OWN, inside.0);
        line.set_half(OTHERS, others.0);
        Ref::node(push(self.lines, &[line]))
    }
}

/// Writes a node with these runs; the first of them is from value 0 on.
fn write(lines: &mut Vec<Line>, runs: &[(u32, Ref)]) -> Ref {
    let others = commonest(runs);
    let own = spans(runs).filter(|(_, way)| *way != others);
    let own: Vec<(u32, Ref)> = own.flat_map(values).collect();
    if own.len() > MOST_OWN {
        return Ref::full(push(lines, &full(runs)));
    }
    let mut line = Line::default();
    for &(value, _) in &own {
        line.0[(value >> 6) as usize] |= 1 << (value & 63);
    }
    let (mut before, mut counts) = (0, 0);
    for quarter in 1..4 {
        before += line.0[quarter - 1].count_ones();
        counts |= before << (8 * quarter);
    }
    line.set_half(OTHERS, others.0);
    if own.len() <= INLINE as usize {
        line.set_half(META, meta::SPARSE | counts);
        for (half, &(_, way)) in (OWN..).zip(&own) {
            line.set_half(half, way.0);
        }
        return Ref::node(push(lines, &[line]));
    }
    let mut refs = [Line::default(); MOST_OWN / 16];
    for (index, &(_, way)) in own.iter().enumerate() {
        refs[index / 16].set_half(index as u32, way.0);
    }
    line.set_half(META, meta::WIDE | counts);
    line.set_half(OWN, push(lines, &refs[..own.len().div_ceil(16)]));
    Ref::node(push(lines, &[line]))
}

/// Runs with their ends.
fn spans(runs: &[(u32, Ref)]) -> impl Iterator<Item = (Range<u32>, Ref)> {
    let ends = runs.iter().skip(1).map(|&(begin, _)| begin).chain([256]);
    runs.iter().zip(ends).map(|(&(begin, way), end)| (begin..end, way))
}

/// The way of each value, one by one.
fn values((span, way): (Range<u32>, Ref)) -> impl Iterator<Item = (u32, Ref)> {
    span.map(move |value| (value, way))
}

/// The way of the most values.
fn commonest(runs: &[(u32, Ref)]) -> Ref {
    let mut counts: Vec<(Ref, u32)> = Vec::with_capacity(runs.len());
    for (span, way) in spans(runs) {
        let count = span.end - span.start;
        match counts.iter_mut().find(|(known, _)| way.is_end() && *known == way) {
            Some((_, all)) => *all += count,
            None => counts.push((way, count)),
        }
    }
    let most = counts.iter().max_by_key(|(_, count)| *count);
    most.map_or(Ref::NOTHING, |&(way, _)| way)
}

fn full(runs: &[(u32, Ref)]) -> [Line; 16] {
    let mut lines = [Line::default(); 16];
    for (value, way) in spans(runs).flat_map(values) {
        lines[(value / 16) as usize].set_half(value, way.0);
    }
    lines
}

/// Appends lines, and returns the number of the first.
fn push(lines: &mut Vec<Line>, more: &[Line]) -> u32 {
    let first = lines.len() as u32;
    lines.extend_from_slice(more);
    first
}
