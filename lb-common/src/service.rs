//! Services: which packets are for whom. Keys, the decision behind a key, and the buckets that hold both.
//!
//! `SERVICES_V4` and `SERVICES_V6` are arrays of 64-byte buckets, one cache line each. The key's hash chooses the
//! bucket; what does not fit into a full bucket goes to a BPF hash, and the bucket's last decision is marked, so that
//! only lookups that end there pay for the hash.
//!
//! A VIP has an entry of its own besides its services, with protocol 0 and port 0: it says what becomes of echo
//! requests and of ports that no service declares.

use crate::addr::{Ipv4Be, Ipv6Be, PortBe};
use crate::id::{MemberId, MemberIndex};
use crate::limits::SERVICE_BUCKETS;

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

/// IPv4 service key: address in bits 0 to 31, port (network order) in 32 to 47, protocol in 48 to 55, the rest 0.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyV4(pub u64);

impl KeyV4 {
    /// Key of a service, or of the VIP itself with port 0 and [`protocol::ANY`].
    #[inline(always)]
    pub const fn new(address: Ipv4Be, port: PortBe, protocol: u8) -> Self {
        Self(address.0 as u64 | port_and_protocol(port, protocol))
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
    /// Port in bits 32 to 47, protocol in 48 to 55.
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

    /// The bucket that this key belongs to.
    #[inline(always)]
    pub const fn bucket(self) -> u32 {
        let [high, low] = self.address.0;
        mix(high.rotate_left(17) ^ low ^ self.rest)
    }
}

/// Fibonacci hashing: the upper bits of a product with 2^64 over the golden ratio. It need not resist anyone, since
/// only the administrator chooses VIPs.
#[inline(always)]
const fn mix(word: u64) -> u32 {
    let folded = word ^ (word >> 32);
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SERVICE_BUCKETS.ilog2())) as u32
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
/// | 8 to 12 | log2 of the ring's slots |
/// | 16 to 39 | first block of the ring |
/// | 40 to 62 | member base; of a backend, its member |
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

    /// Decision for a service whose ring has 2^`ring_log2` slots from `ring_block` on.
    pub const fn service(mode: Mode, ring_block: u32, ring_log2: u8, member_base: u32) -> Self {
        Self(
            mode as u64
                | (ring_log2 as u64 & 0x1f) << 8
                | (ring_block as u64 & 0xff_ffff) << 16
                | (member_base as u64 & 0x7f_ffff) << 40,
        )
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

    /// The mode; `None` for no entry, and for a mode that this version does not know.
    #[inline(always)]
    pub const fn mode(self) -> Option<Mode> {
        match self.0 & 7 {
            1 => Some(Mode::Address),
            2 => Some(Mode::Dsr),
            3 => Some(Mode::Nat),
            4 => Some(Mode::Backend),
            5 => Some(Mode::Source),
            _ => None,
        }
    }

    /// Is this a service, of whatever mode?
    #[inline(always)]
    pub const fn is_service(self) -> bool {
        !matches!(self.0 & 7, 0 | 1 | 4 | 5)
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
mod tests {
    use super::*;

    #[test]
    fn holding_ends_by_itself() {
        let word = |until: u32| feature::CLIENT_SOURCE | (until as u64) << feature::HOLD_UNTIL;
        assert!(!feature::holds(word(0), 7), "nobody has asked for it");
        assert!(feature::holds(word(9), 7) && feature::holds(word(9), 9));
        assert!(!feature::holds(word(9), 10));
        assert!(feature::holds(word(2), u32::MAX - 2), "over the end of the clock");
        assert!(!feature::holds(word(u32::MAX - 2), 2));
    }

    #[test]
    fn a_decision_keeps_its_fields_apart() {
        let d = Decision::service(Mode::Dsr, 0xff_ffff, 20, 0x7f_ffff);
        assert_eq!(
            (d.ring_block(), d.ring_log2(), d.member_base()),
            (0xff_ffff, 20, 0x7f_ffff)
        );
        assert_eq!(d.mode(), Some(Mode::Dsr));
        assert!(d.exists() && !d.overflowed() && !d.has(Decision::ECHO));
        let d = Decision::service(Mode::Dsr, 5, 14, 64);
        assert_eq!((d.ring_block(), d.ring_log2(), d.member_base()), (5, 14, 64));
        assert_eq!(d.member(MemberIndex(3)), MemberId(67));
        assert!(!Decision(Decision::OVERFLOWED).exists());
        let vip = Decision::address(Decision::ECHO | Decision::OWNED | 1 << 60);
        assert_eq!(vip, Decision(0b101_001));
    }

    #[test]
    fn keys_that_differ_in_one_field_differ() {
        let a = Ipv4Be::new([192, 0, 2, 1]);
        let key = KeyV4::new(a, PortBe::new(80), protocol::TCP);
        assert_ne!(key, KeyV4::new(a, PortBe::new(80), protocol::UDP));
        assert_ne!(key, KeyV4::new(a, PortBe::new(81), protocol::TCP));
        assert_ne!(
            key,
            KeyV4::new(Ipv4Be::new([192, 0, 2, 2]), PortBe::new(80), protocol::TCP)
        );
    }

    #[test]
    fn neighbouring_keys_spread_over_buckets() {
        // 4,096 ports of one VIP in 16,384 buckets of four: few buckets may be full.
        let mut fill = [0u8; SERVICE_BUCKETS as usize];
        let a = Ipv4Be::new([192, 0, 2, 1]);
        for port in 1..=4096 {
            fill[KeyV4::new(a, PortBe::new(port), protocol::TCP).bucket() as usize] += 1;
        }
        let over: usize = fill.iter().map(|&n| usize::from(n.saturating_sub(4))).sum();
        assert!(over < 10, "{over} of 4096 keys overflow");
    }
}
