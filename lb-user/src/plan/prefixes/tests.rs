//! What the program finds is what a search through the lists finds.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::addr::{Ipv4Be, Ipv6Be};
use lb_common::hash::{Key, Seed, siphash13};
use lb_common::protect::prefixes::{INLINE, META, OTHERS, OWN, Ref, V4_BYTE, find, meta, verdict};
use lb_common::protect::{ADDRESSES, Sheet as _, top};
use proptest::prelude::*;

use super::*;
use crate::model::Protection;
use crate::plan::sheet::Protected;

/// An owner's lists, and the trie of them.
struct Trie {
    lists: Lists,
    bogons: bool,
    denies: Vec<Prefix>,
    lines: Vec<Line>,
    roots: Roots,
}

impl Trie {
    fn of(rules: &[(List, Prefix)]) -> Self {
        let list = |wanted| {
            let of_list = move |&(list, prefix): &(List, Prefix)| (list == wanted).then_some(prefix);
            rules.iter().filter_map(of_list)
        };
        let mut trie = Self {
            lists: Lists {
                allow: list(List::Allow).collect(),
                deny: list(List::Deny).collect(),
                exempt: list(List::Exempt).collect(),
            },
            bogons: list(List::Bogons).count() > 0,
            denies: list(List::RunTime).collect(),
            // Somebody else's.
            lines: vec![Line([u64::MAX; 8]); 3],
            roots: Roots::NOTHING,
        };
        let mut lines = std::mem::take(&mut trie.lines);
        trie.roots = append(&trie.wanted(), &mut lines);
        // In another order it is the same.
        trie.lines = lines[..3].to_vec();
        let roots = [&mut trie.roots.v4, &mut trie.roots.v6];
        in_order(&lines, roots, &mut trie.lines);
        assert_eq!(trie.lines.len(), lines.len());
        trie
    }

    fn denying(texts: &[&str]) -> Self {
        let deny = |text: &&str| (List::Deny, prefix(text));
        Self::of(&texts.iter().map(deny).collect::<Vec<_>>())
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            lists: &self.lists,
            bogons: self.bogons,
            denies: &self.denies,
        }
    }

    fn find(&self, ip: IpAddr) -> u32 {
        let (root, first) = match ip {
            IpAddr::V4(_) => (self.roots.v4, V4_BYTE),
            IpAddr::V6(_) => (self.roots.v6, 0),
        };
        find(&self.lines[..], root, first, &Ipv6Be::mapped(ip))
    }

    fn is_denied(&self, ip: &str) -> bool {
        self.find(ip.parse().unwrap()) == verdict::DENIED
    }

    /// What a search through the lists finds.
    fn search(&self, ip: IpAddr) -> u32 {
        let lengths = |list: &[Prefix]| list.iter().filter(|p| p.holds(ip)).map(|p| p.length).max();
        let (allowed, denied) = (lengths(&self.lists.allow), lengths(&self.lists.deny));
        let banned = lengths(&self.denies).is_some();
        let bogon = self.bogons && BOGONS.iter().any(|text| prefix(text).holds(ip)) && allowed.is_none();
        let mut known = 0;
        if banned || denied.is_some() && denied >= allowed {
            known |= verdict::DENIED;
        }
        if bogon {
            known |= verdict::BOGON;
        }
        if lengths(&self.lists.exempt).is_some() {
            known |= verdict::EXEMPT;
        }
        known
    }

    /// How often each kind of node is there.
    fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let (mut kinds, mut ways) = (BTreeMap::new(), vec![self.roots.v4, self.roots.v6]);
        while let Some(way) = ways.pop().map(|Ref(way)| way) {
            let at = Ref(way).rest() as usize;
            let line = |number: usize| self.lines[number];
            let halves = |from: usize| (0..16).map(move |half| Ref(line(from + half / 16).half(half as u32)));
            let kind = match way >> 30 {
                1 => {
                    ways.extend((0..16).flat_map(|number| halves(at + number)));
                    "full"
                }
                0 if line(at).half(META) & 3 == meta::SKIP => {
                    ways.extend([line(at).half(OWN), line(at).half(OTHERS)].map(Ref));
                    "skip"
                }
                0 => {
                    ways.push(Ref(line(at).half(OTHERS)));
                    let own: u32 = line(at).0[..4].iter().map(|word| word.count_ones()).sum();
                    assert!(own > 0, "not all values have the same way");
                    if line(at).half(META) & 3 == meta::WIDE {
                        let refs = line(at).half(OWN) as usize;
                        ways.extend((0..own).map(|number| Ref(line(refs + number as usize / 16).half(number))));
                        "wide"
                    } else {
                        assert!(own <= INLINE);
                        ways.extend((0..own).map(|number| Ref(line(at).half(OWN + number))));
                        "sparse"
                    }
                }
                _ => continue,
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// As a number, IPv4 in the high bits.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => ip.into(),
    }
}

