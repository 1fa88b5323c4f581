//! The reconciler: makes what is installed what is desired, and keeps it so.
//!
//! Events only wake it; each round works from the newest state of everything. A failure becomes the node's `fault`, is
//! logged once, and is tried again, later and later. Every [`RESYNC`] the maps and addresses are read back and the
//! program is attached anew where somebody took it off, so that what somebody else changed is repaired.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lb_common::backend::MacFlags;
use lb_common::hash::Seed;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::addresses::Addresses;
use super::begins::Begins;
use super::carried::Carried;
use super::channels::{Inputs, Outputs};
use super::commands::{Saved, Waiting};
use super::denies::Denies;
use super::drains::Drains;
use super::fitness::Ha;
use super::held::{held, keys};
use super::interfaces::Interfaces;
use super::known::Known;
use super::merge::Facts;
use super::protect::Protection;
use super::quorum::Quorums;
use super::repairs::Repaired;
use super::shared::{Shared, Woken};
use super::slow_start::SlowStarts;
use super::sweep::{SWEEP, Sweep};
use super::tell::tell;
use super::trace::Trace;
use crate::dataplane::{ApplyError, AttachError, Dataplane};
use crate::model::acme::{AcmeStatus, Offered};
use crate::model::status::{Pulse, Reloads};
use crate::model::traffic::Traffic;
use crate::model::{Config, Interface, Service, chain};
use crate::plan::{DesiredAddress, Full, Memory, Placement, Snapshot, Tcp};

/// Bounds how long a change that somebody else makes to the maps survives.
pub const RESYNC: Duration = Duration::from_secs(30);

