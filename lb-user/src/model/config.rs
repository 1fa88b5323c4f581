//! The configuration after validation: a value of these types cannot be wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::acme::ChallengeKind;
use super::peers::Peers;
use super::proxy::Proxy;
use super::vrrp::VirtualRouter;
use super::{Backend, Balance, HealthKind, NamedBackend, Protection, RingSize, ServiceProtection, Via, Vip};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[admin]`
    pub admin: Admin,
    /// `[[service]]` in file order, then `[[pool]]`; names are unique, and so are VIP, protocol and a single port. Ranges do not overlap.
    pub services: Vec<Service>,
    /// `[[vrrp]]` in file order; names are unique, and no address is of two.
    pub routers: Vec<VirtualRouter>,
    /// `[bgp]`: VIPs that are announced while this node can serve them, in file order, each once. Services have them, and
    /// virtual routers don't.
    pub announced: Vec<IpAddr>,
    /// `[peers]`
    pub peers: Option<Peers>,
    /// `[protection]`; `None`: there is no such table.
    pub protection: Option<Protection>,
}

impl Config {
    /// The services whose backends the program chooses, in file order.
    pub fn balanced(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| !service.is_proxied())
    }

    /// The services of the proxy, and the pools that its routes lead to, in file order.
    pub fn proxied(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.is_proxied())
    }

    /// The addresses of virtual routers: whoever is master holds them, and nobody else.
    pub fn virtual_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.routers.iter().flat_map(|router| router.addresses.iter().copied())
    }

    /// Addresses that are not on the node all the time: those of virtual routers, and those that are announced.
    pub fn roaming_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.virtual_addresses().chain(self.announced.iter().copied())
    }

    /// The services that the proxy has something to do with: its own, and those that steer challenges to it, in file order.
    pub fn at_proxy(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(|service| service.proxy.is_some())
    }

    /// Where authorities come that look for http-01, and no service is: port 80 of what orders certificates so.
    pub fn challenged(&self) -> impl Iterator<Item = SocketAddr> {
        let orders = |service: &&Service| {
            let tls = service.proxy.as_ref().and_then(|proxy| proxy.tls.as_ref());
            let acme = tls.and_then(|tls| tls.acme.as_ref());
            acme.is_some_and(|acme| acme.challenge == ChallengeKind::Http01)
        };
        let addresses: BTreeSet<SocketAddr> = self
            .services
            .iter()
            .filter(orders)
            .flat_map(|service| &service.vips)
            .map(|vip| SocketAddr::new(vip.ip, ChallengeKind::Http01.port()))
            .collect();
        addresses
            .into_iter()
            .filter(|address| self.service_at(Protocol::Tcp, *address).is_none())
    }

    /// The service that packets to this address and port belong to: of several, the one that has the narrowest ports.
    #[must_use]
    pub fn service_at(&self, protocol: Protocol, destination: SocketAddr) -> Option<&Service> {
        let services = self.services.iter().filter(|service| service.protocol == protocol);
        let vips = services.flat_map(|service| service.vips.iter().map(move |vip| (vip, service)));
        vips.filter(|(vip, _)| vip.contains(destination))
            .min_by_key(|(vip, _)| vip.ports)
            .map(|(_, service)| service)
    }
}

/// `[node]`: this machine. Fixed while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name of the node; the host name where the file gives none.
    pub name: String,
    /// NICs where VIP traffic arrives; at least one, none twice.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub xdp_mode: XdpMode,
    /// File with the 16 bytes of the hash seed; `None`: a random one kept in `state_dir`.
    pub hash_seed_file: Option<PathBuf>,
    /// Where the daemon keeps what must survive a reboot.
    pub state_dir: PathBuf,
    /// Folder on a bpffs for the pins. One daemon per folder.
    pub pin_dir: PathBuf,
    /// Entries of each table of flows, within [`lb_common::limits::FLOW_TABLE_RANGE`].
    pub flow_table_size: u32,
    /// Threads of the proxy; `None`: one for each CPU.
    pub proxy_threads: Option<NonZeroU16>,
    /// Who scripts and programs are run as; `None`: who the daemon is.
    pub script_user: Option<Arc<str>>,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, else generic with a warning.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's receive path: slower, works with every driver.
    Generic,
}

/// `[admin]`: how commands and monitoring reach the daemon. Fixed while it runs, but for the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket of the API.
    pub socket: PathBuf,
    /// Where metrics, health and the readable part of the API are served over TCP; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The token that lets its bearer do over TCP what the socket's owner may; `None`: nobody may.
    pub token_file: Option<PathBuf>,
}

/// `[[service]]`: VIPs, and the backends behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique.
    pub name: Arc<str>,
    /// Where it is reached; at least one, and either all with a single port, or none. A `[[pool]]`, which routes alone lead
    /// to, is a service without any.
    pub vips: Vec<Vip>,
    /// Of every VIP.
    pub protocol: Protocol,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How the backend is chosen.
    pub balance: Balance,
    /// Slots of the ring.
    pub table_size: RingSize,
    /// `[service.nat]`; said or not, it is of use in [`Mode::Nat`] only.
    pub nat: Nat,
    /// `[service.tunnel]`; said or not, it is of use in [`Mode::Tunnel`] only.
    pub tunnel: Tunnel,
    /// A flow that is silent for longer is forgotten, where flows are kept. At least 5 s.
    pub idle_timeout: Duration,
    /// A backend that drains for longer is cut off from its flows; `None`: it never is.
    pub drain_timeout: Option<Duration>,
    /// Do flows keep their backend when backends change? Always for TCP; for UDP as the file says.
    pub track: bool,
    /// What becomes of ports that no service declares; `None`: as section 5.1 of the design says, by who put the VIP
    /// on the node.
    pub undeclared: Option<Undeclared>,
    /// What the proxy does with its HTTP: always in [`Mode::Proxy`], else while [challenges are
    /// steered](Self::steers_challenges); `None` where they are not.
    pub proxy: Option<Arc<Proxy>>,
    /// `[service.protection]`; `None`: there is no such table. Never of a pool.
    pub protection: Option<ServiceProtection>,
    /// How backends are probed.
    pub health: HealthCheck,
    /// In file order; names and addresses are unique within the service. At most 65,534. Those that are leaving come last.
    pub backends: Vec<Backend>,
    /// Those of the file that are named by a host whose address is not known, in file order. Names are unique among both.
    pub named: Vec<NamedBackend>,
}

impl Service {
    /// Does this node's proxy have it, so that the program has nothing to choose?
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.mode == Mode::Proxy
    }

    /// Do new connections go to this node's proxy while an authority may come for http-01 (RFC 8555 §8.3), though its backends
    /// have the service otherwise?
    #[must_use]
    pub fn steers_challenges(&self) -> bool {
        !self.is_proxied() && self.proxy.is_some()
    }

    /// Is it a `[[pool]]`, which has no address?
    #[must_use]
    pub fn is_pool(&self) -> bool {
        self.vips.is_empty()
    }

    /// The addresses of its VIPs, in file order, each once.
    #[must_use]
    pub fn vip_addresses(&self) -> Vec<IpAddr> {
        let mut addresses = Vec::with_capacity(self.vips.len());
        for vip in &self.vips {
            if !addresses.contains(&vip.ip) {
                addresses.push(vip.ip);
            }
        }
        addresses
    }

    /// Do probes of its backends take the way that its packets take? What `nat` and the proxy send is what the node itself
    /// would send to the backend's address.
    #[must_use]
    pub fn probes_its_path(&self) -> bool {
        self.health.via == Via::Service && matches!(self.mode, Mode::Dsr | Mode::Tunnel)
    }

    /// The ports of this node that translated packets leave from; `None` where none do. A client that keeps its address
    /// takes nothing of the node's.
    #[must_use]
    pub fn nat_ports(&self) -> Option<PortRange> {
        match (self.mode, &self.nat.source) {
            (Mode::Nat, NatSource::Auto | NatSource::Floating(_)) => Some(self.nat.ports),
            (Mode::Nat, NatSource::Client) | (Mode::Dsr | Mode::Tunnel | Mode::Proxy, _) => None,
        }
    }
}

/// L4 protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
}

impl Protocol {
    /// How long a flow may be silent where the file does not say: TCP a little longer than Linux waits before its first
    /// keepalive, UDP two minutes.
    pub const fn idle_timeout(self) -> Duration {
        match self {
            Self::Tcp => Duration::from_secs(2 * 3600 + 15 * 60),
            Self::Udp => Duration::from_secs(2 * 60),
        }
    }

    /// IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => lb_common::service::protocol::TCP,
            Self::Udp => lb_common::service::protocol::UDP,
        }
    }

    /// As in the file: `tcp` or `udp`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How packets reach the backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Direct server return: rewrite the destination MAC, the backend answers the client itself.
    Dsr,
    /// Network address translation: both directions pass the node.
    Nat,
    /// IP in IP: the packet travels to the backend inside another one, the backend answers the client itself.
    Tunnel,
    /// Packets are left to this node's own HTTP proxy.
    Proxy,
}

impl Mode {
    /// As in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Nat => "nat",
            Self::Tunnel => "tunnel",
            Self::Proxy => "proxy",
        }
    }
}

/// `[service.nat]`: what backends see in place of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which address.
    pub source: NatSource,
    /// Which ports.
    pub ports: PortRange,
}

impl Default for Nat {
    /// The node's own address, and [`PortRange::DEFAULT`].
    fn default() -> Self {
        Self {
            source: NatSource::Auto,
            ports: PortRange::DEFAULT,
        }
    }
}

/// `[service.tunnel]`: what packets travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Sources of outer packets over IPv4: an address, and how many of its low bits vary with the flow, 0 to 32. In the
    /// address they are zero.
    pub source_v4: (Ipv4Addr, u8),
    /// The same over IPv6, 0 to 32.
    pub source_v6: (Ipv6Addr, u8),
}

impl Default for Tunnel {
    /// 172.16.0.0/16, and 100::/96, which is to be discarded (RFC 6666): nobody answers a tunnel.
    fn default() -> Self {
        Self {
            source_v4: (Ipv4Addr::new(172, 16, 0, 0), 16),
            source_v6: (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 32),
        }
    }
}

/// The source address of what `nat` sends to backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatSource {
    /// The address that the node itself has towards the backend.
    Auto,
    /// The client's: the backend routes its answers through the node.
    Client,
    /// These, which may move from node to node: at most one per family, and one of each family that the service's
    /// backends have.
    Floating(Vec<IpAddr>),
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// 20,000 to 29,999: below what Linux takes for connections of its own.
    pub const DEFAULT: Self = Self {
        first: 20_000,
        last: 29_999,
    };

    /// From `first` to `last`; `None` when there is nothing between them, or port 0.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || last < first {
            return None;
        }
        Some(Self { first, last })
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports.
    pub const fn count(self) -> u16 {
        self.last - self.first + 1
    }

    /// Is `port` one of them?
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Do the two have ports in common?
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// As in the file: `20000-29999`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What becomes of packets for a VIP to a port that no service declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeclared {
    /// Dropped and counted.
    Drop,
    /// Left to the kernel.
    Pass,
}

impl Undeclared {
    /// As it is written.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }
}

/// `[service.health]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What a probe does.
    pub kind: HealthKind,
    /// Which way it goes.
    pub via: Via,
    /// From one probe's start to the next one's, before jitter.
    pub interval: Duration,
    /// A probe without an answer after this has failed. At most `interval`.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up.
    pub rise: NonZeroU32,
    /// Failures in a row that take it down.
    pub fall: NonZeroU32,
    /// A backend that comes up gets its whole share of new flows after this; `None`: at once.
    pub slow_start: Option<Duration>,
    /// So many backends must be ready to take flows for the service to count as healthy.
    pub quorum: NonZeroU32,
}

impl HealthCheck {
    /// Do both ask the same, whatever their timing?
    #[must_use]
    pub fn asks_as(&self, other: &Self) -> bool {
        (&self.kind, self.via) == (&other.kind, other.via)
    }
}