fn ip(v4: bool, bits: u128) -> IpAddr {
    if v4 {
        Ipv4Addr::from((bits >> 96) as u32).into()
    } else {
        // Mapped ones are IPv4's.
        let ip = Ipv6Addr::from(bits);
        if ip.to_ipv4_mapped().is_some() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            ip.into()
        }
    }
}

fn prefix_of(v4: bool, bits: u128, length: u8) -> Prefix {
    let length = if v4 { length.min(32) } else { length };
    let prefix = Prefix {
        ip: ip(v4, bits),
        length,
    };
    Prefix {
        ip: prefix.first(),
        length,
    }
}

/// The first and the last address of a prefix, and their neighbours.
fn edges(prefix: Prefix) -> [IpAddr; 4] {
    let v4 = prefix.ip.is_ipv4();
    let one = if v4 { 1 << 96 } else { 1 };
    let first = bits(prefix.first());
    let last = first | u128::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
    [first, last, first.wrapping_sub(one), last.wrapping_add(one)].map(|bits| ip(v4, bits))
}

/// Addresses of which many begin alike, and some are next to each other.
fn address() -> impl Strategy<Value = u128> {
    let base = prop_oneof![
        Just(0_u128),
        Just(u128::MAX),
        Just(0x2001_0db8_0001_0002_0003_0004_0005_0006),
        Just(0xfe80_0000_0000_0000_00ff_fe00_0000_0001),
        any::<u128>(),
    ];
    (base, prop::collection::vec(0..128_u32, 0..3), 0..3_u128).prop_map(|(base, flips, further)| {
        let flipped = flips.into_iter().fold(base, |bits, flip| bits ^ 1 << flip);
        flipped.wrapping_add(further << 96).wrapping_add(further)
    })
}

