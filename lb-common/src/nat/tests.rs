extern crate std;

use proptest::prelude::*;
use std::vec::Vec;

use super::*;

const TCP: u32 = protocol::TCP as u32;
const UDP: u32 = protocol::UDP as u32;

/// Longer than every fixed time.
const IDLE: Ticks = 1000;

fn sides() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Backend)]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::OPENS),
        Just(Event::DATA),
        Just(Event::FINISHES),
        Just(Event::RESETS),
    ]
}

fn keys() -> impl Strategy<Value = NatKey> {
    (any::<[u64; 4]>(), any::<[u16; 2]>(), any::<bool>(), any::<bool>()).prop_map(
        |([a, b, c, d], [source, destination], v4, tcp)| {
            let address = |words: [u64; 2]| {
                if v4 {
                    Ipv6Be::mapped_v4(crate::addr::Ipv4Be(words[1] as u32))
                } else {
                    Ipv6Be(words)
                }
            };
            NatKey {
                source: address([a, b]),
                destination: address([c, d]),
                ports: Ports {
                    source: crate::addr::PortBe(source),
                    destination: crate::addr::PortBe(destination),
                },
                protocol: if tcp { TCP } else { UDP },
            }
        },
    )
}

/// A stamp of each phase, by what has been seen.
fn of_phase(phase: Phase, now: Ticks) -> Stamp {
    let opened = Stamp::opened(now);
    let established = opened
        .heard(Side::Backend, Event::DATA, now)
        .heard(Side::Client, Event::DATA, now);
    let stamp = match phase {
        Phase::Opening => opened,
        Phase::Established => established,
        Phase::HalfClosed => established.heard(Side::Client, Event::FINISHES, now),
        Phase::Closed => established.heard(Side::Backend, Event::RESETS, now),
    };
    assert_eq!(stamp.phase(), phase);
    stamp
}

const PHASES: [Phase; 4] = [Phase::Opening, Phase::Established, Phase::HalfClosed, Phase::Closed];

#[test]
fn a_connection_comes_and_goes() {
    use Phase::{Closed, Established, HalfClosed, Opening};
    let story = [
        (Side::Client, Event::OPENS, Opening),
        (Side::Backend, Event::DATA, Opening),
        (Side::Backend, Event::DATA, Opening),
        (Side::Client, Event::DATA, Established),
        (Side::Client, Event::OPENS, Established),
        (Side::Backend, Event::FINISHES, HalfClosed),
        (Side::Client, Event::DATA, HalfClosed),
        (Side::Client, Event::FINISHES, Closed),
        (Side::Backend, Event::DATA, Closed),
        (Side::Client, Event::RESETS, Closed),
    ];
    let mut stamp = Stamp::opened(7);
    for (step, (side, event, phase)) in story.into_iter().enumerate() {
        stamp = stamp.heard(side, event, 8);
        assert_eq!(stamp.phase(), phase, "step {step}");
    }
}

#[test]
fn who_closes_first_waits() {
    let (client, backend) = (Side::Client, Side::Backend);
    let established = of_phase(Phase::Established, 7);
    let both = |first, second| {
        established
            .heard(first, Event::FINISHES, 8)
            .heard(second, Event::FINISHES, 9)
    };
    assert!(both(backend, client).is_in_time_wait());
    assert!(
        both(backend, client)
            .heard(backend, Event::FINISHES, 9)
            .is_in_time_wait()
    );
    assert!(!both(client, backend).is_in_time_wait());
    assert!(
        !both(client, backend)
            .heard(backend, Event::FINISHES, 9)
            .is_in_time_wait()
    );
    assert!(!both(backend, client).heard(client, Event::RESETS, 9).is_in_time_wait());
    assert!(!established.heard(backend, Event::FINISHES, 8).is_in_time_wait());
}

#[test]
fn a_client_that_was_answered_for_another_tries_again() {
    let (client, backend) = (Side::Client, Side::Backend);
    let answered = Stamp::opened(7).heard(backend, Event::DATA, 7);
    let reset = answered.heard(client, Event::RESETS, 7);
    assert!(reset.tries_again() && reset.phase() == Phase::Closed);
    // The SYN that follows opens it again.
    assert_eq!(reset.heard(client, Event::OPENS, 8).phase(), Phase::Opening);
    assert!(!answered.tries_again());
    assert!(
        !of_phase(Phase::Established, 7)
            .heard(client, Event::RESETS, 7)
            .tries_again()
    );
    assert!(!reset.heard(backend, Event::RESETS, 7).tries_again());
}

