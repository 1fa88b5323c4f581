//! A virtual router on this node: its state machine with what belongs to it. What has to be awaited is done by the engine.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::DRAINING;
use super::addresses::RENEWAL;
use super::listeners::Key;
use super::machine::{Effect, Event, Heard, Machine, Reason, Settings};
use super::packet::{Advertisement, GROUP_V4, GROUP_V6, Refused, TTL};
use super::programs::{self, Change};
use super::socket::Datagram;
use super::tracks::{self, Outcome};
use crate::control::Fitness;
use crate::model::Interface;
use crate::model::vrrp::{Occasion, Role, Tracked, VirtualRouter, VrrpStatus, VrrpVersion};
use crate::process::Programs;

/// When the addresses are announced after a node has become master: neighbours may miss one.
const ANNOUNCEMENTS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// 60 s; bounds how long a neighbour that missed them all, or was told something else, is wrong.
const REFRESH: Duration = Duration::from_secs(60);

/// What a program at the end may take.
const LAST_PROGRAM: Duration = Duration::from_secs(2);

/// A script that is tracked: of which virtual router, and by which of its tracks.
pub(super) type Script = (Arc<str>, usize);

/// See the module.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) config: Arc<VirtualRouter>,
    pub(super) machine: Machine,
    /// Not before this it takes part.
    begins: Instant,
    begun: bool,
    /// Another daemon was master here, and has handed on.
    pub(super) inherited: bool,
    /// What it was when it last became something.
    pub(super) was_master: bool,
    /// The node's address on the interface, which advertisements come from.
    pub(super) source: Option<IpAddr>,
    /// By track: whether it is up, where a script has said so.
    scripts: Vec<Option<bool>>,
    outcome: Outcome,
    /// Why it takes no part by itself.
    pub(super) fault: Option<String>,
    reason: String,
    /// When it became master, and which announcement is next.
    announced: Option<(Instant, usize)>,
    /// When the addresses are to be held for longer.
    pub(super) renewal: Option<Instant>,
    warned_of_authentication: bool,
    transitions: u64,
    pub(super) sent: u64,
    received: u64,
    changes: watch::Sender<Option<Change>>,
    program_fault: watch::Receiver<Option<String>>,
    /// Of scripts, and of what is told: they end with this.
    tasks: JoinSet<()>,
    teller: JoinSet<()>,
}

impl Router {
    /// A virtual router that waits. Its scripts, which `programs` starts, say to `said` which of its tracks is up.
    pub(super) fn new(
        config: VirtualRouter,
        now: Instant,
        programs: &Programs,
        said: &mpsc::Sender<(Script, bool)>,
    ) -> Self {
        let config = Arc::new(config);
        let mut tasks = JoinSet::new();
        for (place, track) in config.tracks.iter().enumerate() {
            let Tracked::Script(script) = &track.subject else {
                continue;
            };
            let whose = (Arc::clone(&config.name), place);
            tasks.spawn(programs::watch(programs.clone(), script.clone(), whose, said.clone()));
        }
        let (changes, told) = watch::channel(None);
        let (fault, program_fault) = watch::channel(None);
        let mut teller = JoinSet::new();
        teller.spawn(programs::tell(programs.clone(), told, fault));
        Self {
            machine: Machine::new(settings(&config), config.priority.get()),
            begins: now + config.start_delay,
            begun: false,
            inherited: false,
            was_master: false,
            source: None,
            scripts: vec![None; config.tracks.len()],
            outcome: Outcome::default(),
            fault: None,
            reason: "the daemon has just started".to_owned(),
            announced: None,
            renewal: None,
            warned_of_authentication: false,
            transitions: 0,
            sent: 0,
            received: 0,
            changes,
            program_fault,
            tasks,
            teller,
            config,
        }
    }

    /// Where it is listened to.
    pub(super) fn key(&self) -> Key {
        (Arc::clone(&self.config.interface), self.config.is_v6())
    }