fn rule() -> impl Strategy<Value = (List, Prefix)> {
    let list = prop_oneof![
        3 => Just(List::Allow),
        4 => Just(List::Deny),
        1 => Just(List::Exempt),
        1 => Just(List::RunTime),
    ];
    let length = prop_oneof![0..=128_u8, (0..=16_u8).prop_map(|bytes| 8 * bytes), Just(128)];
    (list, any::<bool>(), address(), length).prop_map(|(list, v4, bits, length)| (list, prefix_of(v4, bits, length)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_finds_what_a_search_finds(
        mut rules in prop::collection::vec(rule(), 0..24),
        bogons in any::<bool>(),
        others in prop::collection::vec((any::<bool>(), address()), 0..16),
    ) {
        if bogons {
            rules.extend(BOGONS.map(|text| (List::Bogons, prefix(text))));
        }
        let trie = Trie::of(&rules);
        let edges = rules.iter().flat_map(|&(_, prefix)| edges(prefix));
        for ip in edges.chain(others.into_iter().map(|(v4, bits)| ip(v4, bits))) {
            let known = trie.find(ip);
            prop_assert_eq!(known, trie.search(ip), "{}", ip);
            let expected = match deciding(&trie.wanted(), ip) {
                None | Some((List::Allow, _)) => 0,
                Some((List::Bogons, _)) => verdict::BOGON,
                Some(_) => verdict::DENIED,
            };
            let refused = if known & verdict::BOGON != 0 { verdict::BOGON } else { known & verdict::DENIED };
            prop_assert_eq!(refused, expected, "{}", ip);
            if let Some((list, prefix)) = deciding(&trie.wanted(), ip) {
                prop_assert!(prefix.holds(ip) && rules.contains(&(list, prefix)), "{}: {:?} {}", ip, list, prefix);
            }
            prop_assert_eq!(exempting(&trie.wanted(), ip).is_some(), known & verdict::EXEMPT != 0);
        }
    }
}

proptest! {
    // A sheet is some megabytes.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_top_of_all_services_finds_it_too(
        rules in prop::collection::vec(rule(), 0..24),
        others in prop::collection::vec((any::<bool>(), address()), 0..16),
    ) {
        let trie = Trie::of(&rules);
        let everybody = Protected {
            all: Some(Protection { lists: trie.lists.clone(), ..Protection::default() }),
            denies: trie.denies.clone().into(),
            ..Protected::default()
        };
        let sheet = everybody.lines();
        let sheet = &sheet[..];
        let edges = rules.iter().flat_map(|&(_, prefix)| edges(prefix));
        for ip in edges.chain(others.into_iter().map(|(v4, bits)| ip(v4, bits))) {
            let (v4, source) = (ip.is_ipv4(), Ipv6Be::mapped(ip));
            let expected = trie.search(ip);
            prop_assert_eq!(sheet.source(ADDRESSES, v4, &source), expected, "{}", ip);
            if let Some(known) = sheet.glance(sheet.header().unwrap(), v4, &source) {
                prop_assert_eq!(known, expected, "{}", ip);
            }
        }
    }
}

/// The sheet of a node that denies these.
fn sheet_denying(deny: Vec<Prefix>) -> Vec<Line> {
    let lists = Lists {
        deny: deny.into(),
        ..Lists::default()
    };
    let all = Some(Protection {
        lists,
        ..Protection::default()
    });
    let protected = Protected {
        all,
        ..Protected::default()
    };
    protected.lines()
}

#[test]
fn a_glance_is_enough_for_most() {
    let glance = |sheet: &[Line], ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        sheet.glance(sheet.header().unwrap(), ip.is_ipv4(), &Ipv6Be::mapped(ip))
    };
    let deny = ["198.18.0.0/15", "203.0.113.7/32", "2001:db8:666::/48", "2a0f:4000::/32"];
    let sheet = sheet_denying(deny.map(prefix).into());
    let networks = |ip| glance(&sheet, ip);
    assert_eq!(networks("198.19.255.255"), Some(verdict::DENIED));
    assert_eq!(["203.0.112.1", "203.0.113.6", "192.0.2.1"].map(networks), [Some(0); 3]);
    assert_eq!(networks("203.0.113.7"), None);
    assert_eq!(
        ["2001:db8::1", "2001:db8:667::1", "2a0f:3fff::1", "2a01::1"].map(networks),
        [Some(0); 4]
    );
    assert_eq!(
        ["2001:db8:666::1", "2a0f:4000::1", "2a0f:4000:ffff::1"].map(networks),
        [None; 3]
    );
    let sheet = sheet_denying(vec![prefix("2001:db8:666::/48"), prefix("2001:db8:777:7::/64")]);
    let sites = |ip| glance(&sheet, ip);
    assert_eq!(["2001:db8:777:6::1", "2001:db8:777:8::1"].map(sites), [Some(0); 2]);
    assert_eq!(["2001:db8:666:6::1", "2001:db8:777:7::1"].map(sites), [None; 2]);
}

