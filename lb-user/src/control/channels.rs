//! What the reconciler hears, and whom it tells.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::commands::{Revision, Saved};
use super::handle::Request;
use super::paths::Paths;
use crate::model::acme::Offered;
use crate::model::status::Reloads;
use crate::model::traffic::Upstreams;
use crate::model::{Config, Interface, NextHopState, Verdict};

/// Everything that wakes the reconciler. It ends when the configuration's sender is gone.
#[derive(Debug)]
pub struct Inputs {
    /// The newest accepted configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// What came of reading the file again.
    pub reloads: watch::Receiver<Reloads>,
    /// What the prober says. When the queue is full, the prober waits.
    pub verdicts: mpsc::Receiver<Verdict>,
    /// What the resolver says. When the queue is full, the resolver waits.
    pub next_hops: mpsc::Receiver<(IpAddr, NextHopState)>,
    /// The interfaces of `[node]` that are there.
    pub interfaces: watch::Receiver<Vec<Interface>>,
    /// Questions and commands. When the queue is full, askers wait.
    pub requests: mpsc::Receiver<Request>,
    /// What has been kept of what commands have said.
    pub saved: watch::Receiver<Saved>,
    /// What the proxy shows authorities.
    pub offered: watch::Receiver<Offered>,
}

/// What others follow.
#[derive(Debug)]
pub struct Outputs {
    /// The ways to the backends that are probed through their service.
    pub paths: watch::Sender<Paths>,
    /// Who may serve of the proxy's services.
    pub upstreams: watch::Sender<Arc<Upstreams>>,
    /// The configuration in force: the file with the overrides above it.
    pub in_force: watch::Sender<Arc<Config>>,
    /// What commands have said by now, to be kept.
    pub commanded: watch::Sender<Revision>,
    /// The number of the last offer of the proxy's that packets are sent by.
    pub steered: watch::Sender<u64>,
}
