//! What has been counted, in short: what rates are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::stats::{Counters, DropReason};

/// Of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By name. Pools are not there: clients come to services.
    pub services: BTreeMap<Arc<str>, ServiceTally>,
    /// Packets by drop reason, since the maps were made; every reason, zeros included.
    pub drops: Vec<(DropReason, u64)>,
}

/// Of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceTally {
    /// What the program has forwarded to all its backends, since the maps were made.
    Balanced(Counters),
    /// What clients have done with the proxy, since the daemon started.
    Proxied {
        /// Their requests.
        requests: u64,
        /// Bytes received from them and sent to them.
        bytes: u64,
    },
}