#[test]
fn nearly_nobody_is_walked_for_who_is_in_no_list() {
    const COUNT: u32 = 250_000;
    // Each is another, from everywhere.
    let odd = (0..COUNT).map(|i| Prefix {
        ip: Ipv4Addr::from(i.wrapping_mul(0x9e37_79b1 << 1) | 1).into(),
        length: 32,
    });
    let sheet = sheet_denying(odd.collect());
    let sheet = &sheet[..];
    let header = sheet.header().unwrap();
    let mut walked = [0, 0];
    for i in 0..COUNT {
        let even = Ipv6Be::mapped_v4(Ipv4Be::new(i.wrapping_mul(0x85eb_ca6b << 1).to_be_bytes()));
        let known = sheet.glance(header, true, &even);
        assert!(known.is_none_or(|known| known == 0));
        walked[0] += u32::from(known.is_none());
        walked[1] += u32::from(header.coarse(true).mentions(sheet, top::beginning(true, &even)));
    }
    // The coarse outline alone is set for one in 67, and the fine one for as many.
    assert!(walked[1] > COUNT / 100, "{walked:?}");
    assert!(walked[0] < COUNT / 2000, "{walked:?}");
}

#[test]
fn fewer_bits_are_asked_for_where_more_is_known() {
    let depths = |deny: Vec<Prefix>| {
        let sheet = sheet_denying(deny);
        let header = sheet[..].header().unwrap();
        [
            64 - header.coarse(false).unasked,
            32 - header.fine(true).unasked,
            64 - header.fine(false).unasked,
        ]
    };
    let of = |prefixes: &[&str]| depths(prefixes.iter().map(|text| prefix(text)).collect());
    assert_eq!(of(&[]), [48, 32, 64]);
    // What two bytes say takes no room.
    assert_eq!(
        of(&["8000::/1", "2a0f::/16", "128.0.0.0/1", "10.1.0.0/16"]),
        [48, 32, 64]
    );
    assert_eq!(of(&["2a0f::/42"]), [48, 32, 64]);
    assert_eq!(of(&["2a0f::/28"]), [48, 32, 48]);
    assert_eq!(of(&["2a0f::/27"]), [44, 32, 48]);
    let halves = |count| (0..count).map(|i| prefix(&format!("10.{i}.0.0/17"))).collect();
    assert_eq!(depths(halves(128)), [48, 32, 64]);
    assert_eq!(depths(halves(129)), [48, 28, 64]);
    let every =
        |length: u8| (0..1 << 15).map(move |i| prefix(&format!("2a{:02x}:{:x}::/{length}", i >> 7, (i & 127) << 9)));
    assert_eq!(depths(every(24).collect()), [28, 32, 28]);
    assert_eq!(depths(every(32).collect()), [36, 32, 36]);
}

proptest! {
    /// Every number of runs in a node, and so every kind of node; ways on from there are ends, skips or nodes.
    #[test]
    fn nodes_of_any_size_are_right(
        values in prop::collection::btree_set(any::<u8>(), 0..=256),
        byte in prop_oneof![Just(None), (0..15_u32).prop_map(Some)],
        children in prop_oneof![Just(None), (1..4_u8).prop_map(Some)],
    ) {
        // Of IPv4, the third byte.
        let (v4, shift, base) = match byte {
            None => (true, 104, 10 << 120),
            Some(byte) => (false, 120 - 8 * byte, 0x20 << 120 & !(u128::MAX >> (8 * byte))),
        };
        let bits = |value: u8, child: u8| base | u128::from(value) << shift | u128::from(child) << (shift - 2);
        let length = 128 - shift as u8 + if children.is_some() { 8 } else { 0 };
        let rules: Vec<_> = values
            .iter()
            .flat_map(|&value| (0..children.unwrap_or(1)).map(move |child| (value, child)))
            .map(|(value, child)| (List::Deny, prefix_of(v4, bits(value, child), length)))
            .collect();
        let trie = Trie::of(&rules);
        for value in 0..=u8::MAX {
            for child in 0..4 {
                let expected = values.contains(&value) && children.is_none_or(|children| child < children);
                let known = trie.find(ip(v4, bits(value, child)));
                prop_assert_eq!(known == verdict::DENIED, expected, "{} {}", value, child);
            }
        }
    }
}

