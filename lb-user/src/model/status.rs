//! What a node says of itself: the model behind `status`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use lb_common::addr::Mac;
use lb_common::id::MemberId;
use lb_common::stats::{Counters, DropReason};

use super::acme::AcmeStatus;
use super::http_status::ServiceHttp;
use super::peers::PeersStatus;
use super::refused::{ProtectionStatus, ServiceProtectionStatus};
use super::traffic::BackendTraffic;
use super::vrrp::HaStatus;
use super::{AdminState, Balance, Health, Mode, NamedBackend, PortRange, ProbeCounts, Protocol, Role, Vip};

pub use super::explanation::{Explained, Explanation, FlowQuery, KnownFlow, Otherwise, Pool, SlotState};

/// The whole node at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Of `[node]`.
    pub node: String,
    /// One per interface of `[node]`; none before the program is attached for the first time.
    pub interfaces: Vec<InterfaceStatus>,
    /// In file order.
    pub services: Vec<ServiceStatus>,
    /// Packets by drop reason, since the maps were made; every reason, zeros included.
    pub drops: Vec<(DropReason, u64)>,
    /// What protects services, and has refused packets that were for none; `None`: nothing does.
    pub protection: Option<ProtectionStatus>,
    /// What is known of flows in [`Mode::Dsr`] and [`Mode::Tunnel`].
    pub flows: FlowTables,
    /// What the proxy has done, by service and pool, in file order.
    pub http: Vec<ServiceHttp>,
    /// What came of reading the file again.
    pub reloads: Reloads,
    /// The last failure to write the maps or to put addresses on the node; `None` after a success.
    pub fault: Option<String>,
    /// What somebody else has changed.
    pub repairs: Repairs,
    /// When the daemon started.
    pub started: SystemTime,
    /// Every backend that is probed has been, at least once since the daemon started.
    pub settled: bool,
    /// Why overrides are not kept over a restart, or which were lost; `None` when all is well.
    pub overrides_fault: Option<String>,
    /// Virtual routers, and VIPs that are announced.
    pub ha: HaStatus,
    /// A command has said that clients are to go to other nodes.
    pub draining: bool,
    /// The nodes that this one shares flows with.
    pub peers: PeersStatus,
    /// Certificates that are ordered, in file order.
    pub certificates: AcmeStatus,
}

/// A node, as far as the addresses are concerned by which clients reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Of `[node]`.
    pub node: String,
    /// As [`Status::draining`].
    pub draining: bool,
    /// Virtual routers, and VIPs that are announced.
    pub ha: HaStatus,
    /// As [`Status::overrides_fault`].
    pub overrides_fault: Option<String>,
}

/// What the reconciler knows without reading a map: for whoever asks often whether it works, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Services of the configuration in force.
    pub services: usize,
    /// Their backends.
    pub backends: usize,
    /// Of these, those that are found down.
    pub down: usize,
    /// Interfaces of `[node]` that the program is not attached to.
    pub unattached: Vec<String>,
    /// The file was refused when it was last read.
    pub refused: bool,
    /// As [`Status::fault`].
    pub fault: Option<String>,
    /// As [`Status::settled`].
    pub settled: bool,
    /// As [`Status::draining`].
    pub draining: bool,
}

/// What somebody else has changed and the daemon has put right since it started, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Times that the program was taken off an interface.
    pub programs: u64,
    /// Entries of services and addresses.
    pub entries: u64,
    /// Slots of rings.
    pub slots: u64,
    /// Members: backends of a service.
    pub members: u64,
    /// VIPs that were taken off the node.
    pub addresses: u64,
}

impl Repairs {
    /// By name, as in JSON and metrics.
    #[must_use]
    pub const fn each(self) -> [(&'static str, u64); 5] {
        [
            ("program", self.programs),
            ("entry", self.entries),
            ("slot", self.slots),
            ("member", self.members),
            ("address", self.addresses),
        ]
    }
}

/// The tables of flows that are not translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTables {
    /// Of services that choose by a hash: flows of slots that have changed.
    pub flows: FlowTable,
    /// Of services that choose by turn or by load: every flow.
    pub tracked: FlowTable,
}

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTable {
    /// Flows that are known, as the last sweep found them.
    pub entries: u32,
    /// Most that can be known.
    pub capacity: u32,
    /// Flows that were written down, since the maps were made.
    pub written: u64,
    /// Flows that found no room, since the maps were made.
    pub no_room: u64,
}

