//! What is kept from services before they see it: a ladder of rungs, of which each packet climbs those that are configured.
//!
//! 1. malformed: TCP flags that no sender means, packets from their own destination ([`refusal`]);
//! 2. sources: those that no client can have, and lists of prefixes, of all services and of each ([`prefixes`]);
//! 3. ports that no service declares, where the VIP is Fulcrum's (the program drops them in any case);
//! 4. how much: token buckets for each source ([`limit`]);
//! 5. SYN cookies, for services of the proxy.
//!
//! All that the program has to know is one *sheet*, an array of lines that is made whole and never changed: a header, the
//! policy of each service, the [`top`] of the lists for all, and the lists, those of their nodes first that packets meet first.
//! Its first [`HEAD`] lines are one element of a map in `PROTECTION`, and the others, if there are some, a map in one of the two
//! places of `LISTS`, which the header names. So a packet sees one sheet or the next one, and no mixture: whoever looks there
//! twice for one packet takes nothing along from the first time.

pub mod cookie;
pub mod kept;
pub mod limit;
pub mod prefixes;
pub mod top;

use crate::addr::Ipv6Be;
use crate::limits::{MEMBERS, MEMBERS_PER_SERVICE};
use crate::parse::Segment;
use crate::service::Decision;
use crate::stats::DropReason;
use limit::Limit;
use prefixes::{Line, Lines, Ref, V4_BYTE, find, verdict};
use top::Outline;

/// The roots of the lists of one owner.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// For sources of IPv4.
    pub v4: Ref,
    /// For those of IPv6.
    pub v6: Ref,
}

impl Roots {
    /// Of lists with nothing in them.
    pub const NOTHING: Self = Self {
        v4: Ref::NOTHING,
        v6: Ref::NOTHING,
    };

    /// That of a family.
    #[inline(always)]
    #[must_use]
    pub const fn of(&self, v4: bool) -> Ref {
        if v4 { self.v4 } else { self.v6 }
    }
}

/// Line 0 of a sheet.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of ICMP and ICMPv6 to VIPs that Fulcrum put on the node.
    pub icmp: Limit,
    /// Of the lists for all services: what is known of everybody, or [`Self::TOP`].
    pub roots: Roots,
    /// As [`Policy::flags`], for packets to no service: [`policy::OBSERVES`].
    pub flags: u32,
    /// The place in `LISTS` of the lines behind [`HEAD`]: 0 or 1.
    pub rest: u32,
    /// Of the beginning of an address of IPv6, how many bits at the end its coarse outline does not ask for.
    pub unasked: u32,
    /// The same of IPv4 and IPv6, of the fine outline.
    pub unasked_finely: [u32; 2],
    #[doc(hidden)]
    pub pad: u32,
}

impl Header {
    /// As one of the `roots`: the way begins in the [`top`].
    pub const TOP: Ref = Ref::full(0);

    /// The outline of a family that is asked first.
    #[inline(always)]
    #[must_use]
    pub const fn coarse(&self, v4: bool) -> Outline {
        Outline {
            first: top_of(v4) + top::REFS,
            unasked: if v4 {
                top::length(v4) - Outline::BITS
            } else {
                self.unasked
            },
            is_hashed: !v4,
        }
    }

    /// The outline that is asked then.
    #[inline(always)]
    #[must_use]
    pub const fn fine(&self, v4: bool) -> Outline {
        let [of_v4, of_v6] = self.unasked_finely;
        Outline {
            first: FINE,
            unasked: if v4 { of_v4 } else { of_v6 },
            is_hashed: true,
        }
    }
}

/// What protects one service: lines [`Policy::line`] and the one behind it, which is [`Amounts`].
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Bits of [`policy`].
    pub flags: u32,
    /// What windows are scaled by that the node offers, as in the option (RFC 7323 §2.2): as the kernel will do it.
    pub window_scale: u16,
    /// Bytes of the largest packet that it takes.
    pub mtu: u16,
    /// Of the lists of this service alone.
    pub roots: Roots,
    /// SYNs of the service that are left to the kernel; behind that, cookies are the answer. It has no sources.
    pub syns: Limit,
    #[doc(hidden)]
    pub pad: [u64; 2],
}

/// How much of each source a service takes.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Connections that it opens.
    pub connections: Limit,
    /// Its packets.
    pub packets: Limit,
}

