//! What the data plane shall do, as far as it is known of today.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use lb_common::service::{self, Choice, Decision};

use super::entries::Table;
use super::keys::Keys;
use crate::model::{Balance, Mode, Nat, NextHop, Protocol, RingSize, Role, Tunnel, Vip};

/// What the data plane shall do. VIP, protocol and a single port are unique over all services, and ranges do not overlap;
/// backends are unique within a service.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Every VIP.
    pub addresses: BTreeMap<IpAddr, DesiredAddress>,
    /// The services on them whose backends the program chooses.
    pub services: Vec<DesiredService>,
    /// The services on them that the proxy has: their packets are left to the kernel.
    pub proxied: Vec<DesiredProxy>,
    /// Addresses that living flows of `nat` have as source, whatever the services say by now.
    pub sources: BTreeSet<IpAddr>,
    /// There are living flows of `nat` that keep the client's address.
    pub clients: bool,
    /// Somebody wants to hear of flows that are new.
    pub news: bool,
}

impl Desired {
    /// The keys of all services.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let balanced = self.services.iter().map(|s| (&s.vips[..], s.protocol));
        Keys::of(balanced.chain(self.proxied.iter().map(|p| (&p.vips[..], p.protocol))))
    }
}

/// A VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredAddress {
    /// Fulcrum puts the address on the node.
    pub owned: bool,
    /// Echo requests are answered.
    pub echo: bool,
    /// Packets to undeclared ports are dropped.
    pub drop_undeclared: bool,
}

/// A service of the proxy. It needs nothing but that its packets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredProxy {
    /// Its VIPs; none, when routes alone lead to it.
    pub vips: Vec<Vip>,
    /// Of every VIP.
    pub protocol: Protocol,
}

/// How packets of a service reach its backends: a [`Mode`] that is not the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// [`Mode::Dsr`]
    Dsr,
    /// [`Mode::Nat`]
    Nat,
    /// [`Mode::Tunnel`]
    Tunnel,
}

impl Forwarding {
    /// `None` for [`Mode::Proxy`].
    #[must_use]
    pub const fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Dsr => Some(Self::Dsr),
            Mode::Nat => Some(Self::Nat),
            Mode::Tunnel => Some(Self::Tunnel),
            Mode::Proxy => None,
        }
    }

    const fn mode(self) -> service::Mode {
        match self {
            Self::Dsr => service::Mode::Dsr,
            Self::Nat => service::Mode::Nat,
            Self::Tunnel => service::Mode::Tunnel,
        }
    }
}

/// How the program chooses where the file says `balance`; `None` for what the proxy alone can do.
#[must_use]
pub const fn choice(balance: Balance) -> Option<Choice> {
    match balance {
        Balance::Maglev => Some(Choice::Tuple),
        Balance::SourceHash => Some(Choice::Source),
        Balance::RoundRobin => Some(Choice::Turn),
        Balance::LeastConnections => Some(Choice::Least),
        Balance::ByRequests | Balance::ByTraffic | Balance::ByBusyness | Balance::Heartbeat | Balance::PeakEwma => None,
    }
}

/// A service.
#[derive(Clone, Debug)]
pub struct DesiredService {
    /// Its VIPs; at least one, and either all with a single port, or none.
    pub vips: Vec<Vip>,
    /// Of every VIP.
    pub protocol: Protocol,
    /// How packets reach the backends.
    pub mode: Forwarding,
    /// How a backend is chosen.
    pub choice: Choice,
    /// Do flows keep their backend when backends change?
    pub track: bool,
    /// What backends see as the client, in [`Forwarding::Nat`].
    pub nat: Nat,
    /// What packets travel in, in [`Forwarding::Tunnel`].
    pub tunnel: Tunnel,
    /// How long a flow may be silent, where flows are kept.
    pub idle_timeout: Duration,
    /// Slots of its ring.
    pub table_size: RingSize,
    /// Its backends.
    pub members: Vec<DesiredMember>,
}

impl DesiredService {
    /// Where a service that lies there chooses its backends.
    pub(super) const fn decision(&self, ring_block: u32, ring_log2: u8, member_base: u32) -> Decision {
        Decision::service(self.mode.mode(), self.choice, ring_block, ring_log2, member_base)
    }

    /// Do its slots remember whom they had, so that flows keep their backend?
    pub(super) fn remembers(&self) -> bool {
        self.track && Table::of(self.decision(0, 0, 0)) == Some(Table::Flows)
    }

    /// Do packets keep their port, since the service has many?
    pub(super) fn keeps_ports(&self) -> bool {
        self.vips.iter().any(|vip| !vip.ports.is_one())
    }
}

/// A backend of a service.
#[derive(Clone, Debug)]
pub struct DesiredMember {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share; 0 for none.
    pub weight: u16,
    /// Whether it has a share while others have one.
    pub role: Role,
    /// May it serve?
    pub alive: Alive,
    /// How it is reached.
    pub hop: Hop,
}

impl DesiredMember {
    /// This node itself, which leaves its packets to the kernel. It is where no backend can be: at port 0 of the loopback address.
    #[must_use]
    pub const fn node(weight: u16) -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            weight,
            role: Role::Primary,
            alive: Alive::Yes,
            hop: Hop::Node,
        }
    }
}

/// May a backend serve?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Nobody knows yet: what is installed stays, and a new backend does not serve.
    AsInstalled,
}

/// How a backend is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// So.
    Known(NextHop),
    /// It is this node, whose kernel gets its packets.
    Node,
    /// It is not; it does not serve.
    Unknown,
    /// Nobody knows yet: what is installed stays.
    AsInstalled,
}
