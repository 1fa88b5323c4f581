//! The contents of the maps, as values.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::addr::PortBe;
use lb_common::backend::Member;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::service::{Decision, KeyV4, KeyV6, PortBlock, protocol};

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
    pub slots: Arc<[MemberIndex]>,
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

impl Snapshot {
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