/// What came of reading the file again while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// How often it was taken.
    pub accepted: u64,
    /// How often it was refused.
    pub refused: u64,
    /// When it was last taken or refused; before that, when the daemon read it first.
    pub last: SystemTime,
    /// Why the last one was refused; `None` when it was taken.
    pub refusal: Option<String>,
    /// The file is not as it was last read, taken or refused: how, for people.
    pub unread: Option<String>,
}

impl Reloads {
    /// The daemon has read its file for the first time.
    #[must_use]
    pub fn none(now: SystemTime) -> Self {
        Self {
            accepted: 0,
            refused: 0,
            last: now,
            refusal: None,
            unread: None,
        }
    }

    /// The file was taken.
    pub fn accept(&mut self, now: SystemTime) {
        self.accepted += 1;
        self.last = now;
        self.refusal = None;
    }

    /// The file was refused.
    pub fn refuse(&mut self, now: SystemTime, reason: String) {
        self.refused += 1;
        self.last = now;
        self.refusal = Some(reason);
    }
}

/// An interface of `[node]`.
#[derive(Clone, Debug)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// How the program sits on it; if it does not, why, for people.
    pub attached: Result<AttachMode, String>,
}

/// Where on the receive path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the kernel, after the driver.
    Generic,
}

impl AttachMode {
    /// As in file, metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// A service, its VIPs and backends.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its VIPs; none of a pool.
    pub vips: Vec<VipStatus>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How a backend is chosen.
    pub balance: Balance,
    /// Slots of the ring; there is none in [`Mode::Proxy`].
    pub table_size: u32,
    /// Of these, by what is remembered of their flows.
    pub slots: SlotStates,
    /// What protects it, and has refused its packets; `None` where nothing does, and of a pool.
    pub protection: Option<ServiceProtectionStatus>,
    /// Between two probes of a backend; `None` when nobody probes.
    pub probe_interval: Option<Duration>,
    /// Backends that can take new flows.
    pub ready: u32,
    /// So many make the service count as healthy.
    pub quorum: u32,
    /// In file order; those that are leaving come last.
    pub backends: Vec<BackendStatus>,
    /// Those of the file that have no address.
    pub named: Vec<NamedBackend>,
}

/// How many slots of a ring are in each state (section 5.4 of the design).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotStates {
    /// One backend serves all flows.
    pub stable: u32,
    /// They have changed, and flows that are older go where they went.
    pub moving: u32,
    /// Flows that are known go where they went.
    pub settled: u32,
}

impl ServiceStatus {
    /// Does it have its quorum?
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.ready >= self.quorum
    }
}

/// A VIP of a service.
#[derive(Clone, Copy, Debug)]
pub struct VipStatus {
    /// Address and ports.
    pub address: Vip,
    /// Fulcrum put the address on the node: undeclared ports drop, echo is answered, unless the file says otherwise.
    pub exclusive: bool,
}

/// A backend of a service.
#[derive(Clone, Debug)]
pub struct BackendStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The host that the file names, whose address this is.
    pub host: Option<Arc<str>>,
    /// In force.
    pub weight: u16,
    /// Of the file, where a command or a probe has said otherwise.
    pub weight_in_file: Option<u16>,
    /// Tenths of its share that it has, where it starts slowly: 1 to 9.
    pub starting: Option<u16>,
    /// Whether it serves while others do.
    pub role: Role,
    /// In force.
    pub state: AdminState,
    /// Of the file, where a command has said otherwise.
    pub state_in_file: Option<AdminState>,
    /// What the prober says.
    pub health: Health,
    /// Why it says so.
    pub health_reason: Arc<str>,
    /// What its probes have come to; `None` when none has ended.
    pub probes: Option<ProbeCounts>,
    /// How it is reached; if it is not, why, for people. `None` in [`Mode::Proxy`], where the kernel finds the way.
    pub next_hop: Option<Result<Reached, String>>,
    /// Slots of the ring that it serves.
    pub slots: u32,
    /// Slots of the ring that it has had, and whose older flows are still its own: also those that have been silent since.
    pub moving_slots: u32,
    /// It gets nothing new, and no flow can need it any more, as counted since it began to drain.
    pub drained: bool,
    /// Since the maps were made.
    pub counters: Counters,
    /// The file has it no more; it finishes its flows, and goes.
    pub leaving: bool,
    /// Flows of it that are known in [`Mode::Dsr`] and [`Mode::Tunnel`], as the last sweep found them.
    pub known_flows: u32,
    /// Flows that were known when it was cut off from them, since its drain was over; since the daemon started.
    pub cut_flows: u64,
    /// In [`Mode::Nat`].
    pub nat: Option<NatStatus>,
    /// In [`Mode::Proxy`], and while the service [steers challenges](super::Service::steers_challenges).
    pub proxied: Option<ProxiedStatus>,
}

