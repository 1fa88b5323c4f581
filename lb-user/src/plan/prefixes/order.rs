//! The nodes of several tries in the order of their depth: those that packets meet first lie first.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use lb_common::protect::prefixes::{Line, META, OTHERS, OWN, Ref, meta};

/// Appends the nodes that `roots` lead to in `from`, and has the roots lead there.
pub(super) fn append<'a>(from: &[Line], roots: impl IntoIterator<Item = &'a mut Ref>, to: &mut Vec<Line>) {
    let mut order = Order {
        from,
        to,
        placed: vec![None; from.len()],
        waiting: VecDeque::new(),
    };
    for root in roots {
        *root = order.place(*root);
    }
    while let Some((old, new)) = order.waiting.pop_front() {
        order.fill(old, new as usize);
    }
}

struct Order<'a> {
    from: &'a [Line],
    to: &'a mut Vec<Line>,
    /// The place of each node that has one. Several values may have one way.
    placed: Vec<Option<NonZeroU32>>,
    /// Nodes that have a place, and do not lie there yet.
    waiting: VecDeque<(Ref, u32)>,
}

impl Order<'_> {
    /// Gives a node its place.
    fn place(&mut self, old: Ref) -> Ref {
        if old.is_end() {
            return old;
        }
        let known = self.placed[old.rest() as usize];
        let new = known.map_or(self.to.len() as u32, |known| known.get() - 1);
        let placed = if old.is_full() { Ref::full(new) } else { Ref::node(new) };
        if known.is_some() {
            return placed;
        }
        let lines = if old.is_full() { 16 } else { 1 };
        self.placed[old.rest() as usize] = NonZeroU32::new(new + 1);
        self.to.resize(self.to.len() + lines, Line::default());
        self.waiting.push_back((old, new));
        placed
    }

    /// Where a node's own refs lie that are not in it, and how many they are.
    fn refs(&self, node: Ref) -> Option<(u32, u32)> {
        let line = &self.from[node.rest() as usize];
        let is_wide = !node.is_full() && line.half(META) & 3 == meta::WIDE;
        is_wide.then(|| (line.half(OWN), own(line)))
    }

    fn fill(&mut self, old: Ref, new: usize) {
        let at = old.rest() as usize;
        if old.is_full() {
            for number in 0..16 {
                self.refs_of(at + number, new + number, 0..16);
            }
            return;
        }
        self.to[new] = self.from[at];
        if let Some((refs, count)) = self.refs(old) {
            self.refs_of(at, new, OTHERS..OWN);
            // Elsewhere: most packets need the nodes alone.
            let elsewhere = self.to.len();
            self.to.resize(elsewhere + count.div_ceil(16) as usize, Line::default());
            self.to[new].set_half(OWN, elsewhere as u32);
            for number in 0..count.div_ceil(16) {
                let halves = 0..(count - 16 * number).min(16);
                self.refs_of((refs + number) as usize, elsewhere + number as usize, halves);
            }
            return;
        }
        let line = &self.from[at];
        let count = if line.half(META) & 3 == meta::SKIP { 1 } else { own(line) };
        self.refs_of(at, new, OTHERS..OWN + count);
    }

    /// Copies refs, and gives what they lead to its place.
    fn refs_of(&mut self, old: usize, new: usize, halves: std::ops::Range<u32>) {
        for half in halves {
            let way = Ref(self.from[old].half(half));
            let placed = self.place(way);
            self.to[new].set_half(half, placed.0);
        }
    }
}

/// How many values have a ref of their own.
fn own(line: &Line) -> u32 {
    line.0[..4].iter().map(|word| word.count_ones()).sum()
}
