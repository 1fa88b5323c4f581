//! What a node says of itself: the model behind `status` and `explain`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::addr::Mac;
use lb_common::stats::{Counters, DropReason};

use super::{AdminState, Balance, Health, Mode, Protocol};

/// The whole node at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Of `[node]`.
    pub node: String,
    /// One per interface of `[node]`.
    pub interfaces: Vec<InterfaceStatus>,
    /// In file order.
    pub services: Vec<ServiceStatus>,
    /// Packets by drop reason, since the maps were made; every reason, zeros included.
    pub drops: Vec<(DropReason, u64)>,
    /// The last reload that was refused since the last one that was taken, and why.
    pub refused_reload: Option<String>,
    /// The last failure to write the maps or to put addresses on the node; `None` after a success.
    pub fault: Option<String>,
    /// Why overrides are not kept over a restart, or which were lost; `None` when all is well.
    pub overrides_fault: Option<String>,
}

/// How the program sits on an interface.
#[derive(Clone, Debug)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Native (in the driver) or generic.
    pub native: bool,
}

/// A service, its VIPs and backends.
#[derive(Clone, Debug)]
pub struct ServiceStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its VIPs.
    pub vips: Vec<VipStatus>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How a backend is chosen.
    pub balance: Balance,
    /// Slots of the ring.
    pub table_size: u32,
    /// In file order.
    pub backends: Vec<BackendStatus>,
}

/// A VIP of a service.
#[derive(Clone, Copy, Debug)]
pub struct VipStatus {
    /// Address and port.
    pub address: SocketAddr,
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
    /// In force.
    pub weight: u16,
    /// Of the file, where a command has said otherwise.
    pub weight_in_file: Option<u16>,
    /// In force.
    pub state: AdminState,
    /// Of the file, where a command has said otherwise.
    pub state_in_file: Option<AdminState>,
    /// What the prober says.
    pub health: Health,
    /// Why it says so.
    pub health_reason: String,
    /// How it is reached; if it is not, why, for people.
    pub next_hop: Result<Reached, String>,
    /// Slots of the ring that it serves.
    pub slots: u32,
    /// Since the maps were made.
    pub counters: Counters,
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
    pub interface: String,
}

/// Which flow `explain` is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowQuery {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client. Of the same family as `destination`.
    pub source: SocketAddr,
    /// The VIP.
    pub destination: SocketAddr,
}

/// What the program would do with a packet of that flow, and why. Read from the maps by the program's own code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The address is no VIP of this node: passed to the kernel.
    NotAVip {
        /// Which address.
        address: IpAddr,
    },
    /// A VIP, but no service on this port: dropped or passed.
    Undeclared {
        /// Is it dropped?
        dropped: bool,
    },
    /// Dropped, for this reason.
    Dropped {
        /// The service that the flow belongs to.
        service: Arc<str>,
        /// Its reason.
        reason: DropReason,
        /// Slot of the ring.
        slot: u32,
    },
    /// Sent to a backend.
    Forwarded {
        /// The service that the flow belongs to.
        service: Arc<str>,
        /// The backend's name.
        backend: Arc<str>,
        /// The backend's address.
        address: SocketAddr,
        /// How it gets there.
        mode: Mode,
        /// The flow's keyed hash.
        hash: u64,
        /// Slot of the ring.
        slot: u32,
        /// Slots in the ring.
        slots: u32,
    },
}