/// What the proxy does with a backend, at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxiedStatus {
    /// It is among those who get what is new.
    pub serves: bool,
    /// It is set aside for what it did to requests.
    pub ejected: bool,
    /// Requests under way, upgraded connections too.
    pub active: u32,
    /// Connections to it, idle ones too.
    pub connections: u32,
    /// Requests sent to it, repeated ones too; since the daemon started, as all that follow.
    pub requests: u64,
    /// Of these, those that it did not answer, or not to the end.
    pub failures: u64,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}

impl ProxiedStatus {
    /// As counted.
    #[must_use]
    pub fn of(traffic: &BackendTraffic, serves: bool) -> Self {
        Self {
            serves,
            ejected: traffic.ejected.load(Relaxed) != 0,
            active: traffic.active.load(Relaxed),
            connections: traffic.connections.load(Relaxed),
            requests: traffic.requests.load(Relaxed),
            failures: traffic.failures.load(Relaxed),
            received: traffic.received.load(Relaxed),
            sent: traffic.sent.load(Relaxed),
        }
    }
}

/// What `nat` uses towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatStatus {
    /// The address that the backend sees as the client; `None` for the client's own.
    pub source: Option<IpAddr>,
    /// The ports that flows get on it.
    pub ports: PortRange,
    /// Flows, which have a port each, as the last sweep found them.
    pub flows: NatFlows,
}

/// Flows of `nat`, each of which has a port, by what has been seen of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatFlows {
    /// Only one side has been heard.
    pub opening: u32,
    /// Both have.
    pub established: u32,
    /// TCP: one side has sent its FIN.
    pub half_closed: u32,
    /// TCP: both have, or one has sent a RST. The port rests, and is used again early where there is no other.
    pub closed: u32,
}

impl NatFlows {
    /// Those that neither side has reset, nor both have finished.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.opening + self.established + self.half_closed
    }

    /// All of them: ports that are taken.
    #[must_use]
    pub fn ports(&self) -> u32 {
        self.opening + self.established + self.half_closed + self.closed
    }
}

/// What the flows of `nat` use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatUsage {
    /// Flows by member.
    pub flows: BTreeMap<MemberId, NatFlows>,
    /// The source addresses of those whose client's is not kept.
    pub sources: BTreeSet<IpAddr>,
    /// There are some whose client's is kept.
    pub clients: bool,
}

/// One backend of a service.
#[derive(Clone, Debug)]
pub struct OneBackend {
    /// The service's name.
    pub service: Arc<str>,
    /// The backend.
    pub backend: BackendStatus,
}

/// What has become of a command about one backend.
#[derive(Clone, Debug)]
pub struct Overridden {
    /// The service's name.
    pub service: Arc<str>,
    /// The backend, afterwards.
    pub backend: BackendStatus,
    /// As [`Status::fault`]: while it is there, the maps may not be as commanded yet.
    pub fault: Option<String>,
    /// As [`Status::overrides_fault`].
    pub overrides_fault: Option<String>,
}

/// How a backend is reached.
#[derive(Clone, Debug)]
pub struct Reached {
    /// MAC of the backend, or of the router towards it.
    pub mac: Mac,
    /// Name of the node's interface on that link.
    pub interface: Arc<str>,
}
