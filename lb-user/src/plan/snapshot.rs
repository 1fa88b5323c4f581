//! The contents of the maps, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use lb_common::addr::PortBe;
use lb_common::backend::Member;
use lb_common::id::MemberId;
use lb_common::limits::MEMBERS;
use lb_common::service::{Decision, KeyV4, KeyV6, PortBlock, protocol};

use super::entries::Table;
use super::slots::Slots;
use crate::model::Protocol;

/// Key of `SERVICES_V4` or `SERVICES_V6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKey {
    /// IPv4
    V4(KeyV4),
    /// IPv6
    V6(KeyV6),
}

impl ServiceKey {
    /// Key of the service on `vip`.
    #[must_use]
    pub fn service(vip: SocketAddr, protocol: Protocol) -> Self {
        Self::new(vip.ip(), PortBe::new(vip.port()), protocol.number())
    }

    /// Key of the service on a block of ports of `vip`; of a block that is a single port the same as [`Self::service`].
    #[must_use]
    pub fn block(vip: IpAddr, block: PortBlock, protocol: Protocol) -> Self {
        match vip {
            IpAddr::V4(v4) => Self::V4(KeyV4::block(v4.into(), block, protocol.number())),
            IpAddr::V6(v6) => Self::V6(KeyV6::block(v6.into(), block, protocol.number())),
        }
    }

    /// Key of the VIP itself.
    #[must_use]
    pub fn address(vip: IpAddr) -> Self {
        Self::new(vip, PortBe(0), protocol::ANY)
    }

    fn new(address: IpAddr, port: PortBe, protocol: u8) -> Self {
        match address {
            IpAddr::V4(v4) => Self::V4(KeyV4::new(v4.into(), port, protocol)),
            IpAddr::V6(v6) => Self::V6(KeyV6::new(v6.into(), port, protocol)),
        }
    }

    /// The keys of all blocks of ports that this one's port is in, if it is one port's, the narrowest first.
    pub(super) fn blocks_around(self) -> impl Iterator<Item = Self> {
        // Bits of `lb_common::service`: the port from bit 32 on, the protocol from 48, free bits from 56.
        let rest = match self {
            Self::V4(key) => key.0,
            Self::V6(key) => key.rest,
        };
        let (port, protocol) = (u16::from_be((rest >> 32) as u16), (rest >> 48) as u8);
        let own = (rest >> 56) as u8;
        (own + 1..=16).map(move |free| {
            let block = PortBlock::of(port, free);
            match self {
                Self::V4(key) => Self::V4(KeyV4::block(key.address(), block, protocol)),
                Self::V6(key) => Self::V6(KeyV6::block(key.address, block, protocol)),
            }
        })
    }

    /// The VIP of this key.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        match self {
            Self::V4(key) => IpAddr::from(key.address().octets()),
            Self::V6(key) => IpAddr::from(key.address.octets()),
        }
    }
}

/// A ring: where each slot leads. All its slots are stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Log2 of the number of slots.
    pub log2: u8,
    /// One per slot.
    pub slots: Slots,
}

/// What the maps hold, or shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Services, the VIPs themselves, and what `nat` needs besides.
    pub entries: BTreeMap<ServiceKey, Decision>,
    /// Rings that entries refer to, by first block.
    pub rings: BTreeMap<u32, Ring>,
    /// Members.
    pub members: BTreeMap<MemberId, Member>,
    /// Bits of [`lb_common::service::feature`] that follow from the rest.
    pub features: u64,
}

impl Ring {
    /// May flows of its slots be written down?
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.slots.census().states.stable as usize == self.slots.len()
    }

    /// The same slots in a ring of 2^`log2`, no fewer: slot i passes on to i, i + N and so on.
    #[must_use]
    pub fn spread(&self, log2: u8) -> Self {
        if log2 == self.log2 {
            return self.clone();
        }
        let slots = self.slots.iter().cycle().take(1 << log2).copied();
        Self {
            log2,
            slots: slots.collect(),
        }
    }
}

impl Snapshot {
    /// Where the members of each service that has some begin.
    #[must_use]
    pub fn bases(&self) -> BTreeSet<u32> {
        let services = self.entries.values().filter(|d| d.is_balanced());
        services.map(|d| d.member_base()).collect()
    }

    /// The members from `base` on, up to the next service's, by index. Takes time in the number of services; where that
    /// would be taken for each of them, [`Self::members_between`] does not.
    #[must_use]
    pub fn members_of(&self, base: u32) -> BTreeMap<u16, Member> {
        self.members_between(base, &self.bases())
    }

    /// [`Self::members_of`] with the [`Self::bases`].
    #[must_use]
    pub fn members_between(&self, base: u32, bases: &BTreeSet<u32>) -> BTreeMap<u16, Member> {
        let next = bases.range(base + 1..).next().copied().unwrap_or(MEMBERS);
        let next = next.min(base + u32::from(u16::MAX));
        let members = self.members.range(MemberId(base + 1)..MemberId(next.max(base + 1)));
        members.map(|(id, &member)| ((id.0 - base) as u16, member)).collect()
    }

    /// May flows of this service be written down? In stable slots none are.
    #[must_use]
    pub fn may_know(&self, service: Decision) -> bool {
        match Table::of(service) {
            Some(Table::Flows) => {
                let ring = self.rings.get(&service.ring_block());
                ring.is_some_and(|ring| !ring.is_stable())
            }
            Some(Table::Tracked) => true,
            None => false,
        }
    }

    /// The addresses where answers to flows of `nat` come in.
    pub fn sources(&self) -> impl Iterator<Item = IpAddr> {
        let sources = self.entries.iter().filter(|(_, d)| d.has(Decision::NAT_SOURCE));
        sources.map(|(key, _)| key.ip())
    }

    /// Does `target` no longer know answers to flows of `nat` that this does?
    #[must_use]
    pub fn loses_answers(&self, target: &Self) -> bool {
        let stays = |source: IpAddr| {
            let decision = target.entries.get(&ServiceKey::address(source));
            decision.is_some_and(|d| d.has(Decision::NAT_SOURCE))
        };
        self.features & !target.features != 0 || !self.sources().all(stays)
    }
}