#[test]
fn the_smallest_kind_of_node_serves() {
    for (first, count, node, lines) in [
        (1, 6, "sparse", 1),
        (0, 7, "wide", 2),
        (0, 48, "wide", 4),
        (0, 49, "full", 16),
    ] {
        let prefixes = (0..count).map(|i| prefix(&format!("10.{}.0.0/16", first + 2 * i)));
        let trie = Trie::of(&prefixes.map(|prefix| (List::Deny, prefix)).collect::<Vec<_>>());
        assert_eq!(trie.kinds(), BTreeMap::from([("skip", 1), (node, 1)]));
        assert_eq!(trie.lines.len(), 3 + 1 + lines);
    }
    for (texts, lines) in [
        (vec![], 0),
        (vec!["0.0.0.0/0"], 0),
        (vec!["::/0", "0.0.0.0/0", "2001:db8::/32", "10.0.0.0/8"], 0),
        (vec!["10.1.2.3"], 1),
        (vec!["2001:db8::/33"], 1),
        (vec!["::", "255.255.255.255"], 2),
        (vec!["10.0.0.0/8", "12.0.0.0/8"], 1),
        // They are one.
        (vec!["2001:db8::2", "2001:db8::3"], 1),
        // They are not.
        (vec!["2001:db8::1", "2001:db8::2"], 2),
        (vec!["10.1.2.3", "192.0.2.0/28"], 2),
    ] {
        let trie = Trie::denying(&texts);
        assert_eq!(trie.lines.len(), 3 + lines, "{texts:?}");
    }
}

#[test]
fn nothing_and_everything_are_found() {
    let nothing = Trie::of(&[]);
    assert_eq!(nothing.roots, Roots::NOTHING);
    let (v4, v6) = (Trie::denying(&["0.0.0.0/0"]), Trie::denying(&["::/0"]));
    for ip in ["0.0.0.0", "10.0.0.1", "255.255.255.255"] {
        assert!(v4.is_denied(ip) && !v6.is_denied(ip) && !nothing.is_denied(ip), "{ip}");
    }
    for ip in ["::", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
        assert!(v6.is_denied(ip) && !v4.is_denied(ip) && !nothing.is_denied(ip), "{ip}");
    }
}

#[test]
fn single_addresses_next_to_each_other_are_told_apart() {
    let denied = [1, 2, 4, 0xff, 0x100];
    let trie = Trie::of(&denied.map(|last| (List::Deny, prefix_of(false, 0x2001_0db8 << 96 | last, 128))));
    for last in 0..0x200 {
        let known = trie.find(ip(false, 0x2001_0db8 << 96 | last));
        assert_eq!(known == verdict::DENIED, denied.contains(&last), "{last:x}");
    }
}

#[test]
fn the_longest_of_many_nested_prefixes_decides() {
    let base = 0x2001_0db8_0101_0101_0101_0101_0101_0101_u128;
    for step in [8_u8, 1] {
        let rules: Vec<_> = (1..=128 / step)
            .map(|n| (n.is_multiple_of(2), prefix_of(false, base, n * step)))
            .map(|(allow, prefix)| (if allow { List::Allow } else { List::Deny }, prefix))
            .collect();
        let trie = Trie::of(&rules);
        for (n, &(list, _)) in (1_u8..).zip(&rules) {
            // The first bit behind it is another, so no longer one holds it.
            let other = (1_u128 << 127).checked_shr((n * step).into()).unwrap_or(0);
            let known = trie.find(ip(false, base ^ other));
            assert_eq!(known == verdict::DENIED, list == List::Deny, "{n}");
        }
    }
}

