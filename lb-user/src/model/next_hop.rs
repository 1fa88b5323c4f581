//! How the node reaches a backend on the wire.

use std::net::IpAddr;

use lb_common::addr::Mac;

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
