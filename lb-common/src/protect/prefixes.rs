//! Which prefix holds a source address: a trie over bytes, in lines of 64 bytes, for lists from one prefix to millions.
//!
//! Every node is for one byte of the address. A list of a few prefixes is one or two lines; of a million random ones, three are
//! read of a source that none holds, two of which every packet reads. The manager builds it (`lb-user/src/plan/prefixes`) and
//! never changes it again; the program, and `explain`, look there.
//!
//! - A *full* node is 16 lines, a [`Ref`] for each value of the byte.
//! - A *sparse* node is one line: which values have a ref of their own, a bit each, up to [`INLINE`] such refs, and the one of
//!   all other values. Where more have their own, those lie elsewhere, 16 in a line.
//! - A *skip* is one line: the bits that all prefixes in there have in common, and where it goes on if the address has them
//!   too. So a prefix that is alone in its neighbourhood is one line, however long it is.
//!
//! IPv4 is looked up in its mapped form, from byte [`V4_BYTE`] on, with a root of its own. The lists for all services have a root
//! for each value of the first two bytes: see [`super::top`].

use crate::addr::Ipv6Be;

/// 64 bytes of a [`Lines`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line(pub [u64; 8]);

impl Line {
    /// The 32 bits at `index`, of 16.
    #[inline(always)]
    #[must_use]
    pub const fn half(&self, index: u32) -> u32 {
        let index = index & 15;
        (self.0[(index >> 1) as usize] >> (32 * (index & 1))) as u32
    }

    /// Sets them.
    pub const fn set_half(&mut self, index: u32, half: u32) {
        let shift = 32 * (index & 1);
        let word = &mut self.0[(index >> 1 & 7) as usize];
        *word = *word & !(0xffff_ffff << shift) | (half as u64) << shift;
    }
}

/// Where lines lie.
pub trait Lines {
    /// The line with this number; `None` behind the last one.
    fn line(&self, index: u32) -> Option<&Line>;
}

impl<L: Lines + ?Sized> Lines for &L {
    #[inline(always)]
    fn line(&self, index: u32) -> Option<&Line> {
        (**self).line(index)
    }
}

impl Lines for [Line] {
    fn line(&self, index: u32) -> Option<&Line> {
        self.get(index as usize)
    }
}

/// What is known of a source: bits.
pub mod verdict {
    /// It is denied.
    pub const DENIED: u32 = 1;
    /// No client can have it.
    pub const BOGON: u32 = 2;
    /// It is never limited.
    pub const EXEMPT: u32 = 4;
}

/// Where a way goes on, or what it ends in. The two high bits say which: 0 a node of one line, 1 a full one, 2 the end, with
/// the bits of [`verdict`]; the others are the line's number.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ref(pub u32);

impl Ref {
    /// The end, of which nothing is known: the root of an empty list.
    pub const NOTHING: Self = Self::end(0);

    /// Most lines: 30 bits.
    pub const MOST_LINES: u32 = 1 << 30;

    /// The end.
    #[must_use]
    pub const fn end(verdict: u32) -> Self {
        Self(2 << 30 | verdict)
    }

    /// A sparse node or a skip.
    #[must_use]
    pub const fn node(line: u32) -> Self {
        Self(line)
    }

    /// A full node, from this line on.
    #[must_use]
    pub const fn full(line: u32) -> Self {
        Self(1 << 30 | line)
    }

    #[inline(always)]
    const fn kind(self) -> u32 {
        self.0 >> 30
    }

    /// What it ends in, or the number of its line.
    #[inline(always)]
    #[must_use]
    pub const fn rest(self) -> u32 {
        self.0 & (Self::MOST_LINES - 1)
    }

    /// Is it a full node?
    #[inline(always)]
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.kind() == 1
    }

    /// Is it the end?
    #[inline(always)]
    #[must_use]
    pub const fn is_end(self) -> bool {
        self.0 >> 31 != 0
    }
}

/// What the half at [`META`] of a node says.
///
/// | bits | sparse | skip |
/// | --- | --- | --- |
/// | 0 to 1 | [`meta::SPARSE`] or [`meta::WIDE`] | [`meta::SKIP`] |
/// | 2 to 7 | | how many bytes behind its own the one is that the ref for addresses with these bits is for, 0 to 16 |
/// | 8 to 31 | for the second to the fourth 64 values, 8 bits each: how many of those before them have their own ref | |
pub mod meta {
    /// The refs are in the node.
    pub const SPARSE: u32 = 0;
    /// The refs are in other lines, from the number in the half [`super::OWN`] on.
    pub const WIDE: u32 = 1;
    /// It is a skip.
    pub const SKIP: u32 = 2;
}