/// Bits of [`Policy::flags`].
pub mod policy {
    /// There is a policy. The places of no service are all zeros.
    pub const EXISTS: u32 = 1;
    /// What is refused is counted only.
    pub const OBSERVES: u32 = 1 << 1;
    /// Malformed packets are refused.
    pub const MALFORMED: u32 = 1 << 2;
    /// There are [`super::Amounts`].
    pub const AMOUNTS: u32 = 1 << 3;
    /// SYNs may be answered with cookies.
    pub const COOKIES: u32 = 1 << 4;
}

impl Policy {
    /// As [`Self::window_scale`]: of what clients offer, nothing is kept but the segment size.
    pub const PLAIN: u16 = u16::MAX;

    /// The line of the policy at this place.
    #[inline(always)]
    #[must_use]
    pub const fn line(place: u32) -> u32 {
        1 + 2 * place
    }
}

const _: () = assert!(size_of::<Header>() == 64 && size_of::<Policy>() == 64 && size_of::<Amounts>() == 64);

/// Places of services that the program chooses a backend for.
const BALANCED: u32 = MEMBERS / MEMBERS_PER_SERVICE;

/// Places of services of the proxy. Those beyond it are protected as the last one is.
pub const PROXIED: u32 = 4_094;

/// The place of packets to no service, but to a VIP.
pub const ADDRESSES: u32 = BALANCED + PROXIED;

/// Places: of services, and [`ADDRESSES`].
pub const PLACES: u32 = ADDRESSES + 2;
const _: () = assert!(PLACES.is_power_of_two());

/// The first lines of the tops of IPv4 and of IPv6, refs and a coarse outline, behind the policies, which are there for all places:
/// 1 MiB.
const TOPS: [u32; 2] = [Policy::line(PLACES), Policy::line(PLACES) + top::REFS + Outline::LINES];

/// The first line of the fine outline.
const FINE: u32 = TOPS[1] + top::REFS + Outline::LINES;

/// The first line of a sheet behind the tops.
pub const LISTS: u32 = FINE + Outline::LINES;

/// Lines that the program addresses directly, a power of two: 8 MiB, so that lists of some 4,000 prefixes are wholly in there.
/// Those behind are in a map of their own.
pub const HEAD: u32 = 1 << 17;
const _: () = assert!(HEAD.is_power_of_two() && LISTS < HEAD);

/// The place of a service's policy, and of its counts.
#[inline(always)]
#[must_use]
pub const fn place(service: Decision) -> u32 {
    let base = service.member_base();
    if !service.is_proxy() {
        return (base / MEMBERS_PER_SERVICE) & (BALANCED - 1);
    }
    let number = base.wrapping_sub(MEMBERS);
    BALANCED + if number < PROXIED { number } else { PROXIED - 1 }
}

/// The first line of the top of a family, which are its refs.
#[inline(always)]
#[must_use]
pub const fn top_of(v4: bool) -> u32 {
    if v4 { TOPS[0] } else { TOPS[1] }
}

/// Bytes of an address that a top is for.
pub const TOP_BYTES: u32 = top::BITS / 8;

/// Structs of one line.
macro_rules! line {
    ($($struct:ty),*) => { $(
        impl $struct {
            /// As the line that it is.
            #[must_use]
            pub const fn to_line(self) -> Line {
                // SAFETY: as long as a line, and numbers without padding.
                unsafe { core::mem::transmute(self) }
            }
        }
    )* };
}

line!(Header, Policy, Amounts);

/// Reads a line as what it is.
///
/// # Safety
/// `T` is as long and as aligned as a line, and any bytes make one.
#[inline(always)]
const unsafe fn view<T>(line: &Line) -> &T {
    const { assert!(size_of::<T>() == size_of::<Line>() && align_of::<T>() == align_of::<Line>()) };
    // SAFETY: by the contract.
    unsafe { &*core::ptr::from_ref(line).cast() }
}

/// A sheet.
pub trait Sheet: Lines {
    /// Its first line.
    #[inline(always)]
    fn header(&self) -> Option<&Header> {
        // SAFETY: a line of numbers.
        self.line(0).map(|line| unsafe { view(line) })
    }

    /// The policy at a place; `None` where nobody's is.
    #[inline(always)]
    fn policy(&self, place: u32) -> Option<&Policy> {
        // SAFETY: as above.
        let policy: &Policy = self.line(Policy::line(place)).map(|line| unsafe { view(line) })?;
        (policy.flags & policy::EXISTS != 0).then_some(policy)
    }

