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
mod tests;
