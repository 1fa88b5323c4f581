//! `GET` and `PATCH /api/v1/node`, and addresses that are announced in `GET /api/v1/status`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::VirtualRouter;
use crate::model::status as from;
use crate::model::vrrp;

/// A node, as far as the addresses are concerned by which clients reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Node {
    /// Its name.
    pub node: String,
    /// A command has said that clients are to go to other nodes.
    pub draining: bool,
    /// By which clients reach it now: those of which it is master, and those that are announced.
    pub addresses: Vec<IpAddr>,
    /// In the order of the file.
    pub virtual_routers: Vec<VirtualRouter>,
    /// In the order of the file.
    pub announcements: Vec<Announcement>,
    /// As in the status: while it is there, a restart of the daemon may forget what was wanted.
    pub overrides_fault: Option<String>,
}

/// A VIP that the site's routing daemon is to announce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Announcement {
    /// The VIP.
    pub address: IpAddr,
    /// It is on `lo`, where the routing daemon finds it.
    pub announced: bool,
    /// Why, for people.
    pub reason: String,
}

/// What is wanted of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodePatch {
    /// Clients are to go to other nodes.
    pub draining: bool,
}

impl From<from::NodeState> for Node {
    fn from(state: from::NodeState) -> Self {
        Self {
            node: state.node,
            draining: state.draining,
            addresses: state.ha.held().collect(),
            virtual_routers: state.ha.routers.into_iter().map(Into::into).collect(),
            announcements: state.ha.announcements.into_iter().map(Into::into).collect(),
            overrides_fault: state.overrides_fault,
        }
    }
}

impl From<vrrp::Announcement> for Announcement {
    fn from(announcement: vrrp::Announcement) -> Self {
        let vrrp::Announcement {
            address,
            announced,
            reason,
        } = announcement;
        Self {
            address,
            announced,
            reason,
        }
    }
}