    /// How much of each source the service at a place takes.
    #[inline(always)]
    fn amounts(&self, place: u32) -> Option<&Amounts> {
        // SAFETY: as above.
        self.line(Policy::line(place) + 1).map(|line| unsafe { view(line) })
    }

    /// What the lists for all services know of a source, bits of [`verdict`], as far as their top tells; `None` where they have to be
    /// walked through.
    #[inline(always)]
    fn glance(&self, header: &Header, v4: bool, source: &Ipv6Be) -> Option<u32> {
        let way = self.begin(&header.roots, v4, source);
        if way.is_end() {
            return Some(way.rest());
        }
        let beginning = top::beginning(v4, source);
        let is_mentioned = header.coarse(v4).mentions(self, beginning) && header.fine(v4).mentions(self, beginning);
        (!is_mentioned).then_some(0)
    }

    /// Where the way of a source through the lists for all services begins: at its end, or two bytes behind where its family
    /// begins. `roots` are those of the [`Header`].
    #[inline(always)]
    fn begin(&self, roots: &Roots, v4: bool, source: &Ipv6Be) -> Ref {
        let root = roots.of(v4);
        if root.is_end() {
            return root;
        }
        top::way(self, top_of(v4), v4, top::beginning(v4, source)).unwrap_or(Ref::NOTHING)
    }

    /// The root of the lists of the service at a place alone.
    #[inline(always)]
    fn own(&self, place: u32, v4: bool) -> Ref {
        self.policy(place).map_or(Ref::NOTHING, |policy| policy.roots.of(v4))
    }

    /// What the lists know of a source of packets to what is at this place: bits of [`verdict`].
    fn source(&self, place: u32, v4: bool, source: &Ipv6Be) -> u32 {
        let first = if v4 { V4_BYTE } else { 0 };
        let all = self
            .header()
            .map_or(Ref::NOTHING, |header| self.begin(&header.roots, v4, source));
        find(self, all, first + TOP_BYTES, source) | find(self, self.own(place, v4), first, source)
    }
}

impl<T: Lines + ?Sized> Sheet for T {}

/// Why a source is refused of which this is known; 0: it is not.
#[inline(always)]
#[must_use]
pub const fn refused_source(known: u32) -> u32 {
    if known & verdict::BOGON != 0 {
        DropReason::Bogon as u32
    } else if known & verdict::DENIED != 0 {
        DropReason::Denied as u32
    } else {
        0
    }
}

/// Why a packet is refused whatever the lists say; 0: it is not. Of one with no header of TCP, the segment is a mention or a
/// datagram.
#[inline(always)]
#[must_use]
pub const fn malformed(source: &Ipv6Be, destination: &Ipv6Be, segment: Segment) -> u32 {
    if source.0[0] == destination.0[0] && source.0[1] == destination.0[1] {
        DropReason::Land as u32
    } else if segment.is_impossible() {
        DropReason::TcpFlags as u32
    } else {
        0
    }
}

/// Elements of [`Refusals::refused`], from the code of [`FIRST_REASON`] on.
pub const REASONS: usize = 8;

/// The reason with the lowest code that a rung has; those behind it are rungs too.
pub const FIRST_REASON: u32 = DropReason::TcpFlags as u32;

const _: () = assert!(DropReason::SynCookie as u32 - FIRST_REASON + 1 == REASONS as u32);

/// Element of `REFUSALS`, one per CPU and place; readers sum over CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Packets that were dropped, by reason.
    pub refused: [u64; REASONS],
    /// Packets that would have been, while that was only observed.
    pub observed: [u64; REASONS],
    /// SYNs that were answered with a cookie.
    pub answered: u64,
    /// Connections that a cookie has opened.
    pub accepted: u64,
    /// Sources that had something left to make up for, and have given way to others.
    pub evicted: u64,
}

impl core::ops::AddAssign for Refusals {
    fn add_assign(&mut self, other: Self) {
        let add = |sums: &mut [u64; REASONS], others: [u64; REASONS]| {
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum += other;
            }
        };
        add(&mut self.refused, other.refused);
        add(&mut self.observed, other.observed);
        self.answered += other.answered;
        self.accepted += other.accepted;
        self.evicted += other.evicted;
    }
}

#[cfg(test)]
mod tests;
