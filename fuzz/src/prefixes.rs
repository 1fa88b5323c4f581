//! `plan::prefixes`: what the program finds of a source is what a search through the lists finds, and whose prefix decides is
//! said as the program decides.
//!
//! An input is a byte, 1 where bogons are refused, and a row of prefixes. Each has a byte of flags, and its length. The flags
//! are the list (0 to 3: allow, deny, exempt, run time), 4 for IPv4, and how it follows from the one before: with 8 it is the
//! next one of its length, with 16 it has another bit, whose number comes; else its 4 or 16 bytes come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::addr::{Ipv4Be, Ipv6Be};
use lb_common::protect::prefixes::{V4_BYTE, find, verdict};
use lb_user::model::protection::BOGONS;
use lb_user::model::{Lists, Prefix};
use lb_user::plan::prefixes::{List, Wanted, append, deciding, exempting, in_order};

use crate::input::Input;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug)]
struct Block {
    v4: bool,
    /// One of them, IPv4 in the high bits.
    bits: u128,
    length: u8,
}

impl Block {
    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0)
    }

    fn holds(self, v4: bool, bits: u128) -> bool {
        self.v4 == v4 && (self.bits ^ bits) & self.mask() == 0
    }

    /// The first and the last, and those before and behind them.
    fn edges(self) -> [u128; 4] {
        let one = if self.v4 { 1 << 96 } else { 1 };
        let (first, last) = (self.bits & self.mask(), self.bits | !self.mask());
        [first, last, first.wrapping_sub(one), last.wrapping_add(one)]
    }

    fn prefix(self) -> Prefix {
        Prefix {
            ip: address(self.v4, self.bits & self.mask()),
            length: self.length,
        }
    }
}

impl From<Prefix> for Block {
    fn from(Prefix { ip, length }: Prefix) -> Self {
        let (v4, bits) = match ip {
            IpAddr::V4(ip) => (true, u128::from(u32::from(ip)) << 96),
            IpAddr::V6(ip) => (false, ip.into()),
        };
        Self { v4, bits, length }
    }
}

fn address(v4: bool, bits: u128) -> IpAddr {
    if v4 {
        Ipv4Addr::from((bits >> 96) as u32).into()
    } else {
        Ipv6Addr::from(bits).into()
    }
}

fn rules(input: &mut Input<'_>) -> Vec<(List, Block)> {
    let mut rules: Vec<(List, Block)> = Vec::new();
    let mut bits = 0_u128;
    while !input.is_empty() {
        let (flags, length) = (input.u8(), input.u8());
        let list = [List::Allow, List::Deny, List::Exempt, List::RunTime][usize::from(flags & 3)];
        let v4 = flags & 4 != 0;
        let length = length % if v4 { 33 } else { 129 };
        if flags & 8 != 0 {
            let size = 1_u128.checked_shl(128 - u32::from(length)).unwrap_or(0);
            bits = bits.wrapping_add(size);
        } else if flags & 16 != 0 {
            bits ^= 1 << (input.u8() & 127);
        } else if v4 {
            bits = u128::from(input.u32()) << 96;
        } else {
            bits = u128::from(input.u64()) << 64 | u128::from(input.u64());
        }
        let block = Block { v4, bits, length };
        // Nobody can write down a prefix of IPv4 like that.
        if block.prefix().ip.to_canonical() == block.prefix().ip {
            rules.push((list, block));
        }
    }
    rules
}

/// Panics when something else is found than there is.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let bogons = input.u8() & 1 != 0;
    let rules = rules(&mut input);
    let of = |wanted: List| rules.iter().filter(move |(list, _)| *list == wanted);
    let list = |wanted| of(wanted).map(|(_, block)| block.prefix());
    let lists = Lists {
        allow: list(List::Allow).collect(),
        deny: list(List::Deny).collect(),
        exempt: list(List::Exempt).collect(),
    };
    let denies: Vec<Prefix> = list(List::RunTime).collect();
    let wanted = Wanted {
        lists: &lists,
        bogons,
        denies: &denies,
    };
    let mut made = Vec::new();
    let mut roots = append(&wanted, &mut made);
    let mut lines = Vec::new();
    in_order(&made, [&mut roots.v4, &mut roots.v6], &mut lines);
    assert_eq!(lines.len(), made.len());
    let none_has: [Block; BOGONS.len()] = BOGONS.map(|text| text.parse::<Prefix>().expect("a prefix").into());

    let edges = |block: Block| block.edges().map(|bits| (block.v4, bits));
    let all = rules.iter().map(|(_, block)| *block).chain(none_has);
    for (v4, bits) in all.flat_map(edges) {
        let length = |(_, block): &(List, Block)| block.holds(v4, bits).then_some(block.length);
        let longest = |wanted| of(wanted).filter_map(length).max();
        let (allowed, denied) = (longest(List::Allow), longest(List::Deny));
        let is_denied = longest(List::RunTime).is_some() || denied.is_some() && denied >= allowed;
        let is_bogon = bogons && allowed.is_none() && none_has.iter().any(|block| block.holds(v4, bits));
        let is_exempt = longest(List::Exempt).is_some();
        let mut known = if is_denied { verdict::DENIED } else { 0 };
        known |= if is_bogon { verdict::BOGON } else { 0 };
        known |= if is_exempt { verdict::EXEMPT } else { 0 };

        let source = address(v4, bits);
        let (root, first, lies) = match source {
            IpAddr::V4(ip) => (roots.v4, V4_BYTE, Ipv6Be::mapped_v4(Ipv4Be::from(ip))),
            IpAddr::V6(ip) => (roots.v6, 0, ip.into()),
        };
        assert_eq!(find(&lines[..], root, first, &lies), known, "{source} in {rules:?}");

        // People mean IPv4 by such an address.
        if source.to_canonical() == source {
            let by = deciding(&wanted, source);
            let list = by.map(|(list, _)| list);
            assert_eq!(list == Some(List::Bogons), is_bogon, "{source}: {by:?}");
            let denies = matches!(list, Some(List::Deny | List::RunTime));
            assert_eq!(denies, is_denied && !is_bogon, "{source}: {by:?}");
            let holds = |(_, prefix)| Block::from(prefix).holds(v4, bits);
            assert!(by.is_none_or(holds), "{source}: {by:?}");
            let exempting = exempting(&wanted, source);
            assert_eq!(exempting.map(|prefix| prefix.length), longest(List::Exempt));
        }
    }
}
