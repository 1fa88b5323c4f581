//! Services: which packets are for whom. Keys, the decision behind a key, and the buckets that hold both.
//!
//! `SERVICES_V4` and `SERVICES_V6` are arrays of 64-byte buckets, one cache line each. The key's hash chooses the
//! bucket; what does not fit into a full bucket goes to a BPF hash, and the bucket's last decision is marked, so that
//! only lookups that end there pay for the hash.
//!
//! A VIP has an entry of its own besides its services, with protocol 0 and port 0: it says what becomes of echo
//! requests and of ports that no service declares.

use crate::addr::{Ipv4Be, Ipv6Be, PortBe};
use crate::hash::fibonacci;
use crate::id::{MemberId, MemberIndex};
use crate::limits::{MEMBERS, SERVICE_BUCKETS};

/// IP protocol numbers that services and the program speak of (IANA protocol numbers).
pub mod protocol {
    /// The VIP itself, for every protocol.
    pub const ANY: u8 = 0;
    /// ICMP, RFC 792.
    pub const ICMP: u8 = 1;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// ICMPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
}

/// Port and protocol as one word, the part of a key that both families share.
const fn port_and_protocol(port: PortBe, protocol: u8) -> u64 {
    (port.0 as u64) << 32 | (protocol as u64) << 48
}

/// A run of ports that differ in their low bits only, as a route's addresses do: what a range of ports is made of. All
/// ports are the block with 16 free bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortBlock {
    first: u16,
    free: u8,
}

impl PortBlock {
    /// Every port.
    pub const ALL: Self = Self { first: 0, free: 16 };

    /// The block of `port` with `free` free bits, 0 to 16.
    #[inline(always)]
    #[must_use]
    pub const fn of(port: u16, free: u8) -> Self {
        Self {
            first: (port as u32 >> free << free) as u16,
            free,
        }
    }

    /// How many low bits are free.
    #[must_use]
    pub const fn free(self) -> u8 {
        self.free
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The fewest blocks that make up the ports from `first` to `last`, both included, in order; at most 30.
    pub fn cover(first: u16, last: u16) -> impl Iterator<Item = Self> {
        let mut next = Some(u32::from(first));
        core::iter::from_fn(move || {
            let first = next.filter(|&port| port <= u32::from(last))?;
            let mut free = first.trailing_zeros().min(16);
            while first + (1 << free) - 1 > u32::from(last) {
                free -= 1;
            }
            next = Some(first + (1 << free));
            Some(Self {
                first: first as u16,
                free: free as u8,
            })
        })
    }

    /// As the part of a key: its free bits are in bits 56 to 63, where a port of its own has 0.
    const fn key(self, protocol: u8) -> u64 {
        port_and_protocol(PortBe::new(self.first), protocol) | (self.free as u64) << 56
    }
}

/// IPv4 service key: address in bits 0 to 31, port (network order) in 32 to 47, protocol in 48 to 55, and the free bits of
/// a [`PortBlock`] in 56 to 63, 0 for a port of its own.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyV4(pub u64);

impl KeyV4 {
    /// Key of a service, or of the VIP itself with port 0 and [`protocol::ANY`].
    #[inline(always)]
    pub const fn new(address: Ipv4Be, port: PortBe, protocol: u8) -> Self {
        Self(address.0 as u64 | port_and_protocol(port, protocol))
    }

    /// Key of a service on a block of ports.
    #[inline(always)]
    pub const fn block(address: Ipv4Be, block: PortBlock, protocol: u8) -> Self {
        Self(address.0 as u64 | block.key(protocol))
    }

    /// The bucket that this key belongs to.
    #[inline(always)]
    pub const fn bucket(self) -> u32 {
        mix(self.0)
    }

    /// The VIP.
    pub const fn address(self) -> Ipv4Be {
        Ipv4Be(self.0 as u32)
    }
}

/// IPv6 service key; the third word is like that of [`KeyV4`], without the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyV6 {
    /// The VIP.
    pub address: Ipv6Be,
    /// Port in bits 32 to 47, protocol in 48 to 55, free bits of the port in 56 to 63.
    pub rest: u64,
}

impl KeyV6 {
    /// Key of a service, or of the VIP itself with port 0 and [`protocol::ANY`].
    #[inline(always)]
    pub const fn new(address: Ipv6Be, port: PortBe, protocol: u8) -> Self {
        Self {
            address,
            rest: port_and_protocol(port, protocol),
        }
    }

    /// Key of a service on a block of ports.
    #[inline(always)]
    pub const fn block(address: Ipv6Be, block: PortBlock, protocol: u8) -> Self {
        Self {
            address,
            rest: block.key(protocol),
        }
    }

    /// The bucket that this key belongs to.
    #[inline(always)]
    pub const fn bucket(self) -> u32 {
        let [high, low] = self.address.0;
        mix(high.rotate_left(17) ^ low ^ self.rest)
    }
}

/// The bucket of a word. It need not resist anyone, since only the administrator chooses VIPs.
#[inline(always)]
const fn mix(word: u64) -> u32 {
    fibonacci(word ^ (word >> 32), SERVICE_BUCKETS.ilog2())
}

