//! The start: the program is loaded and attached, and its maps are right before the first packet meets it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use lb_common::hash::Seed;
use tokio::sync::watch;

use super::doors::Doors;
use super::kept::Store;
use super::reload::Reload;
use super::{hosts, machine};
use crate::api::Token;
use crate::config::Parsed;
use crate::control::merge::Facts;
use crate::control::shared::PeerEnds;
use crate::control::{Fitness, NodeAddresses, Reconciler, Revision};
use crate::dataplane::kernel::Kernel;
use crate::model::Interface;
use crate::model::acme::AcmeStatus;
use crate::model::traffic::Traffic;
use crate::model::vrrp::HaStatus;
use crate::net::Net;

/// What is there when the program is attached.
pub(super) struct Started {
    pub(super) reload: Reload,
    pub(super) interfaces: Vec<Interface>,
    pub(super) reconciler: Reconciler<Kernel, NodeAddresses>,
    /// What the proxy hashes with, and what it counts.
    pub(super) proxy: (Seed, Arc<Traffic>),
    /// Where the state of virtual routers is told, and what they depend on.
    pub(super) ha: (watch::Sender<HaStatus>, watch::Receiver<Fitness>),
    pub(super) peers: PeerEnds,
    /// Where it is told how certificates stand.
    pub(super) certificates: watch::Sender<AcmeStatus>,
    pub(super) kept: Kept,
    pub(super) doors: Doors,
}

/// Loads the program, fills its maps, attaches it, and puts the VIPs on the node.
pub(super) async fn start(
    path: &Path,
    net: &Net,
    parsed: &Parsed,
    token: Option<Token>,
    known: hosts::Known,
    interfaces: Vec<Interface>,
    seed: Seed,
) -> Result<Started> {
    let reload = Reload::new(path, net.clone(), parsed, known);
    let config = reload.config();
    let node = &config.node;
    let doors = Doors::open(parsed, token).await?;
    let mut dataplane = Kernel::open(&node.pin_dir, seed, node.flow_table_size)?;
    dataplane.forward_messages()?;
    let mut facts = Facts::new(Arc::clone(&config));
    let store = Store::new(&node.state_dir);
    let (loaded, fault) = store.load();
    facts.restore(loaded.overrides.clone());
    let mut reconciler = Reconciler::new(dataplane, NodeAddresses(net.clone()), facts, seed);
    let traffic = Arc::new(Traffic::default());
    reconciler.restore_denies(loaded.denies.clone());
    reconciler.set_traffic(Arc::clone(&traffic));
    reconciler.set_tcp(machine::tcp(net, &interfaces).await);
    let ha = reconciler.connect_ha();
    let peers = reconciler.connect_peers();
    let certificates = reconciler.connect_acme();
    // The maps are right before the first packet meets the program, and the VIPs come when it is attached; what does
    // not work at once is tried again, and `status` says why.
    reconciler.converge().await;
    reconciler.attach(interfaces.clone())?;
    reconciler.converge().await;
    Ok(Started {
        reload,
        interfaces,
        reconciler,
        proxy: (seed, traffic),
        ha,
        peers,
        certificates,
        kept: Kept { store, loaded, fault },
        doors,
    })
}

/// What an earlier run has left of what commands have said.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) loaded: Revision,
    pub(super) fault: Option<String>,
}