/// The half of a sparse node or a skip that says what it is. The four words before it are the values with a ref of their own, a
/// bit each; or the bits that addresses have to have (two words as they lie in the address) and which bits count (two words).
pub const META: u32 = 8;

/// The half with the ref of other values, or of addresses that do not have the bits.
pub const OTHERS: u32 = 9;

/// The half with the first of the refs that values have of their own, or that of addresses that have the bits.
pub const OWN: u32 = 10;

/// Refs of their own that a sparse node has room for.
pub const INLINE: u32 = 6;

/// The byte of a mapped address where IPv4 begins.
pub const V4_BYTE: u32 = 12;

/// Steps of the longest way: each is a byte at least, and the last one may be two skips more.
pub const STEPS: u32 = 18;

/// The bytes of an address that are still to be looked at, the next one lowest. Moved along, since a way through the program
/// that knows which byte it is at is another one to the verifier than one that does not.
///
/// In this order: in the other one LLVM reads a shift of both as one word at an odd address, which the verifier does not allow on
/// the stack.
#[repr(C)]
struct Rest {
    then: u64,
    next: u64,
}

impl Rest {
    #[inline(always)]
    const fn value(&self) -> u32 {
        self.next as u32 & 0xff
    }

    /// Steps over so many bytes, 0 to 16.
    #[inline(always)]
    const fn advance(&mut self, bytes: u32) {
        if bytes & 8 != 0 {
            self.next = self.then;
            self.then = 0;
        }
        let bits = 8 * (bytes & 7);
        self.next = self.next >> bits | self.then << 1 << (63 - bits);
        self.then >>= bits;
    }
}

/// The way of an address through a list.
#[repr(C)]
pub struct Way<L> {
    lines: L,
    address: [u64; 2],
    rest: Rest,
    at: Ref,
    pad: u32,
}

impl<L: Lines> Way<L> {
    /// From the `root` that is for its byte `first`.
    #[inline(always)]
    pub fn new(lines: L, root: Ref, first: u32, address: &Ipv6Be) -> Self {
        let [high, low] = address.0;
        let mut rest = Rest { next: high, then: low };
        rest.advance(first);
        Self {
            lines,
            address: address.0,
            rest,
            at: root,
            pad: 0,
        }
    }

    /// Is it at its end?
    #[inline(always)]
    pub const fn is_over(&self) -> bool {
        self.at.is_end()
    }

    /// What is known at its end: bits of [`verdict`]; before, nothing.
    #[inline(always)]
    pub const fn known(&self) -> u32 {
        if self.at.is_end() { self.at.rest() } else { 0 }
    }

    /// One step; false where the lines contradict themselves.
    #[inline(always)]
    pub fn step(&mut self) -> bool {
        let value = self.rest.value();
        let (line, half) = if self.at.is_full() {
            self.rest.advance(1);
            (self.at.rest() + (value >> 4), value)
        } else {
            let Some(line) = self.lines.line(self.at.rest()) else {
                return false;
            };
            let meta = line.half(META);
            if meta & 3 == meta::SKIP {
                let [high, low] = self.address;
                let differs = (high ^ line.0[0]) & line.0[2] | (low ^ line.0[1]) & line.0[3];
                self.at = Ref(line.half(if differs == 0 { OWN } else { OTHERS }));
                self.rest.advance(meta >> 2 & 31);
                return true;
            }
            let (quarter, bit) = (value >> 6, value & 63);
            let own = line.0[(quarter & 3) as usize];
            self.rest.advance(1);
            if own >> bit & 1 == 0 {
                self.at = Ref(line.half(OTHERS));
                return true;
            }
            // The first quarter's 8 bits are those of the kind, and none come before it.
            let before = (meta & !0xff) >> (8 * quarter) & 0xff;
            let number = before + (own << (63 - bit) << 1).count_ones();
            if meta & 3 == meta::SPARSE {
                self.at = Ref(line.half(OWN + number));
                return true;
            }
            (line.half(OWN).wrapping_add(number >> 4), number)
        };
        let Some(line) = self.lines.line(line) else {
            return false;
        };
        self.at = Ref(line.half(half));
        true
    }
}

/// What a list knows of an address, from the `root` that is for its byte `first`: bits of [`verdict`]. Nothing
/// where the lines contradict themselves.
pub fn find<L: Lines>(lines: L, root: Ref, first: u32, address: &Ipv6Be) -> u32 {
    let mut way = Way::new(lines, root, first, address);
    let mut step = 0;
    while step < STEPS && !way.is_over() && way.step() {
        step += 1;
    }
    way.known()
}
