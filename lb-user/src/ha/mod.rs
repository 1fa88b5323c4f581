//! High availability: this node's part in the virtual routers of the file (VRRP, RFC 9568 and RFC 3768), and which VIPs the
//! site's routing daemon finds here to be announced ([`announced`]).
//!
//! [`machine`] decides, [`packet`] reads and writes what goes over the wire, and the engine here carries out what they
//! say: it sends, holds and announces addresses, and starts programs. Nothing that it waits for is somebody else's: scripts
//! and programs run in tasks of their own. What it promises: an address is put on the node only by a master, and one that
//! ends lets it go; if it is killed, the kernel does so a few seconds later.

mod addresses;
mod announced;
mod listeners;
pub mod machine;
pub mod packet;
mod programs;
mod reconfigure;
mod router;
mod socket;
mod tracks;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::control::Fitness;
use crate::model::vrrp::{HaStatus, Role};
use crate::model::{Config, Interface};
use crate::net::{Announcer, Net};
use crate::process::Programs;
use announced::Announced;
use listeners::{Key, Listeners, advertise, arrival};
use machine::{Effect, Event, Reason};
use packet::{Advertisement, Refused};
use router::{Router, Script};
use socket::Datagram;

/// News of scripts that wait. When there are as many, scripts wait.
const NEWS: usize = 64;

/// 1 s; bounds how long files that are tracked, and failures that come from outside, go unseen.
const LOOK: Duration = Duration::from_secs(1);

/// Advertisements in a second that are read of an interface: nobody has a reason to send more. Besides, what each virtual
/// router may get of its peers at the shortest interval.
const MOST: u32 = 1_000;
const MOST_OF_EACH: u32 = 200;

/// Why a node holds nothing that drains.
const DRAINING: &str = "the node drains; `fulcrum node enable` ends that";

/// What the engine works with.
pub struct Setup {
    /// The node's network.
    pub net: Net,
    /// The configuration in force.
    pub configs: watch::Receiver<Arc<Config>>,
    /// What starts programs.
    pub programs: Programs,
    /// Whether the node can balance.
    pub fitness: watch::Receiver<Fitness>,
    /// Where its state is told.
    pub status: watch::Sender<HaStatus>,
    /// Closed when it is to end.
    pub stopped: watch::Receiver<()>,
    /// The node may be master already: another daemon has handed on.
    pub inherits: bool,
}

/// Takes part in virtual routers until it is told to end; then gives away what it holds, and lets it go.
pub async fn run(setup: Setup) {
    let Setup {
        net,
        mut configs,
        programs,
        mut fitness,
        status,
        mut stopped,
        inherits,
    } = setup;
    let (said, mut scripts) = mpsc::channel(NEWS);
    let (found, mut interfaces) = watch::channel(Vec::new());
    let mut engine = Engine {
        announced: Announced::new(net.clone()),
        net,
        announcer: None,
        routers: Vec::new(),
        listeners: BTreeMap::new(),
        refused: BTreeMap::new(),
        watched: BTreeSet::new(),
        watcher: JoinSet::new(),
        found,
        said,
        programs,
    };
    let config = Arc::clone(&configs.borrow_and_update());
    engine.reconfigure(&config, inherits).await;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ends = false;
    loop {
        let now = Instant::now();
        let due = engine.routers.iter().filter_map(|router| router.due(now));
        let due = due.chain(engine.announced.due()).min();
        // What is heard changes nothing about what is tracked, and time nothing about what is announced.
        let (mut looks, mut announces) = (true, true);
        tokio::select! {
            biased;
            () = sleep_until(due.unwrap_or(now)), if due.is_some() => announces = false,
            () = arrival(&engine.listeners) => {
                engine.hear().await;
                looks = false;
            }
            _ = stopped.changed(), if !ends => {
                ends = true;
                engine.stop_all().await;
            }
            Ok(()) = configs.changed(), if !ends => {
                let config = Arc::clone(&configs.borrow_and_update());
                engine.reconfigure(&config, false).await;
            }
            Ok(()) = fitness.changed() => {}
            Ok(()) = interfaces.changed() => {}
            Some(((name, track), up)) = scripts.recv() => {
                engine.routers.iter_mut().filter(|r| r.config.name == name).for_each(|r| r.script(track, up));
            }
            _ = look.tick() => {}
        }
        if looks && !ends {
            let (fit, here) = (
                fitness.borrow_and_update().clone(),
                interfaces.borrow_and_update().clone(),
            );
            engine.listen(&here);
            engine.judge(&here, &fit).await;
            if announces {
                engine.announced.judge(&fit).await;
            }
        }
        engine.on_time().await;
        let now = Instant::now();
        status.send_replace(engine.status(now));
        if ends && engine.routers.iter().all(|router| router.machine.is_over()) {
            for router in engine.routers {
                router.end().await;
            }
            return;
        }
    }
}

