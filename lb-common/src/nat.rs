//! Network address translation: what a flow becomes, how long that lasts, and who may end it.
//!
//! A flow has two entries. `NAT` holds it as the client sends it, `NAT_REPLY` as the backend answers; the translation
//! of each is the other's key turned around. The reply's entry is the lease of the port: it is made first, with
//! `BPF_NOEXIST`, so no port is given twice, and it alone tells whether the flow still lives. The flow's entry is
//! good for the current tick once it has seen the lease; later it has to look again.
//!
//! Everything that the end of a flow rests on is one word, the [`Stamp`], which changes only by compare and exchange. Who
//! ends a flow first marks the lease [`Stamp::CLAIMED`], from the very stamp that it judged: a packet that came meanwhile
//! has changed it, and the flow lives. The program itself ends flows, where it needs their ports and when the manager asks
//! it to, so that ports come free while no manager runs.

use crate::addr::Ipv6Be;
use crate::backend::MacFlags;
use crate::csum;
use crate::flow::Ports;
use crate::id::MemberId;
use crate::service::protocol;

/// Time in units of 2^30 ns, 1.07 s, since the machine started (`CLOCK_MONOTONIC`).
pub type Ticks = u32;

/// From nanoseconds.
#[inline(always)]
pub const fn ticks(nanoseconds: u64) -> Ticks {
    (nanoseconds >> 30) as Ticks
}

/// So many that at least `nanoseconds` have passed when a [`Stamp::age`] is above them; at most half of what there are.
#[must_use]
pub const fn at_least(nanoseconds: u64) -> Ticks {
    let ticks = nanoseconds.div_ceil(1 << 30);
    if ticks > Ticks::MAX as u64 / 2 {
        Ticks::MAX / 2
    } else {
        ticks as Ticks
    }
}

/// Key of `NAT` and of `NAT_REPLY`: a 5-tuple as a packet carries it; IPv4 mapped into IPv6.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NatKey {
    /// Who sends.
    pub source: Ipv6Be,
    /// To whom.
    pub destination: Ipv6Be,
    /// Both ports.
    pub ports: Ports,
    /// IP protocol number.
    pub protocol: u32,
}

impl NatKey {
    #[inline(always)]
    const fn addresses(&self) -> [u64; 4] {
        let (Ipv6Be([a, b]), Ipv6Be([c, d])) = (self.source, self.destination);
        [a, b, c, d]
    }

    /// What it adds to the checksums of a packet with this key that it becomes one with the key `to`: to that of an IPv4
    /// header, and to that of TCP or UDP, which covers the addresses too. See [`csum::apply`].
    #[inline(always)]
    #[must_use]
    pub const fn differences(&self, to: &Self) -> (u16, u16) {
        let (a, b) = (self.addresses(), to.addresses());
        let (ports, to_ports) = (self.ports.word(), to.ports.word());
        (
            csum::difference(a, b),
            csum::difference([a[0], a[1], a[2], a[3], ports], [b[0], b[1], b[2], b[3], to_ports]),
        )
    }

    /// What the other side sends.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: Ports {
                source: self.ports.destination,
                destination: self.ports.source,
            },
            protocol: self.protocol,
        }
    }
}

/// Element of `NAT` and of `NAT_REPLY`: what packets with the entry's key become.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// When the flow was last heard of, and its state. In `NAT`: as the lease was when this entry last saw it.
    pub stamp: Stamp,
    /// The new source.
    pub source: Ipv6Be,
    /// The new destination.
    pub destination: Ipv6Be,
    /// The new ports.
    pub ports: Ports,
    /// The backend's member, where packets are counted. It may have moved: the address of the backend decides.
    pub member: MemberId,
    /// MAC that the client's packets come from, and replies go to; no flags.
    pub client: MacFlags,
    /// MAC of the node's interface on that link; no flags.
    pub local: MacFlags,
    /// That interface's index.
    pub interface: u32,
    /// How long the flow may be silent.
    pub idle: Ticks,
    /// What the translation adds to the checksum of an IPv4 header; see [`NatKey::differences`].
    pub ip_delta: u16,
    /// What it adds to the checksum of TCP or UDP, which covers the addresses too.
    pub l4_delta: u16,
    #[doc(hidden)]
    pub pad: [u8; 4],
}

impl Translation {
    /// The key of packets that this entry makes.
    #[inline(always)]
    #[must_use]
    pub const fn made(&self, protocol: u32) -> NatKey {
        NatKey {
            source: self.source,
            destination: self.destination,
            ports: self.ports,
            protocol,
        }
    }

    /// The key of the flow's other entry.
    #[inline(always)]
    #[must_use]
    pub const fn other(&self, protocol: u32) -> NatKey {
        self.made(protocol).reversed()
    }
}

/// Whose packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The backend's.
    Backend,
}

/// What a packet says about its flow: the bits of its side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event(u32);

impl Event {
    const FLOWS: u32 = 1;
    const FIN: u32 = 2;
    const RST: u32 = 4;

    /// The client's SYN, which says nothing more.
    pub const OPENS: Self = Self(0);
    /// Any UDP datagram, and any TCP segment that is neither the client's SYN nor one of the following.
    pub const DATA: Self = Self(Self::FLOWS);
    /// TCP with FIN.
    pub const FINISHES: Self = Self(Self::FLOWS | Self::FIN);
    /// TCP with RST.
    pub const RESETS: Self = Self(Self::RST);
}

