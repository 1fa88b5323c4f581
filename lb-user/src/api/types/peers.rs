//! Peers in `GET /api/v1/status`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::peers as from;

/// A node that this one tells of flows, and hears of flows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// It takes what it is told.
    pub connected: bool,
    /// Why it does not; `null` when it does.
    pub reason: Option<String>,
    /// It tells this node.
    pub heard: bool,
    /// Age of what it has been told and has not taken in yet, in milliseconds.
    pub lag_ms: u64,
    /// Flows that it was told of, once for each time.
    pub sent: u64,
    /// Flows that it told of, and that were taken in.
    pub taken: u64,
    /// Those of services or backends that this node does not have, or serves in another way.
    pub foreign: u64,
    /// Those without room.
    pub no_room: u64,
    /// How often it was told everything.
    pub syncs: u64,
}

impl From<from::PeerStatus> for Peer {
    fn from(status: from::PeerStatus) -> Self {
        Self {
            name: status.name.as_ref().to_owned(),
            address: status.address,
            connected: status.connected.is_ok(),
            reason: status.connected.err(),
            heard: status.heard,
            lag_ms: u64::try_from(status.lag.as_millis()).unwrap_or(u64::MAX),
            sent: status.sent,
            taken: status.received.taken,
            foreign: status.received.foreign,
            no_room: status.received.no_room,
            syncs: status.syncs,
        }
    }
}
