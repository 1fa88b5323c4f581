//! Virtual routers in `GET /api/v1/status`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::vrrp as from;

/// What this node is in a virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VirtualRouter {
    /// Its name.
    pub name: String,
    /// Where it is talked of.
    pub interface: String,
    /// VRID.
    pub router_id: u8,
    /// Of the protocol: 2 or 3.
    pub version: u8,
    /// What the node is: `waiting` (it has just started), `backup`, `master` or `fault` (it takes no part).
    pub role: String,
    /// Why, for people.
    pub reason: String,
    /// With all that is tracked.
    pub priority: u8,
    /// That of the file.
    pub priority_in_file: u8,
    /// What the master holds.
    pub addresses: Vec<IpAddr>,
    /// Who was last heard as master; `null` when nobody was.
    pub master: Option<IpAddr>,
    /// The priority that it said.
    pub master_priority: Option<u8>,
    /// This node is master, and another one says so of itself.
    pub rival: bool,
    /// What is tracked and down.
    pub down: Vec<String>,
    /// How often this node became master since the daemon started.
    pub transitions: u64,
    /// Advertisements that it sent.
    pub sent: u64,
    /// Advertisements that it took.
    pub received: u64,
    /// The last program that was told of the role has failed, and why; `null` when it has not.
    pub notify_fault: Option<String>,
}

impl From<from::VrrpStatus> for VirtualRouter {
    fn from(status: from::VrrpStatus) -> Self {
        Self {
            name: status.name.as_ref().to_owned(),
            interface: status.interface.as_ref().to_owned(),
            router_id: status.id,
            version: status.version.number(),
            role: status.role.label().to_owned(),
            reason: status.reason,
            priority: status.priority,
            priority_in_file: status.base_priority,
            addresses: status.addresses,
            master: status.master.map(|(ip, _)| ip),
            master_priority: status.master.map(|(_, priority)| priority),
            rival: status.rival,
            down: status.down,
            transitions: status.transitions,
            sent: status.sent,
            received: status.received,
            notify_fault: status.notify_fault,
        }
    }
}