/// How packets of a service reach its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// Not a service but a VIP itself.
    Address = 1,
    /// Rewrite the destination MAC; the backend answers the client directly.
    Dsr = 2,
    /// Rewrite addresses and ports, both ways.
    Nat = 3,
    /// Not a service but a backend of `nat` services: where flows find its member again after it has moved.
    Backend = 4,
    /// Not a service but an address that `nat` uses as source, and that is no VIP.
    Source = 5,
    /// Put the packet into another one for the backend; it answers the client directly.
    Tunnel = 6,
    /// Leave the packet to the kernel, and so to the proxy that listens on the node: no ring, no members.
    Proxy = 7,
}

/// How a service chooses the backend of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Choice {
    /// By the hash of the 5-tuple.
    #[default]
    Tuple = 0,
    /// By the hash of the source address.
    Source = 1,
    /// The next slot for each new flow. Every flow is written down.
    Turn = 2,
    /// The one with fewer living flows for its weight, of two random ones. Every flow is written down.
    Least = 3,
}

impl Choice {
    /// Does a flow go where a function of its packets says, and not where it once went?
    #[inline(always)]
    #[must_use]
    pub const fn is_hash(self) -> bool {
        // The high bit of two.
        (self as u8) < Self::Turn as u8
    }
}

/// All that decides about a packet of a service, in one word that is read once. Zero: no entry.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0 to 2 | [`Mode`] |
/// | 3 | VIP: answer echo requests |
/// | 4 | VIP: drop packets to ports that no service declares |
/// | 5 | VIP: Fulcrum put it on the node, and takes it off again |
/// | 6 | address: `nat` uses it as source, so replies come to it |
/// | 3 to 4 | service: [`Choice`] |
/// | 8 to 12 | service: log2 of the ring's slots |
/// | 16 to 39 | service: first block of the ring |
/// | 17 to 32 | VIP: services are on blocks of ports with 1 to 16 free bits |
/// | 40 to 62 | member base; of a backend, its member; of a service of the proxy, a number that no member has |
/// | 63 | the bucket's last entry: more keys of this bucket are in the hash |
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decision(pub u64);

impl Decision {
    /// No entry.
    pub const NONE: Self = Self(0);
    /// VIP flag: echo requests are answered.
    pub const ECHO: u64 = 1 << 3;
    /// VIP flag: undeclared ports are dropped, and not passed to the kernel.
    pub const DROP_UNDECLARED: u64 = 1 << 4;
    /// VIP flag: Fulcrum put the address on the node.
    pub const OWNED: u64 = 1 << 5;
    /// Flag of an address: replies to flows that `nat` has translated come here.
    pub const NAT_SOURCE: u64 = 1 << 6;
    /// Mark of a bucket, kept in its last entry.
    pub const OVERFLOWED: u64 = 1 << 63;

    /// Decision for a VIP, from the flags [`Self::ECHO`], [`Self::DROP_UNDECLARED`] and [`Self::OWNED`].
    pub const fn address(flags: u64) -> Self {
        Self(Mode::Address as u64 | flags & (Self::ECHO | Self::DROP_UNDECLARED | Self::OWNED))
    }

    /// Decision for an address that `nat` uses as source, and that was `self` so far.
    #[must_use]
    pub const fn with_source(self) -> Self {
        if self.exists() {
            Self(self.0 | Self::NAT_SOURCE)
        } else {
            Self(Mode::Source as u64 | Self::NAT_SOURCE)
        }
    }

    /// Decision for a backend of `nat` services.
    pub const fn backend(member: MemberId) -> Self {
        Self(Mode::Backend as u64 | (member.0 as u64 & 0x7f_ffff) << 40)
    }

    /// The same for a VIP with services on blocks of ports that have `free` free bits, 1 to 16.
    #[must_use]
    pub const fn with_blocks(self, free: u8) -> Self {
        Self(self.0 | 1 << (Self::BLOCKS + free))
    }

    /// Of a VIP: one bit for each number of free bits that its blocks of ports have, from bit 1 for one to bit 16.
    #[inline(always)]
    pub const fn blocks(self) -> u32 {
        (self.0 >> Self::BLOCKS) as u32 & 0x1_fffe
    }

    const BLOCKS: u8 = 16;

    /// Decision for a service whose ring has 2^`ring_log2` slots from `ring_block` on.
    pub const fn service(mode: Mode, choice: Choice, ring_block: u32, ring_log2: u8, member_base: u32) -> Self {
        Self(
            mode as u64
                | (choice as u64) << 3
                | (ring_log2 as u64 & 0x1f) << 8
                | (ring_block as u64 & 0xff_ffff) << 16
                | (member_base as u64 & 0x7f_ffff) << 40,
        )
    }

    /// Decision for the service of the proxy that traces know by this `number`: it takes the place of a member base, beyond
    /// those that there are.
    pub const fn proxy(number: u32) -> Self {
        Self(Mode::Proxy as u64 | (MEMBERS.wrapping_add(number) as u64 & 0x7f_ffff) << 40)
    }