/// How far a flow has come, by what both sides have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// One side only has been heard, or the client has sent no more than its first packet.
    Opening,
    /// Both have.
    Established,
    /// One side has sent its FIN.
    HalfClosed,
    /// Both have, or one has sent a RST.
    Closed,
}

/// When a flow was last heard of, and what has been seen of it: one word, changed only by compare and exchange.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0 to 2 | the client has sent: something after its first packet; FIN; RST |
/// | 8 to 10 | the backend has sent: something; FIN; RST |
/// | 11 | its FIN came before the client's |
/// | 31 | somebody is ending the flow |
/// | 32 to 63 | [`Ticks`] |
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(pub u64);

impl Stamp {
    const BACKEND_FIRST: u32 = 1 << 11;

    /// Mark of an entry that somebody is about to remove.
    pub const CLAIMED: u64 = 1 << 31;

    /// Of a flow that the client opens now.
    #[inline(always)]
    #[must_use]
    pub const fn opened(now: Ticks) -> Self {
        Self((now as u64) << 32)
    }

    /// When it was last heard of.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> Ticks {
        (self.0 >> 32) as Ticks
    }

    /// Is somebody ending it?
    #[inline(always)]
    #[must_use]
    pub const fn is_claimed(self) -> bool {
        self.0 & Self::CLAIMED != 0
    }

    /// The same, marked.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(self) -> Self {
        Self(self.0 | Self::CLAIMED)
    }

    /// After a packet from `side`. Whoever sends on after a RST did not mean it, or did not send it.
    #[inline(always)]
    #[must_use]
    pub const fn heard(self, side: Side, event: Event, now: Ticks) -> Self {
        let shift = match side {
            Side::Client => 0,
            Side::Backend => 8,
        };
        let bits = self.0 as u32 & !(Event::RST << shift) | event.0 << shift;
        let closes_first = event.0 & Event::FIN != 0 && bits & Event::FIN == 0;
        let first = if closes_first { Self::BACKEND_FIRST } else { 0 };
        Self((bits | first) as u64 | (now as u64) << 32)
    }

    /// Does the backend still keep the connection in TIME-WAIT (RFC 9293 §3.3.2)? It does for a minute where it has sent
    /// its FIN first, and meets a new connection from the same port with suspicion: the client has to try twice.
    #[inline(always)]
    #[must_use]
    pub const fn is_in_time_wait(self) -> bool {
        let (client, backend) = (self.0 as u32, self.0 as u32 >> 8);
        self.0 as u32 & Self::BACKEND_FIRST != 0
            && client & backend & Event::FIN != 0
            && (client | backend) & Event::RST == 0
    }

    /// Is all that the client has sent so far its SYN, and then a RST? So it answers what it did not expect, as from a
    /// connection that had the port before it and that the backend still keeps. Its next SYN finds that gone.
    #[inline(always)]
    #[must_use]
    pub const fn tries_again(self) -> bool {
        self.0 as u32 & (Event::FLOWS | Event::FIN | Event::RST) == Event::RST
            && (self.0 as u32 >> 8) & (Event::FIN | Event::RST) == 0
    }

    /// How far the flow has come.
    #[inline(always)]
    #[must_use]
    pub const fn phase(self) -> Phase {
        let (client, backend) = (self.0 as u32, self.0 as u32 >> 8);
        if (client | backend) & Event::RST != 0 || client & backend & Event::FIN != 0 {
            Phase::Closed
        } else if (client | backend) & Event::FIN != 0 {
            Phase::HalfClosed
        } else if client & backend & Event::FLOWS != 0 {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// Ticks since the flow was last heard of. Clocks of two CPUs may be read in another order than they write.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: Ticks) -> Ticks {
        let age = now.wrapping_sub(self.seen());
        if age > Ticks::MAX / 2 { 0 } else { age }
    }

    /// Has the flow been silent for so long that it is forgotten?
    ///
    /// TCP, about as Linux' conntrack does it: 60 s while it opens and after it was closed, 120 s half closed. UDP: 30 s
    /// until both have been heard, the client twice: a question and its answer hold a port no longer. Else `idle`, which
    /// bounds all of them.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(self, protocol: u32, idle: Ticks, now: Ticks) -> bool {
        let most = match self.phase() {
            Phase::Opening if protocol == protocol::UDP as u32 => 28,
            Phase::Opening | Phase::Closed => 56,
            Phase::HalfClosed => 112,
            Phase::Established => idle,
        };
        self.age(now) > if most < idle { most } else { idle }
    }

    /// May a new flow have its port, when there is no other? As soon as it is closed, or has not opened within 5 s.
    ///
    /// Never within the tick in which it was heard of, nor in the next: the flow's own entry is good for as long.
    #[inline(always)]
    #[must_use]
    pub const fn may_yield(self, protocol: u32, idle: Ticks, now: Ticks) -> bool {
        let least = match self.phase() {
            Phase::Closed => 1,
            Phase::Opening => 5,
            Phase::HalfClosed | Phase::Established => return self.is_over(protocol, idle, now),
        };
        self.age(now) > least
    }
}

#[cfg(test)]
mod tests {
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
}