    /// Is it the same virtual router to others, whatever else has changed?
    pub(super) fn is_still(&self, config: &VirtualRouter) -> bool {
        let what = |c: &VirtualRouter| {
            let lasting = (c.interface.clone(), c.id, c.version, c.addresses.clone(), c.interval);
            (
                lasting,
                c.preempt,
                c.preempt_delay,
                c.tracks.clone(),
                c.sync_group.clone(),
            )
        };
        what(&self.config) == what(config)
    }

    /// Would it have the same addresses in the same place?
    pub(super) fn stands_for(&self, config: &VirtualRouter) -> bool {
        let what = |c: &VirtualRouter| (c.interface.clone(), c.id, c.version, c.addresses.clone());
        what(&self.config) == what(config)
    }

    /// Takes what else may have changed.
    pub(super) fn take(&mut self, config: VirtualRouter) {
        self.config = Arc::new(config);
    }

    pub(super) fn script(&mut self, track: usize, up: bool) {
        if let Some(script) = self.scripts.get_mut(track) {
            *script = Some(up);
        }
    }

    /// Looks at everything that is tracked.
    pub(super) fn look(&mut self, interfaces: &[Interface], fit: &Fitness) {
        let config = Arc::clone(&self.config);
        let interface = interfaces.iter().find(|i| *i.name == *config.interface);
        self.source = interface.and_then(|interface| source(&config, interface));
        self.machine.set_address(self.source);
        let up = |place: usize, tracked: &Tracked| match tracked {
            Tracked::Script(_) => self.scripts[place].unwrap_or(true),
            Tracked::Interface(name) => interfaces.iter().any(|i| *i.name == **name && i.running),
            Tracked::Service(name) => fit.quorums.get(name) != Some(&false),
            Tracked::File(path) => !path.exists(),
        };
        let tracks = config.tracks.iter().enumerate();
        let tracks: Vec<_> = tracks
            .map(|(place, track)| (track, up(place, &track.subject)))
            .collect();
        self.outcome = tracks::outcome(config.priority.get(), tracks.into_iter());
        let family = if config.is_v6() { "IPv6" } else { "IPv4" };
        let fault = match interface {
            _ if fit.draining => Some(DRAINING.to_owned()),
            None => Some(format!("there is no interface {}", config.interface)),
            Some(interface) if !interface.running => Some(format!("{} is off, or has no carrier", config.interface)),
            Some(_) if self.source.is_none() => Some(format!("{} has no {family} address", config.interface)),
            Some(_) if fit.unattached.contains(&*config.interface) => {
                Some(format!("the program is not on {}", config.interface))
            }
            Some(_) => fit.fault.clone(),
        };
        self.fault = fault.or_else(|| self.outcome.fault.clone());
    }