/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A VIP that should leave and cannot: Fulcrum's, so that it is not forgotten, and otherwise left to the kernel.
const STAYS: DesiredAddress = DesiredAddress {
    owned: true,
    echo: false,
    drop_undeclared: false,
};

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the configuration does not fit")]
    Full(#[from] Full),
    #[error("the data plane refused")]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("the node's addresses cannot be read")]
    Present(#[source] std::io::Error),
    #[error("cannot put {0} on the node")]
    Add(IpAddr, #[source] std::io::Error),
    #[error("cannot take {0} off the node")]
    Remove(IpAddr, #[source] std::io::Error),
}

/// See the module.
pub struct Reconciler<D, A> {
    pub(super) dataplane: D,
    pub(super) addresses: A,
    pub(super) facts: Facts,
    pub(super) seed: Seed,
    pub(super) memory: Memory,
    /// What the maps hold; `None` when that has to be read.
    pub(super) installed: Option<Snapshot>,
    /// The last plan that was carried out.
    pub(super) carried: Carried,
    /// Where the program is attached.
    pub(super) interfaces: Interfaces,
    pub(super) reloads: Reloads,
    pub(super) fault: Option<String>,
    /// Of what commands have said; counts its changes.
    pub(super) revision: u64,
    pub(super) saved: Saved,
    pub(super) offered: Offered,
    /// Each with the revision that it waits for, in the order of those. As many as requests are under way: the API
    /// bounds them.
    pub(super) waiting: VecDeque<(u64, Waiting)>,
    pub(super) sweep: Sweep,
    pub(super) known: Known,
    pub(super) drains: Drains,
    /// When flows of all kinds were last counted.
    pub(super) counted: Option<Instant>,
    pub(super) begins: Begins,
    pub(super) slow_starts: SlowStarts,
    pub(super) quorums: Quorums,
    pub(super) ha: Ha,
    /// How certificates stand that are ordered.
    pub(super) certificates: watch::Receiver<AcmeStatus>,
    pub(super) shared: Shared,
    pub(super) trace: Option<Trace>,
    pub(super) protection: Protection,
    /// What is denied at run time.
    pub(super) denies: Denies,
    pub(super) tcp: Tcp,
    /// What the proxy's backends have done.
    pub(super) traffic: Arc<Traffic>,
    /// What somebody else has changed.
    pub(super) repaired: Repaired,
    /// The last plan was carried out to its end: what is installed contradicts itself nowhere.
    pub(super) whole: bool,
    /// What an earlier run has left has been looked at.
    adopted: bool,
    resync: Duration,
    pub(super) started: SystemTime,
    /// How far this is ahead of time, in tests.
    pub(super) ahead: Duration,
    /// The first health round is over.
    pub(super) settled: bool,
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Over `dataplane`, whose program hashes with `seed`.
    pub fn new(dataplane: D, addresses: A, facts: Facts, seed: Seed) -> Self {
        #[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
        let started = SystemTime::now();
        Self {
            carried: Carried::new(Placement::default(), Arc::clone(&facts.config)),
            dataplane,
            addresses,
            facts,
            seed,
            memory: Memory::new(seed),
            installed: None,
            interfaces: Interfaces::default(),
            reloads: Reloads::none(started),
            fault: None,
            revision: 0,
            saved: Saved::default(),
            offered: Offered::default(),
            waiting: VecDeque::new(),
            sweep: Sweep::default(),
            known: Known::new(Instant::now()),
            drains: Drains::default(),
            counted: None,
            begins: Begins::default(),
            slow_starts: SlowStarts::default(),
            quorums: Quorums::default(),
            ha: Ha::default(),
            certificates: watch::channel(AcmeStatus::default()).1,
            shared: Shared::default(),
            trace: None,
            protection: Protection::default(),
            denies: Denies::default(),
            tcp: Tcp::default(),
            traffic: Arc::default(),
            repaired: Repaired::default(),
            whole: false,
            adopted: false,
            resync: RESYNC,
            started,
            ahead: Duration::ZERO,
            settled: false,
        }
    }

    /// What is known.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What is known, for tests that change it without tasks.
    #[doc(hidden)]
    pub fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }

    /// Reads back more or less often than every [`RESYNC`].
    pub fn resync_every(&mut self, period: Duration) {
        self.resync = period;
    }

    /// Says how the node's kernel speaks TCP.
    pub fn set_tcp(&mut self, tcp: Tcp) {
        self.tcp = tcp;
    }

    /// Counts what backends of the proxy do where the proxy does.
    pub fn set_traffic(&mut self, traffic: Arc<Traffic>) {
        self.traffic = traffic;
    }

    /// The data plane.
    pub fn dataplane_mut(&mut self) -> &mut D {
        &mut self.dataplane
    }

    /// Attaches the program to these interfaces. Before this, no VIP is put on the node: nobody shall be sent to a node
    /// that does not balance.
    ///
    /// # Errors
    /// When one refuses. The rounds that follow try again.
    pub fn attach(&mut self, interfaces: Vec<Interface>) -> Result<(), AttachError> {
        self.follow(interfaces);
        self.attach_due()
    }

    /// These interfaces are there now; the next round attaches the program.
    pub(super) fn follow(&mut self, interfaces: Vec<Interface>) {
        self.interfaces.follow(interfaces);
        let names = self.interfaces.names();
        if names != self.facts.interfaces {
            self.repaired.forget_addresses();
        }
        self.facts.interfaces = names;
    }

    fn attach_due(&mut self) -> Result<(), AttachError> {
        let mode = self.facts.config.node.xdp_mode;
        self.interfaces.attach(&mut self.dataplane, mode, &mut self.repaired)
    }

    /// Works until the configuration's sender is gone.
    pub async fn run(mut self, mut inputs: Inputs, outputs: Outputs) {
        self.saved.clone_from(&inputs.saved.borrow_and_update());
        self.publish(&outputs);
        let mut resync = interval_at(Instant::now() + self.resync, self.resync);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = interval_at(Instant::now() + SWEEP, SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backoff = BACKOFF.0;
        // The first rounds, before this ran, may have failed.
        let mut retry = self.fault.is_some().then(|| Instant::now() + backoff);
        loop {
            self.tell_fitness();
            let mut asked = None;
            let due = self.due();
            let mut changed = tokio::select! {
                changed = inputs.config.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.reconfigure(&mut inputs.config);
                    true
                }
                Ok(()) = inputs.reloads.changed() => {
                    self.reloads.clone_from(&inputs.reloads.borrow_and_update());
                    false
                }
                Some(verdict) = inputs.verdicts.recv() => {
                    let mut changed = self.read_config(&mut inputs.config);
                    changed |= self.facts.judge(verdict);
                    while let Ok(verdict) = inputs.verdicts.try_recv() {
                        changed |= self.read_config(&mut inputs.config);
                        changed |= self.facts.judge(verdict);
                    }
                    changed
                }
                Some((host, state)) = inputs.next_hops.recv() => {
                    self.read_config(&mut inputs.config);
                    self.facts.route(host, state);
                    while let Ok((host, state)) = inputs.next_hops.try_recv() {
                        self.read_config(&mut inputs.config);
                        self.facts.route(host, state);
                    }
                    true
                }
                Ok(()) = inputs.interfaces.changed() => {
                    let interfaces = inputs.interfaces.borrow_and_update().clone();
                    self.follow(interfaces);
                    true
                }
                Ok(()) = inputs.saved.changed() => {
                    self.saved.clone_from(&inputs.saved.borrow_and_update());
                    false
                }
                Ok(()) = inputs.offered.changed() => {
                    self.offered = *inputs.offered.borrow_and_update();
                    self.facts.steer(self.offered.challenged)
                }
                Some(request) = inputs.requests.recv() => {
                    asked = Some(request);
                    // Who asks may have seen a file accepted or refused.
                    self.reloads.clone_from(&inputs.reloads.borrow_and_update());
                    self.read_config(&mut inputs.config)
                }
                woken = self.shared.woken() => {
                    if let Woken::News(keys) = woken {
                        tokio::task::block_in_place(|| self.tell_news(&keys));
                    }
                    false
                }
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => true,
                _ = sweep.tick() => self.sweep(),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.abandon_trace();
                    // Whose drain is over is seen by the next round, who begins, who takes more, and who is denied no more.
                    let next = [self.drains.next(), self.begins.next(), self.slow_starts.next(), self.next_deny()];
                    self.sweep() | next.into_iter().flatten().any(|next| next <= self.now())
                }
                _ = resync.tick() => {
                    self.installed = None;
                    self.interfaces.look_again();
                    true
                }
            };
            if let Some(request) = asked {
                if changed {
                    retry = self.attempt(&outputs, &mut backoff).await;
                }
                changed = self.answer(request, &outputs).await;
            }
            if changed {
                retry = self.attempt(&outputs, &mut backoff).await;
            }
            self.answer_saved();
            if self.fault.is_none() {
                tell(&outputs.steered, self.offered.number);
            }
        }
    }

    /// One round of what is in force now; when it failed, the time of the next one.
    async fn attempt(&mut self, outputs: &Outputs, backoff: &mut Duration) -> Option<Instant> {
        self.take_in();
        self.publish(outputs);
        if self.write().await {
            *backoff = BACKOFF.0;
            return None;
        }
        let again = Instant::now() + *backoff;
        *backoff = (*backoff * 2).min(BACKOFF.1);
        Some(again)
    }

    /// Takes a configuration that has come meanwhile: what health and next hops say next may be about it. It is sent
    /// before the prober and the resolver hear of it, so it is there before they speak. True when one had come.
    fn read_config(&mut self, config: &mut watch::Receiver<Arc<Config>>) -> bool {
        let changed = config.has_changed().unwrap_or(false);
        if changed {
            self.reconfigure(config);
        }
        changed
    }

    fn reconfigure(&mut self, config: &mut watch::Receiver<Arc<Config>>) {
        let config = Arc::clone(&config.borrow_and_update());
        self.facts.reconfigure(config);
    }

    /// One round; false when it failed, which is logged and kept as the node's fault.
    pub async fn converge(&mut self) -> bool {
        self.take_in();
        self.write().await
    }

    /// What follows from time and from what is known: whose drain is over, who begins, who has which share, who may come again.
    fn take_in(&mut self) {
        if !self.settled && self.facts.settled() {
            self.settled = true;
            let Pulse { backends, down, .. } = self.pulse();
            tracing::info!(backends, down, "every backend has been probed");
        }
        self.end_drains();
        let now = self.now();
        self.begins
            .end(self.facts.heard(), |service| self.facts.serves(service), now);
        self.weigh();
        self.end_denies();
    }

    /// The round itself.
    async fn write(&mut self) -> bool {
        match self.round().await {
            Ok(()) => {
                if self.fault.take().is_some() {
                    tracing::info!("the data plane is as desired again");
                }
                true
            }
            Err(failure) => {
                let text = chain(&failure);
                if self.fault.as_ref() != Some(&text) {
                    tracing::warn!(error = %text, "the data plane is not as desired; trying again");
                }
                self.fault = Some(text);
                // What has been written by the operations before the one that failed is not known any more.
                self.installed = None;
                false
            }
        }
    }

    pub(super) fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// Which services that are new do not serve yet.
    fn wait(&mut self, installed: &Snapshot) {
        let facts = &self.facts;
        let keys = keys(&facts.config);
        let holds = |service: &Service| held(installed, &keys, service).is_some();
        let now = self.now();
        let waiting = self
            .begins
            .observe(&facts.config, holds, |service| facts.knows(service), now);
        self.facts.waiting = waiting;
    }

    /// Whoever serves flows of a service of the file without being in it leaves.
    fn adopt(&mut self, installed: &Snapshot) {
        let mut news = false;
        let keys = keys(&self.facts.file);
        let bases = installed.bases();
        for service in &Arc::clone(&self.facts.file).services {
            // What nat has left where the proxy takes over serves nobody any more.
            let Some(decision) = held(installed, &keys, service).filter(|_| !service.is_proxied()) else {
                continue;
            };
            for member in installed.members_between(decision.member_base(), &bases).values() {
                if member.next_hop.flags() & MacFlags::ALIVE != 0 && !member.is_node() {
                    let address = (member.address.to_ip(), member.port.host()).into();
                    news |= self.facts.adopt(service, address);
                }
            }
        }
        if news {
            self.facts.take();
        }
    }

    async fn round(&mut self) -> Result<(), Failure> {
        // First, and whatever becomes of the rest: without the program nothing is balanced.
        let attached = tokio::task::block_in_place(|| self.attach_due());
        let installed = match self.installed.take() {
            Some(known) => known,
            None => self.read_back()?,
        };
        if !std::mem::replace(&mut self.adopted, true) {
            self.adopt(&installed);
        }
        self.wait(&installed);
        let addresses = self.addresses.present().await.map_err(Failure::Present)?;
        let vips = self.facts.vips();
        let were_owned = self.were_owned(&installed);
        // Whoever is responsible for them puts these on the node and takes them off; in the maps they are like its own.
        let roaming: BTreeSet<IpAddr> = self.facts.config.roaming_addresses().collect();
        let mut own = self.own(&installed, &addresses, vips.keys());
        own.extend(self.roaming(&addresses).intersection(&vips.keys().copied().collect()));

        let mut desired = self.facts.desired(&own);
        let mut failure = attached.err().map(Failure::Attach);
        // The maps are the record of whose an address is: it leaves the node before its entry leaves the maps, and
        // comes after its entry has come.
        let gone = |vip: &&IpAddr| !vips.contains_key(*vip) && !roaming.contains(*vip);
        for &vip in were_owned.iter().filter(gone) {
            let from: Vec<u32> = addresses.iter().filter(|a| a.ip == vip).map(|a| a.interface).collect();
            match self.take_off(vip, &from).await {
                Ok(()) => {
                    self.repaired.taken_off(vip);
                    tracing::info!(%vip, "VIP taken off the node");
                }
                Err(error) => {
                    failure = failure.or(Some(error));
                    desired.addresses.insert(vip, STAYS);
                }
            }
        }
        match tokio::task::block_in_place(|| self.carry_out(installed, &mut desired)) {
            Ok(()) => {}
            // The rest has been carried out.
            Err(full @ Failure::Full(_)) => failure = failure.or(Some(full)),
            Err(refused) => return Err(refused),
        }
        failure = failure.or(self.leave_to_lo(&own, &addresses).await.err());
        own.retain(|vip| !roaming.contains(vip));
        let refused = self.put_on(&own, &addresses).await.err();
        failure = failure.or(refused);
        failure.map_or(Ok(()), Err)
    }
}