#[test]
fn what_is_denied_at_run_time_is_denied_whatever_the_file_says() {
    let rules = [
        (List::Bogons, prefix("::/0")),
        (List::Allow, prefix("127.0.0.2")),
        (List::Exempt, prefix("10.1.2.3")),
        (List::Allow, prefix("10.1.2.3")),
        (List::RunTime, prefix("10.0.0.0/8")),
        (List::RunTime, prefix("127.0.0.0/16")),
    ];
    let trie = Trie::of(&rules);
    let (denied, bogon, exempt) = (verdict::DENIED, verdict::BOGON, verdict::EXEMPT);
    for (ip, known, list) in [
        ("10.1.2.3", denied | exempt, List::RunTime),
        ("127.0.0.1", denied | bogon, List::Bogons),
        ("127.0.0.2", denied, List::RunTime),
        ("127.1.0.1", bogon, List::Bogons),
    ] {
        let ip = ip.parse().unwrap();
        assert_eq!(trie.find(ip), known, "{ip}");
        assert_eq!(deciding(&trie.wanted(), ip).map(|(list, _)| list), Some(list), "{ip}");
    }
    let both = Trie::of(&[(List::Deny, prefix("10.0.0.1")), (List::Allow, prefix("10.0.0.1"))]);
    assert!(both.is_denied("10.0.0.1"), "who is in both is denied");
    assert_eq!(
        deciding(&both.wanted(), [10, 0, 0, 1].into()),
        Some((List::Deny, prefix("10.0.0.1")))
    );
}

#[test]
fn a_million_prefixes_are_found() {
    const PREFIXES: u64 = 1_000_000;
    let secret = Key::from(Seed([1, 2]));
    let number = |kind: u64, i: u64| u128::from(siphash13(secret, [kind, i]));
    // Global IPv6 addresses, some in networks that have many.
    let v6 = |i: u64| match i % 4 {
        1 => number(0, i % 400) << 64 | number(1, i),
        _ => number(0, i) << 64 | number(1, i),
    };
    let bits = |v4: bool, i: u64| if v4 { number(2, i) << 64 } else { v6(i) >> 3 | 1 << 125 };
    let one = |i: u64| {
        let v4 = i.is_multiple_of(2);
        let length = match (v4, i / 2 % 8) {
            (true, 0) => 24,
            (true, _) => 32,
            (false, 0) => 48,
            (false, 1..=3) => 128,
            (false, _) => 64,
        };
        (List::Deny, prefix_of(v4, bits(v4, i), length))
    };
    let rules: Vec<_> = (0..PREFIXES).map(one).collect();
    let trie = Trie::of(&rules);
    let kinds: BTreeSet<_> = trie.kinds().into_keys().collect();
    assert_eq!(kinds, BTreeSet::from(["full", "skip", "sparse", "wide"]));
    assert!(trie.lines.len() < 1_400_000, "{} lines", trie.lines.len());

    let hashed: HashSet<_> = rules.iter().map(|(_, prefix)| (prefix.ip, prefix.length)).collect();
    let mut denied = 0;
    for i in 0..100_000_u64 {
        let v4 = i.is_multiple_of(2);
        // One that is denied, or near one that is, or anybody.
        let near = bits(v4, i / 3 * 14 + u64::from(!v4));
        let flip = if v4 { 96 + number(3, i) % 32 } else { number(3, i) % 128 };
        let bits = match i % 3 {
            0 => near,
            1 => near ^ 1 << flip,
            _ => bits(v4, PREFIXES + i),
        };
        let ip = ip(v4, bits);
        let lengths: &[u8] = if v4 { &[24, 32] } else { &[48, 64, 128] };
        let holds = |&length: &u8| hashed.contains(&(prefix_of(v4, bits, length).ip, length));
        let expected = lengths.iter().any(holds);
        assert_eq!(trie.find(ip) == verdict::DENIED, expected, "{ip}");
        denied += u32::from(expected);
    }
    assert!((20_000..80_000).contains(&denied), "{denied} of 100,000 were denied");
}
