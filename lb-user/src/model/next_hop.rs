//! How the node reaches a backend on the wire.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::addr::Mac;

use super::Tunnel;

/// Where a packet for a backend goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// MAC of the backend, or of the router towards it.
    pub mac: Mac,
    /// MAC of the node's interface on that link.
    pub local: Mac,
    /// Index of that interface.
    pub interface: u32,
    /// The router on the way; `None` for a backend on the node's own segment.
    pub router: Option<IpAddr>,
    /// The address that the node itself sends from on this way; `None` where it has none.
    pub source: Option<IpAddr>,
    /// Largest IP packet on this way, in bytes; 65,535 where it could be larger.
    pub mtu: u16,
}

/// What is known of a backend's next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHopState {
    /// Known.
    Resolved(NextHop),
    /// Being looked for, and what is waited for, for people: what was known before may still be right.
    Pending(String),
    /// There is none, and why, for people.
    Unresolved(String),
}

/// The way that a service's packets take to one of its backends, for probes that take it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePath {
    /// Where the packets are addressed to: the service's VIPs in the order of the file, each once.
    pub vips: Vec<IpAddr>,
    /// What they travel in; `None`: they go as they are.
    pub tunnel: Option<Tunnel>,
    /// Where they go first.
    pub next_hop: NextHopState,
    /// Every VIP of the node: answers to one of them would not reach whoever asks, so none is a source.
    pub not_sources: Arc<BTreeSet<IpAddr>>,
}