proptest! {
    /// The phase is what the definition says of the whole sequence, and nothing else changes it.
    #[test]
    fn phases_follow_what_was_seen(seen in proptest::collection::vec((sides(), events()), 0..12), now: Ticks, claimed: bool) {
        let opened = Stamp::opened(now.wrapping_sub(1));
        let mut stamp = if claimed { opened.claimed() } else { opened };
        for &(side, event) in &seen {
            stamp = stamp.heard(side, event, now);
        }
        let of = |side: Side| seen.iter().filter(move |(s, _)| *s == side).map(|&(_, event)| event);
        let flows = |side| of(side).any(|e| e == Event::DATA || e == Event::FINISHES);
        let fin = |side| of(side).any(|e| e == Event::FINISHES);
        let rst = |side| of(side).next_back() == Some(Event::RESETS);
        let (client, backend) = (Side::Client, Side::Backend);
        let expected = if rst(client) || rst(backend) || fin(client) && fin(backend) {
            Phase::Closed
        } else if fin(client) || fin(backend) {
            Phase::HalfClosed
        } else if flows(client) && flows(backend) {
            Phase::Established
        } else {
            Phase::Opening
        };
        prop_assert_eq!(stamp.phase(), expected);
        prop_assert_eq!(stamp.is_claimed(), claimed);
        if let Some(&(side, event)) = seen.last() {
            prop_assert_eq!(stamp.seen(), now);
            // What says nothing new changes nothing within a tick, so that it need not be told.
            prop_assert_eq!(stamp.heard(side, event, now), stamp);
        }
    }

    #[test]
    fn a_claim_changes_nothing_else(seen in proptest::collection::vec((sides(), events()), 0..8), now: Ticks) {
        let stamp = seen.iter().fold(Stamp::opened(now), |stamp, &(side, event)| stamp.heard(side, event, now));
        let claimed = stamp.claimed();
        prop_assert!(!stamp.is_claimed() && claimed.is_claimed());
        prop_assert_eq!((claimed.phase(), claimed.seen()), (stamp.phase(), stamp.seen()));
        prop_assert_eq!(claimed.claimed(), claimed);
    }

    #[test]
    fn age_counts_on_over_the_end_and_never_back(seen: Ticks, passed in 0..=Ticks::MAX / 2, ahead in 1..Ticks::MAX / 2) {
        let stamp = Stamp::opened(seen);
        prop_assert_eq!(stamp.age(seen.wrapping_add(passed)), passed);
        // Another CPU's clock was read later.
        prop_assert_eq!(stamp.age(seen.wrapping_sub(ahead)), 0);
    }

    /// Who may yield is over soon; what is over may yield, at the latest a few seconds later where idle is short.
    #[test]
    fn yielding_comes_before_the_end(phase in 0..4usize, udp: bool, idle in 5..3000u32, seen: Ticks, age in 0..4000u32) {
        let (stamp, protocol) = (of_phase(PHASES[phase], seen), if udp { UDP } else { TCP });
        let now = seen.wrapping_add(age);
        let (over, yields) = (stamp.is_over(protocol, idle, now), stamp.may_yield(protocol, idle, now));
        prop_assert!(!over || yields, "over at {age} and does not yield");
        prop_assert!(!over || age > idle.min(28), "over after {age} of {idle}");
        prop_assert!(over || age <= idle, "never after its idle time");
        prop_assert!(!yields || age > 1, "never in the tick in which it was heard of, nor in the next");
        if PHASES[phase] == Phase::Established {
            prop_assert_eq!(over, age > idle);
            prop_assert_eq!(yields, over);
        }
    }

    #[test]
    fn reversing_twice_changes_nothing(key in keys()) {
        prop_assert_eq!(key.reversed().reversed(), key);
        prop_assert_eq!((key.reversed().source, key.reversed().ports.source), (key.destination, key.ports.destination));
        prop_assert_eq!(key.reversed().protocol, key.protocol);
    }

    #[test]
    fn entries_are_each_others_reverse(flow in keys(), lease in keys()) {
        let lease = NatKey { protocol: flow.protocol, ..lease };
        let to = lease.reversed();
        let entry = Translation {
            stamp: Stamp::default(),
            source: to.source,
            destination: to.destination,
            ports: to.ports,
            member: MemberId(1),
            client: MacFlags(0),
            local: MacFlags(0),
            interface: 1,
            idle: IDLE,
            ip_delta: 0,
            l4_delta: 0,
            pad: [0; 4],
        };
        prop_assert_eq!(entry.made(flow.protocol), to);
        prop_assert_eq!(entry.other(flow.protocol), lease);
    }

    /// Both checksums of a packet, updated by the differences, are those that are computed anew.
    #[test]
    fn differences_give_the_full_checksums(from in keys(), to in keys(), rest in proptest::collection::vec(1..=u16::MAX, 1..30)) {
        let (ip, l4) = from.differences(&to);
        let sum = |words: Vec<u16>| {
            let sum = words.into_iter().fold(0u32, |sum, word| {
                let sum = sum + u32::from(word);
                (sum & 0xffff) + (sum >> 16)
            });
            !(sum as u16)
        };
        let octets = |key: &NatKey| [key.source.octets(), key.destination.octets()].concat();
        let header = |key: &NatKey| -> Vec<u16> {
            let words = octets(key).chunks(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect::<Vec<_>>();
            words.into_iter().chain(rest.iter().copied()).collect()
        };
        let segment = |key: &NatKey| {
            let mut words = header(key);
            words.extend([key.ports.source.0, key.ports.destination.0]);
            words
        };
        prop_assert_eq!(csum::apply(sum(header(&from)), ip), sum(header(&to)));
        prop_assert_eq!(csum::apply(sum(segment(&from)), l4), sum(segment(&to)));
        // A sum does not see who sends: the way back has the same differences.
        prop_assert_eq!((ip, l4), from.reversed().differences(&to.reversed()));
    }
}

/// The last age at which a flow is not over yet.
#[test]
fn flows_are_over_after_their_times() {
    let limits = [
        (TCP, Phase::Opening, 56),
        (TCP, Phase::Closed, 56),
        (TCP, Phase::HalfClosed, 112),
        (TCP, Phase::Established, IDLE),
        (UDP, Phase::Opening, 28),
        (UDP, Phase::Established, IDLE),
    ];
    for (protocol, phase, limit) in limits {
        let stamp = of_phase(phase, 0);
        assert!(!stamp.is_over(protocol, IDLE, limit), "{phase:?}");
        assert!(stamp.is_over(protocol, IDLE, limit + 1), "{phase:?}");
        // A shorter idle time bounds them all.
        assert!(
            !stamp.is_over(protocol, 9, 9) && stamp.is_over(protocol, 9, 10),
            "{phase:?}"
        );
    }
}

#[test]
fn flows_yield_after_their_times() {
    for protocol in [TCP, UDP] {
        for (phase, limit) in [
            (Phase::Closed, 1),
            (Phase::Opening, 5),
            (Phase::HalfClosed, 112),
            (Phase::Established, IDLE),
        ] {
            let stamp = of_phase(phase, u32::MAX - 2);
            let at = |age: Ticks| stamp.may_yield(protocol, IDLE, (u32::MAX - 2).wrapping_add(age));
            assert!(!at(limit) && at(limit + 1), "{phase:?}");
        }
    }
}

#[test]
fn ticks_round_so_that_nothing_ends_early() {
    const TICK: u64 = 1 << 30;
    assert_eq!((ticks(TICK - 1), ticks(TICK), ticks(5 * TICK + 1)), (0, 1, 5));
    for nanoseconds in [1, TICK, TICK + 1, 5_000_000_000, 120_000_000_000, 8_100_000_000_000] {
        let idle = at_least(nanoseconds);
        // The worst: heard of at the very end of a tick, looked at in the beginning of another.
        let seen = 3 * TICK - 1;
        let mut now = 3 * TICK;
        while !of_phase(Phase::Established, ticks(seen)).is_over(TCP, idle, ticks(now)) {
            now += TICK;
        }
        assert!(now - seen > nanoseconds, "{nanoseconds} ns have not passed");
    }
    assert_eq!(at_least(u64::MAX), Ticks::MAX / 2, "an age beyond is none");
    assert_eq!(at_least(8_100_000_000_000), 7_544);
}
