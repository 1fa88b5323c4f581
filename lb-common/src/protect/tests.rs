extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::limit::{Limit, Set, TICK, place as place_of, set_of};
use super::*;
use crate::addr::Ipv4Be;
use crate::hash::{Key, Seed};
use crate::service::{Choice, Mode};

const SECOND: u64 = 1_000_000_000;

fn v4(octets: [u8; 4]) -> Ipv6Be {
    Ipv6Be::mapped_v4(Ipv4Be::new(octets))
}

#[test]
fn services_have_places_of_their_own() {
    let balanced = |base| Decision::service(Mode::Nat, Choice::Least, 7, 9, base);
    let mut places: Vec<u32> = (0..MEMBERS / MEMBERS_PER_SERVICE)
        .map(|n| place(balanced(n * MEMBERS_PER_SERVICE)))
        .chain((0..PROXIED).map(|n| place(Decision::proxy(n))))
        .collect();
    places.push(ADDRESSES);
    let count = places.len();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), count);
    assert!(places.last().is_some_and(|&last| last < PLACES));
    assert_eq!(place(Decision::proxy(PROXIED)), place(Decision::proxy(1 << 20)));
}

proptest! {
    /// What came through in any stretch of time is what the limit says, and a burst.
    #[test]
    fn no_source_gets_more_than_its_limit(
        rate in 1..2_000_000_u32,
        burst in 1..5_000_u32,
        gaps in prop::collection::vec(prop_oneof![Just(0), 0..2_000_u64, 0..SECOND], 1..400),
    ) {
        let limit = Limit::new(rate, burst, 32, 64, 0);
        let (mut now, mut done) = (5 * SECOND, 0);
        let mut passed = Vec::new();
        for gap in gaps {
            now += gap;
            if let Some(next) = limit.take(done, now) {
                done = next;
                passed.push(now);
            }
        }
        let at_once = u64::from(burst).max(TICK / u64::from(limit.interval) + 1);
        for (i, begin) in passed.iter().enumerate() {
            for (j, end) in passed.iter().enumerate().skip(i) {
                let count = (j - i + 1) as u64;
                prop_assert!(count <= at_once + (end - begin) / u64::from(limit.interval) + 1);
            }
        }
    }

    /// Who stays below it is never refused.
    #[test]
    fn who_stays_below_a_limit_passes(rate in 1..10_000_000_u32, burst in 1..10_u32, count in 1..500_u64) {
        let limit = Limit::new(rate, burst, 32, 64, 0);
        let mut done = 0;
        for i in 0..count {
            let next = limit.take(done, SECOND + i * u64::from(limit.interval));
            prop_assert!(next.is_some());
            done = next.unwrap_or_default();
        }
    }

    #[test]
    fn equal_prefixes_share_a_bucket_and_no_others(a: [u8; 4], b: [u8; 4], per in 0..=32_u8, seed: [u64; 2]) {
        let secret = Key::from(Seed(seed));
        let limit = Limit::new(1, 1, per, 64, 3);
        let prefix = |octets| u64::from(u32::from_be_bytes(octets)) >> (32 - per);
        let key = |octets| limit.key(true, &v4(octets), &secret);
        prop_assert_eq!(key(a) == key(b), prefix(a) == prefix(b));
    }

    #[test]
    fn so_it_is_of_ipv6(a: u128, same in 0..=128_u32, per in prop_oneof![0..=64_u8, Just(128)], seed: [u64; 2]) {
        let secret = Key::from(Seed(seed));
        let limit = Limit::new(1, 1, 32, per, 3);
        // They differ from bit `same` on.
        let b = a ^ 1_u128.checked_shl(127_u32.wrapping_sub(same)).unwrap_or(0);
        let key = |ip: u128| limit.key(false, &Ipv6Be::new(ip.to_be_bytes()), &secret);
        prop_assert_eq!(key(a) == key(b), same >= u32::from(per));
    }
}

#[test]
fn limits_of_several_owners_are_apart() {
    let secret = Key::from(Seed([1, 2]));
    let key = |scope| Limit::new(1, 1, 32, 64, scope).key(true, &v4([192, 0, 2, 1]), &secret);
    assert_ne!(key(0), key(1));
}

#[test]
fn what_an_owner_keeps_of_a_source_is_in_one_set() {
    let secret = Key::from(Seed([1, 2]));
    let sources = (0..=255).map(|last| v4([192, 0, 2, last]));
    let mut apart = 0;
    for source in sources {
        let set = |scope| set_of(Limit::new(1, 1, 32, 64, scope).key(true, &source, &secret), 1 << 16);
        assert_eq!([set(5), set(6), set(7)], [set(4); 3]);
        apart += u32::from(set(8) != set(4));
    }
    assert!(apart > 250, "other owners are elsewhere");
}

#[test]
fn rates_are_exact_to_a_hundredth() {
    for rate in [1, 3, 7, 999, 1_000, 33_333, 777_777, 3_000_000, 10_000_000] {
        let interval = f64::from(Limit::new(rate, 1, 32, 64, 0).interval);
        let off = 1e9 / interval / f64::from(rate) - 1.0;
        assert!(off.abs() < 0.01, "{rate}: {off}");
    }
}

#[test]
fn who_is_done_first_gives_way() {
    let mut set = Set::default();
    for (i, done) in [40, 20, 30, 50].into_iter().enumerate() {
        let at = place_of(&set, i as u64 + 1);
        assert_eq!(at.known, 0);
        set.0[at.index as usize].key = i as u64 + 1;
        set.0[at.index as usize].done = done;
    }
    let known = place_of(&set, 3);
    assert_eq!((known.known, known.done), (1, 30));
    let other = place_of(&set, 9);
    assert_eq!((other.known, other.done), (0, 20));
    assert!(set_of(u64::MAX, 1 << 16) < 1 << 16);
}

fn tcp(flags: u32) -> Segment {
    Segment { bits: flags, number: 0 }
}

#[test]
fn flags_that_no_sender_means_are_told_from_others() {
    const FIN: u32 = 1;
    const SYN: u32 = 2;
    const RST: u32 = 4;
    const PSH: u32 = 8;
    const ACK: u32 = 16;
    const URG: u32 = 32;
    let sound = [
        SYN,
        SYN | ACK,
        ACK,
        ACK | PSH,
        ACK | FIN,
        RST,
        RST | ACK,
        SYN | 0xc0,
        ACK | URG | PSH,
    ];
    let impossible = [
        0,
        FIN,
        PSH,
        URG,
        FIN | PSH | URG,
        SYN | FIN,
        SYN | RST,
        SYN | FIN | ACK,
        0xff,
    ];
    assert!(sound.iter().all(|&flags| !tcp(flags).is_impossible()));
    assert!(impossible.iter().all(|&flags| tcp(flags).is_impossible()));
    assert!(!Segment::MENTION.is_impossible());
    let (here, there) = (v4([192, 0, 2, 1]), v4([198, 51, 100, 1]));
    assert_eq!(malformed(&here, &here, tcp(ACK)), DropReason::Land as u32);
    assert_eq!(malformed(&there, &here, tcp(0)), DropReason::TcpFlags as u32);
    assert_eq!(malformed(&there, &here, tcp(ACK)), 0);
}