    /// Could it take part, as far as it knows itself?
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let mut scripts = self.scripts.iter().zip(&self.config.tracks);
        let known = scripts.all(|(said, track)| said.is_some() || !matches!(track.subject, Tracked::Script(_)));
        self.begun || now >= self.begins && known
    }

    /// What follows from that, and from time. `fault` is its own or one of its sync group; it begins when the whole group is
    /// `ready`.
    pub(super) fn judge(&mut self, fault: Option<&str>, ready: bool, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.outcome.priority != self.machine.priority() {
            effects.extend(self.machine.handle(Event::Priority(self.outcome.priority), now));
        }
        if let (Some(fault), Role::Backup | Role::Master | Role::Waiting) = (fault, self.machine.role()) {
            fault.clone_into(&mut self.reason);
        }
        let able = if fault.is_some() { Event::Unable } else { Event::Able };
        effects.extend(self.machine.handle(able, now));
        if ready && !std::mem::replace(&mut self.begun, true) {
            effects.extend(self.machine.handle(Event::Start, now));
        }
        effects
    }

    /// Begins as master, since the node is.
    pub(super) fn inherit(&mut self, now: Instant) -> Vec<Effect> {
        self.begun = true;
        self.machine.inherit(now)
    }

    /// When it wants to be asked again.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let begins = Some(self.begins).filter(|begins| *begins > now);
        let times = [self.machine.due(), self.next_announcement(), self.renewal, begins];
        times.into_iter().flatten().min()
    }

    pub(super) fn next_announcement(&self) -> Option<Instant> {
        let (since, next) = self.announced?;
        let last = ANNOUNCEMENTS[ANNOUNCEMENTS.len() - 1];
        let refreshes = next.saturating_sub(ANNOUNCEMENTS.len() - 1);
        let after = ANNOUNCEMENTS.get(next).copied();
        Some(since + after.unwrap_or_else(|| last + REFRESH * u32::try_from(refreshes).unwrap_or(u32::MAX)))
    }

    /// It has been announced.
    pub(super) fn announced(&mut self) {
        if let Some((_, next)) = &mut self.announced {
            *next += 1;
        }
    }

    /// Addresses are held from now on, or no more.
    pub(super) fn holds(&mut self, holds: bool, now: Instant) {
        self.announced = holds.then_some((now, 0));
        self.renewal = holds.then(|| now + RENEWAL);
    }

    /// Is this advertisement for it, and what does it say?
    pub(super) fn accept(&mut self, datagram: &Datagram, advertisement: &Advertisement) -> Result<Heard, Refused> {
        let config = &self.config;
        if advertisement.version != config.version {
            return Err(Refused::Version);
        }
        // Peers that the file names may be behind routers, and keepalived sends to them over IPv6 with a hop limit of 64.
        if config.peers.is_empty() && datagram.ttl != TTL {
            return Err(Refused::Ttl);
        }
        let group = [IpAddr::V4(GROUP_V4), IpAddr::V6(GROUP_V6)].contains(&datagram.destination);
        let known = if config.peers.is_empty() {
            group
        } else {
            !group && config.peers.contains(&datagram.source)
        };
        if !known {
            return Err(Refused::Stranger);
        }
        let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
        if set(&advertisement.addresses) != set(&config.addresses) {
            return Err(Refused::Addresses);
        }
        if config.version == VrrpVersion::V2 && advertisement.interval != config.interval {
            return Err(Refused::Interval);
        }
        if advertisement.authentication != 0 && !std::mem::replace(&mut self.warned_of_authentication, true) {
            tracing::warn!(
                virtual_router = %config.name, from = %datagram.source,
                "advertisements carry an authentication that nobody checks (RFC 3768 has none)"
            );
        }
        self.received += 1;
        Ok(Heard {
            from: datagram.source,
            priority: advertisement.priority,
            interval: advertisement.interval,
        })
    }

    /// An advertisement, and to whom.
    pub(super) fn advertisement(&self, priority: u8) -> (Advertisement, Vec<IpAddr>) {
        let config = &self.config;
        let advertisement = Advertisement {
            version: config.version,
            id: config.id.get(),
            priority,
            interval: config.interval,
            addresses: config.addresses.clone(),
            authentication: 0,
        };
        let group = || {
            if config.is_v6() {
                IpAddr::V6(GROUP_V6)
            } else {
                IpAddr::V4(GROUP_V4)
            }
        };
        let to = if config.peers.is_empty() {
            vec![group()]
        } else {
            config.peers.clone()
        };
        (
            advertisement,
            to.into_iter().filter(|to| Some(*to) != self.source).collect(),
        )
    }

    /// It has become something: people are told, and programs.
    pub(super) fn became(&mut self, role: Role, reason: Reason) {
        let config = &self.config;
        // A fault has been explained before.
        if reason != Reason::Unable {
            self.reason = explained(reason);
        }
        self.was_master = role == Role::Master;
        let (name, priority) = (&config.name, self.machine.priority());
        match role {
            Role::Fault => {
                tracing::warn!(virtual_router = %name, reason = self.reason, "takes no part in a virtual router");
            }
            Role::Waiting => tracing::info!(virtual_router = %name, reason = self.reason, "has left a virtual router"),
            Role::Backup => tracing::info!(virtual_router = %name, priority, reason = self.reason, "became backup"),
            Role::Master => {
                self.transitions += 1;
                tracing::info!(virtual_router = %name, priority, reason = self.reason, "became master");
            }
        }
        self.changes.send_replace(Some(Change {
            occasion: match role {
                Role::Waiting => Occasion::Stop,
                Role::Backup => Occasion::Backup,
                Role::Master => Occasion::Master,
                Role::Fault => Occasion::Fault,
            },
            priority,
            router: Arc::clone(config),
        }));
    }

    /// Waits for its last program, within [`LAST_PROGRAM`].
    pub(super) async fn end(mut self) {
        self.tasks.abort_all();
        drop(self.changes);
        let _ = tokio::time::timeout(LAST_PROGRAM, self.teller.join_next()).await;
    }

    pub(super) fn status(&self, now: Instant) -> VrrpStatus {
        let config = &self.config;
        VrrpStatus {
            name: Arc::clone(&config.name),
            interface: Arc::clone(&config.interface),
            id: config.id.get(),
            version: config.version,
            role: self.machine.role(),
            reason: self.reason.clone(),
            priority: self.machine.priority(),
            base_priority: config.priority.get(),
            addresses: config.addresses.clone(),
            master: self.machine.master(),
            rival: self.machine.has_rival(now),
            down: self.outcome.down.clone(),
            transitions: self.transitions,
            sent: self.sent,
            received: self.received,
            notify_fault: self.program_fault.borrow().clone(),
        }
    }
}