struct Engine {
    net: Net,
    announced: Announced,
    /// Opened when it is needed.
    announcer: Option<Announcer>,
    routers: Vec<Router>,
    listeners: Listeners,
    refused: BTreeMap<(Arc<str>, Refused), u64>,
    /// Interfaces that are watched, and who does so.
    watched: BTreeSet<String>,
    watcher: JoinSet<()>,
    found: watch::Sender<Vec<Interface>>,
    said: mpsc::Sender<(Script, bool)>,
    programs: Programs,
}

impl Engine {
    /// Takes the advertisements that have arrived by now, or counts why not.
    async fn hear(&mut self) {
        let open = self
            .listeners
            .iter()
            .filter_map(|(key, listener)| Some((key, listener.as_ref().ok()?)));
        let of_each = open.flat_map(|(key, listener)| iter::repeat(key.clone()).zip(listener.socket.arrived()));
        let arrived: Vec<(Key, Datagram)> = of_each.collect();
        for (key, datagram) in arrived {
            match self.accept(&key, &datagram) {
                Ok((place, heard)) => {
                    let effects = self.routers[place].machine.handle(Event::Heard(heard), Instant::now());
                    self.perform(place, effects).await;
                }
                Err(cause) => {
                    *self.refused.entry((Arc::clone(&key.0), cause)).or_default() += 1;
                    tracing::debug!(interface = %key.0, from = %datagram.source, cause = cause.label(), "an advertisement is not taken");
                }
            }
        }
    }

    fn accept(&mut self, key: &Key, datagram: &Datagram) -> Result<(usize, machine::Heard), Refused> {
        let here = self.routers.iter().filter(|r| r.config.interface == key.0).count();
        let now = Instant::now();
        if let Some(Ok(listener)) = self.listeners.get_mut(key) {
            if now >= listener.until {
                let most = MOST + MOST_OF_EACH * u32::try_from(here).unwrap_or(u32::MAX);
                (listener.left, listener.until) = (most, now + Duration::from_secs(1));
            }
            listener.left = listener.left.checked_sub(1).ok_or(Refused::Flood)?;
        }
        if self
            .routers
            .iter()
            .any(|r| r.config.interface == key.0 && r.source == Some(datagram.source))
        {
            return Err(Refused::Own);
        }
        let advertisement = Advertisement::decode(&datagram.message, datagram.source, datagram.destination)?;
        let meant = |r: &Router| r.key() == *key && r.config.id.get() == advertisement.id;
        let place = self.routers.iter().position(meant).ok_or(Refused::UnknownRouter)?;
        let heard = self.routers[place].accept(datagram, &advertisement)?;
        Ok((place, heard))
    }

    /// Looks at what is tracked, and does what follows.
    async fn judge(&mut self, interfaces: &[Interface], fit: &Fitness) {
        for router in &mut self.routers {
            router.look(interfaces, fit);
            if let Some(Err(reason)) = self.listeners.get(&router.key()) {
                router.fault = router.fault.take().or_else(|| Some(reason.clone()));
            }
        }
        // A sync group is as able as its least able member, and as ready.
        let now = Instant::now();
        let of_group = |router: &Router| {
            let ready = self.group(router).all(|member| member.is_ready(now));
            (self.fault_of(router), ready && fit.settled)
        };
        let states: Vec<(Option<String>, bool)> = self.routers.iter().map(of_group).collect();
        for (place, (fault, ready)) in states.into_iter().enumerate() {
            let router = &mut self.routers[place];
            if std::mem::take(&mut router.inherited) && fault.is_none() {
                let effects = router.inherit(now);
                self.perform(place, effects).await;
                continue;
            }
            let effects = router.judge(fault.as_deref(), ready, now);
            self.perform(place, effects).await;
        }
    }