    /// The entry without the bucket's mark.
    #[inline(always)]
    pub const fn unmarked(self) -> Self {
        Self(self.0 & !Self::OVERFLOWED)
    }

    /// Is there an entry?
    #[inline(always)]
    pub const fn exists(self) -> bool {
        self.unmarked().0 != 0
    }

    /// Does this, the last entry of its bucket, say that the hash holds more?
    #[inline(always)]
    pub const fn overflowed(self) -> bool {
        self.0 & Self::OVERFLOWED != 0
    }

    /// Are all of `flags` set?
    #[inline(always)]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags == flags
    }

    /// The mode; `None` for no entry.
    #[inline(always)]
    pub const fn mode(self) -> Option<Mode> {
        match self.0 & 7 {
            1 => Some(Mode::Address),
            2 => Some(Mode::Dsr),
            3 => Some(Mode::Nat),
            4 => Some(Mode::Backend),
            5 => Some(Mode::Source),
            6 => Some(Mode::Tunnel),
            7 => Some(Mode::Proxy),
            _ => None,
        }
    }

    /// How a service chooses.
    #[inline(always)]
    pub const fn choice(self) -> Choice {
        match self.0 >> 3 & 3 {
            0 => Choice::Tuple,
            1 => Choice::Source,
            2 => Choice::Turn,
            _ => Choice::Least,
        }
    }

    /// Is this a service, of whatever mode?
    #[inline(always)]
    pub const fn is_service(self) -> bool {
        !matches!(self.0 & 7, 0 | 1 | 4 | 5)
    }

    /// Is this a service whose packets are left to the proxy?
    #[inline(always)]
    pub const fn is_proxy(self) -> bool {
        self.0 & 7 == Mode::Proxy as u64
    }

    /// Is this a service that has a ring and members, since the program chooses a backend?
    #[inline(always)]
    pub const fn is_balanced(self) -> bool {
        self.is_service() && !self.is_proxy()
    }

    /// Is this a service whose backends answer the client themselves?
    #[inline(always)]
    pub const fn is_direct(self) -> bool {
        const { assert!(Mode::Dsr as u64 == 0b010 && Mode::Tunnel as u64 == 0b110) };
        // No other mode has these two bits so, and asking for them is one comparison.
        self.0 & 0b011 == 0b010
    }

    /// Is this a VIP?
    #[inline(always)]
    pub const fn is_vip(self) -> bool {
        self.0 & 7 == Mode::Address as u64
    }

    /// First block of the ring.
    #[inline(always)]
    pub const fn ring_block(self) -> u32 {
        (self.0 >> 16) as u32 & 0xff_ffff
    }

    /// Log2 of the ring's slots.
    #[inline(always)]
    pub const fn ring_log2(self) -> u8 {
        (self.0 >> 8) as u8 & 0x1f
    }

    /// What the members' indices are added to.
    #[inline(always)]
    pub const fn member_base(self) -> u32 {
        (self.0 >> 40) as u32 & 0x7f_ffff
    }

    /// The member at `index` of this service.
    #[inline(always)]
    pub const fn member(self, index: MemberIndex) -> MemberId {
        MemberId(self.member_base().wrapping_add(index.0 as u32))
    }
}

/// Bits of the one word in `FEATURES`.
pub mod feature {
    use crate::nat::Ticks;

    /// Some `nat` service keeps the client's address, so replies may come for any address.
    pub const CLIENT_SOURCE: u64 = 1;
    /// The manager wants to hear of flows that are new, so as to tell the node's peers.
    pub const NEWS: u64 = 2;
    /// Place of the [`Ticks`] until which tables of an earlier version are being taken over, so that flows of TCP that
    /// are not known may still come. A time, so that it ends by itself when nobody is left to end it.
    pub const HOLD_UNTIL: u32 = 32;

    /// Are flows that are not known held at `now`, by this word?
    #[inline(always)]
    #[must_use]
    pub const fn holds(word: u64, now: Ticks) -> bool {
        let until = (word >> HOLD_UNTIL) as Ticks;
        until != 0 && until.wrapping_sub(now) <= Ticks::MAX / 2
    }
}

/// A key and its decision. The decision is written last and zeroed first, each as one atomic store.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryV4 {
    /// The key; meaningless while the decision is [`Decision::NONE`].
    pub key: KeyV4,
    /// What becomes of packets with this key.
    pub decision: Decision,
}

/// One cache line of `SERVICES_V4`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketV4 {
    /// In any order.
    pub entries: [EntryV4; 4],
}

/// A key and its decision; see [`EntryV4`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryV6 {
    /// The key; meaningless while the decision is [`Decision::NONE`].
    pub key: KeyV6,
    /// What becomes of packets with this key.
    pub decision: Decision,
}

/// One cache line of `SERVICES_V6`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketV6 {
    /// In any order.
    pub entries: [EntryV6; 2],
}

#[cfg(test)]
mod tests;