fn settings(config: &VirtualRouter) -> Settings {
    Settings {
        version: config.version,
        interval: config.interval,
        preempt: config.preempt,
        preempt_delay: config.preempt_delay,
    }
}

/// Where advertisements come from: what the file says, else for multicast over IPv6 the link-local address (RFC 9568
/// section 5.1.2.1), else an address of the first virtual address' subnet, else any.
fn source(config: &VirtualRouter, interface: &Interface) -> Option<IpAddr> {
    if let Some(source) = config.source {
        return interface
            .addresses
            .iter()
            .any(|(ip, _)| *ip == source)
            .then_some(source);
    }
    let v6 = config.is_v6();
    let local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let own = interface.addresses.iter().filter(|(ip, _)| ip.is_ipv6() == v6);
    if v6 && config.peers.is_empty() {
        return own.map(|(ip, _)| *ip).find(local);
    }
    let near = |(ip, prefix): &&(IpAddr, u8)| {
        let subnet = crate::model::Prefix {
            ip: *ip,
            length: *prefix,
        };
        config.addresses.first().is_some_and(|address| subnet.holds(*address))
    };
    let global = own.filter(|(ip, _)| !local(ip));
    global
        .clone()
        .find(near)
        .or_else(|| global.clone().next())
        .map(|(ip, _)| *ip)
}

/// For people.
fn explained(reason: Reason) -> String {
    match reason {
        Reason::Started => "the daemon has just started".to_owned(),
        Reason::Silence(time) => format!("no master was heard for {:.2} s", time.as_secs_f64()),
        Reason::GivenAway(from) => format!("{from} has given the addresses away"),
        Reason::Owner => "it owns the addresses (priority 255)".to_owned(),
        Reason::Outranked(from, priority) => format!("{from} goes before it, with priority {priority}"),
        Reason::Group => "its sync-group did".to_owned(),
        Reason::Unable => "it cannot hold the addresses".to_owned(),
        Reason::Able => "it can hold the addresses again".to_owned(),
        Reason::Stopped => "the daemon stops, or the file has it no more".to_owned(),
    }
}
