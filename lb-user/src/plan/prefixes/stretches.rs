//! The addresses of a family, cut where something else is known of them.

use std::net::IpAddr;

use lb_common::addr::Ipv6Be;
use lb_common::protect::prefixes::{V4_BYTE, verdict};

use super::{List, Wanted, bogons};
use crate::model::Prefix;

/// IPv4 is mapped into 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The byte that its root is for.
    pub(super) const fn byte(self) -> u32 {
        match self {
            Self::V4 => V4_BYTE,
            Self::V6 => 0,
        }
    }

    /// Its addresses.
    pub(super) const fn block(self) -> Block {
        let first = match self {
            Self::V4 => 0xffff << 32,
            Self::V6 => 0,
        };
        Block {
            first,
            length: 8 * self.byte(),
        }
    }
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    /// The first of them.
    pub(super) first: u128,
    /// How many bits they have in common: 0 to 128.
    pub(super) length: u32,
}

impl Block {
    /// The smallest one that holds both.
    pub(super) const fn around(one: u128, other: u128) -> Self {
        let length = (one ^ other).leading_zeros();
        Self {
            first: one & Self::mask(length),
            length,
        }
    }

    /// As many ones as bits are in common, and zeros.
    pub(super) const fn mask(length: u32) -> u128 {
        match u128::MAX.checked_shl(128 - length) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// The last address.
    pub(super) const fn last(self) -> u128 {
        self.first | !Self::mask(self.length)
    }
}

impl From<Prefix> for Block {
    fn from(prefix: Prefix) -> Self {
        let length = 8 * Family::of(prefix.ip).byte() + u32::from(prefix.length);
        let ip = u128::from_be_bytes(Ipv6Be::mapped(prefix.ip).octets());
        Self {
            first: ip & Self::mask(length),
            length,
        }
    }
}

/// Stretches of addresses in order: neighbours have different verdicts, and the first stretch begins with the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretches {
    /// The first address of each; the last one goes on to the end of the family.
    pub(super) starts: Vec<u128>,
    /// What is known of each: bits of [`verdict`].
    pub(super) verdicts: Vec<u8>,
}

impl Stretches {
    /// What is wanted of a family.
    pub(super) fn of(wanted: &Wanted, family: Family) -> Self {
        let rules = rules(wanted, family);
        let mut stretches = Self {
            starts: Vec::with_capacity(2 * rules.len() + 1),
            verdicts: Vec::with_capacity(2 * rules.len() + 1),
        };
        let everybody = (family.block().last(), Known::default());
        stretches.begin(family.block().first, everybody.1);
        // The blocks that hold the address where we are, from the outside in: their ends, and what is known there.
        let mut open = vec![everybody];
        for (first, length, list) in rules {
            let block = Block {
                first,
                length: length.into(),
            };
            stretches.leave(&mut open, block.first);
            let known = open.last().map_or_else(Known::default, |&(_, known)| known).of(list);
            stretches.begin(block.first, known);
            open.push((block.last(), known));
        }
        stretches.leave(&mut open, everybody.0);
        stretches
    }

    /// Leaves the blocks that end before `next`.
    fn leave(&mut self, open: &mut Vec<(u128, Known)>, next: u128) {
        while let [.., outer, (last, _)] = open[..]
            && last < next
        {
            self.begin(last + 1, outer.1);
            open.pop();
        }
    }

    /// From `start` on this is known; in place of what was to begin there.
    fn begin(&mut self, start: u128, known: Known) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.verdicts.pop();
        }
        let verdict = known.verdict();
        if self.verdicts.last() != Some(&verdict) {
            self.starts.push(start);
            self.verdicts.push(verdict);
        }
    }
}

/// The block of every prefix, and whose it is: outer ones before those that they hold.
fn rules(wanted: &Wanted, family: Family) -> Vec<(u128, u8, List)> {
    let bogons = bogons();
    let lists = [
        (List::Allow, &*wanted.lists.allow),
        (List::Deny, &wanted.lists.deny),
        (List::Exempt, &wanted.lists.exempt),
        (List::Bogons, if wanted.bogons { &bogons } else { &[] }),
        (List::RunTime, wanted.denies),
    ];
    let of_family = |prefix: &&Prefix| Family::of(prefix.ip) == family;
    let counts = lists.map(|(_, list)| list.iter().filter(of_family).count());
    let mut rules = Vec::with_capacity(counts.iter().sum());
    for (list, prefixes) in lists {
        let blocks = prefixes.iter().filter(of_family).map(|&prefix| Block::from(prefix));
        rules.extend(blocks.map(|block| (block.first, block.length as u8, list)));
    }
    // A list that is sorted is only merged with the others.
    rules.sort();
    rules
}

/// What is known of the addresses in a block.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The longest prefix of the file denies them.
    denied: bool,
    /// A prefix of the file allows them, if not the longest.
    allowed: bool,
    exempt: bool,
    bogon: bool,
    /// They are denied at run time.
    banned: bool,
}

impl Known {
    /// Of a block in there, which is in this list.
    const fn of(mut self, list: List) -> Self {
        match list {
            List::Allow => {
                self.allowed = true;
                self.denied = false;
            }
            List::Deny => self.denied = true,
            List::Exempt => self.exempt = true,
            List::Bogons => self.bogon = true,
            List::RunTime => self.banned = true,
        }
        self
    }

    const fn verdict(self) -> u8 {
        const fn bit(known: bool, bit: u32) -> u8 {
            if known { bit as u8 } else { 0 }
        }
        bit(self.denied || self.banned, verdict::DENIED)
            | bit(self.bogon && !self.allowed, verdict::BOGON)
            | bit(self.exempt, verdict::EXEMPT)
    }
}
