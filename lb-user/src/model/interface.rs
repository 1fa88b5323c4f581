//! An interface of `[node]` while it is there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::addr::Mac;

/// What the node's kernel calls an interface now. Under the same name another one may come, with another index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As in the file.
    pub name: String,
    /// Its index in the node's namespace; never 0.
    pub index: u32,
    /// Its address; zeros if it is no Ethernet.
    pub mac: Mac,
    /// It is switched on, and has a carrier.
    pub running: bool,
    /// Its addresses that have a subnet, with the length of its prefix: VIPs of that subnet belong on it.
    pub addresses: BTreeSet<(IpAddr, u8)>,
}