    /// A virtual router with the others of its sync group.
    fn group<'a>(&'a self, router: &'a Router) -> impl Iterator<Item = &'a Router> {
        let (name, group) = (&router.config.name, &router.config.sync_group);
        let others = self.routers.iter();
        others.filter(move |other| other.config.name == *name || group.is_some() && other.config.sync_group == *group)
    }

    fn fault_of(&self, router: &Router) -> Option<String> {
        router.fault.clone().or_else(|| {
            let of_other = |other: &Router| Some(format!("{}: {}", other.config.name, other.fault.as_ref()?));
            self.group(router).find_map(of_other)
        })
    }

    /// What time asks for. Whoever was held up, and so is late for it, is late for what was sent to him as well: that is heard
    /// before, or he would take over from a master that speaks, or go on beside one.
    async fn on_time(&mut self) {
        for place in 0..self.routers.len() {
            let now = Instant::now();
            if self.routers[place].machine.due().is_some_and(|due| due <= now) {
                self.hear().await;
            }
            let effects = self.routers[place].machine.handle(Event::Time, now);
            self.perform(place, effects).await;
            let router = &self.routers[place];
            if router.renewal.is_some_and(|at| now >= at) {
                self.hold(place).await;
            }
            if self.routers[place].next_announcement().is_some_and(|at| now >= at) {
                self.announce(place).await;
                self.routers[place].announced();
            }
        }
        self.announced.renew().await;
    }

    async fn stop_all(&mut self) {
        self.announced.stop().await;
        for place in 0..self.routers.len() {
            let effects = self.routers[place].machine.handle(Event::Stop, Instant::now());
            self.perform(place, effects).await;
        }
    }

    /// Does what a machine says, and what follows from it for its sync group.
    async fn perform(&mut self, place: usize, effects: Vec<Effect>) {
        let mut all = vec![(place, effects)];
        while let Some((place, effects)) = all.pop() {
            for effect in effects {
                let now = Instant::now();
                match effect {
                    Effect::Advertise(priority) => advertise(&self.listeners, &mut self.routers[place], priority),
                    Effect::Hold => {
                        self.routers[place].holds(true, now);
                        self.hold(place).await;
                    }
                    Effect::Announce => self.announce(place).await,
                    Effect::Release => {
                        self.routers[place].holds(false, now);
                        let addresses = self.routers[place].config.addresses.clone();
                        self.release(&addresses).await;
                    }
                    Effect::Became(role, reason) => {
                        let was_master = self.routers[place].was_master;
                        self.routers[place].became(role, reason);
                        all.extend(self.of_group(place, role, reason, was_master));
                    }
                }
            }
        }
    }

    /// What the others of a sync group do when one has become something by itself.
    fn of_group(&mut self, place: usize, role: Role, reason: Reason, was_master: bool) -> Vec<(usize, Vec<Effect>)> {
        let event = match role {
            Role::Master => Event::Promote,
            Role::Backup if was_master => Event::Demote,
            Role::Backup | Role::Waiting | Role::Fault => return Vec::new(),
        };
        let group = self.routers[place].config.sync_group.clone();
        if group.is_none() || reason == Reason::Group {
            return Vec::new();
        }
        let now = Instant::now();
        let others = self.routers.iter_mut().enumerate();
        let others = others.filter(|(other, router)| *other != place && router.config.sync_group == group);
        others
            .map(|(other, router)| (other, router.machine.handle(event, now)))
            .collect()
    }

    fn status(&self, now: Instant) -> HaStatus {
        let interfaces: BTreeSet<&Arc<str>> = self.routers.iter().map(|r| &r.config.interface).collect();
        let count = |interface: &Arc<str>, cause: Refused| {
            let count = self.refused.get(&(Arc::clone(interface), cause)).copied();
            (Arc::clone(interface), cause.label(), count.unwrap_or(0))
        };
        HaStatus {
            routers: self.routers.iter().map(|router| router.status(now)).collect(),
            refused: interfaces
                .into_iter()
                .flat_map(|interface| Refused::ALL.map(|cause| count(interface, cause)))
                .collect(),
            announcements: self.announced.status(),
        }
    }
}
