//! From everything that is known to the desired state. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::addr::Mac;

use super::leaving::Leaving;
use super::overrides::{Crowded, Override, Overrides};
use super::slow_start;
use crate::model::{
    AdminState, Backend, Config, Health, MemberKey, Mode, NatSource, NextHop, NextHopState, Ports, Probes, Protocol,
    Service, Undeclared, Verdict, Vip,
};
use crate::plan::{
    Alive, Desired, DesiredAddress, DesiredMember, DesiredProxy, DesiredService, Forwarding, Hop, choice,
};

/// Everything that is known.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The file.
    pub file: Arc<Config>,
    /// The file with the overrides above it: what is in force.
    pub config: Arc<Config>,
    overrides: Overrides,
    leaving: Leaving,
    /// Backends whose drain is over: they are cut off from their flows.
    pub(super) cut: BTreeSet<MemberKey>,
    /// Services that are new and have not begun: none of their backends serves yet.
    pub(super) waiting: BTreeSet<Arc<str>>,
    /// The step of backends that start slowly, of [`slow_start::STEPS`].
    pub(super) starting: BTreeMap<MemberKey, u16>,
    /// An authority may come for http-01: services that steer challenges leave new connections to the proxy.
    steering: bool,
    /// The interfaces of `[node]` that are there, by index.
    pub interfaces: BTreeMap<u32, Arc<str>>,
    /// Backends that are probed; what is said of others is of no interest.
    probed: HashSet<MemberKey>,
    verdicts: HashMap<MemberKey, Verdict>,
    next_hops: HashMap<IpAddr, NextHopState>,
}

impl Facts {
    /// Nothing but the file.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            probed: probed(&config)
                .map(|(service, backend)| MemberKey::of(service, backend))
                .collect(),
            file: Arc::clone(&config),
            config,
            overrides: Overrides::default(),
            leaving: Leaving::default(),
            cut: BTreeSet::new(),
            waiting: BTreeSet::new(),
            starting: BTreeMap::new(),
            steering: false,
            interfaces: BTreeMap::new(),
            verdicts: HashMap::new(),
            next_hops: HashMap::new(),
        }
    }

    /// A new file. Overrides that it makes void are forgotten, and backends that it has no more begin to leave.
    pub fn reconfigure(&mut self, file: Arc<Config>) {
        for MemberKey { service, backend } in self.replace(file) {
            tracing::info!(%service, %backend, "an override ends with the new file");
        }
    }

    /// [`Self::reconfigure`] in silence: whose overrides that ends or changes.
    pub(super) fn replace(&mut self, file: Arc<Config>) -> Vec<MemberKey> {
        self.leaving.replace(&self.config, &file);
        self.overrides.follow(&self.file, &file);
        self.file = file;
        let ended = self.overrides.prune(&self.file);
        self.take();
        ended
    }

    /// Supposes that backends which are not probed `before` come up and are reached.
    pub(super) fn suppose(&mut self, before: &Self) {
        let Some(&interface) = self.interfaces.keys().next() else {
            return;
        };
        for &host in hosts(&self.config).difference(&hosts(&before.config)) {
            // Any will do, where nothing is written.
            let hop = NextHop {
                mac: Mac::default(),
                local: Mac::default(),
                interface,
                router: None,
                source: Some(host),
                mtu: 1500,
            };
            self.route(host, NextHopState::Resolved(hop));
        }
        let new: Vec<MemberKey> = self.probed.difference(&before.probed).cloned().collect();
        for member in new {
            self.judge(Verdict {
                member,
                health: Health::Up,
                weight: None,
                probes: Probes::default(),
                reason: Arc::default(),
            });
        }
    }

    /// Is this backend probed?
    pub(super) fn probes(&self, member: &MemberKey) -> bool {
        self.probed.contains(member)
    }

    /// An authority may come for http-01, or does so no more. True when that changes where anything goes.
    pub fn steer(&mut self, steering: bool) -> bool {
        if std::mem::replace(&mut self.steering, steering) == steering {
            return false;
        }
        let mut steered = self
            .config
            .balanced()
            .filter(|service| service.steers_challenges())
            .peekable();
        let changes = steered.peek().is_some();
        for Service { name, .. } in steered {
            if steering {
                tracing::info!(service = %name, "new connections go through the proxy while an authority may come");
            } else {
                tracing::info!(service = %name, "new connections go to the backends again");
            }
        }
        changes
    }

    /// Are new connections of this service the proxy's at the moment, though its mode is another one?
    pub(super) fn is_steered(&self, service: &Service) -> bool {
        self.steering && service.steers_challenges()
    }

    /// What commands have said in an earlier run.
    pub fn restore(&mut self, overrides: Overrides) {
        self.overrides = overrides;
        self.reconfigure(Arc::clone(&self.file));
    }

    /// A command about one backend. True when it changes anything.
    ///
    /// # Errors
    /// [`Crowded`], and nothing has changed.
    pub fn command(&mut self, member: &MemberKey, change: Override) -> Result<bool, Crowded> {
        let changed = self.overrides.set(&self.file, member, change)?;
        if changed {
            self.take();
        }
        Ok(changed)
    }

    /// A command about the node. True when it changes anything.
    pub(super) fn drain(&mut self, drains: bool) -> bool {
        std::mem::replace(&mut self.overrides.draining, drains) != drains
    }

    /// Somebody serves a service's flows whom the file does not know. True when that is news.
    pub(super) fn adopt(&mut self, service: &Service, address: SocketAddr) -> bool {
        self.leaving.adopt(service, address)
    }

    /// A backend that leaves is cut off from its flows; true when that changes anything.
    pub(super) fn cut_leaving(&mut self, member: &MemberKey) -> bool {
        let changed = self.leaving.disable(member);
        if changed {
            self.take();
        }
        changed
    }

    /// These have left: no flow needs them any more.
    pub(super) fn left(&mut self, members: &BTreeSet<MemberKey>) {
        self.leaving.end(members);
        self.take();
    }

    /// What commands have said.
    #[must_use]
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Puts file and overrides in force. What was known of backends that are not probed any more is forgotten, since
    /// they will be probed from scratch when they come back.
    pub(super) fn take(&mut self) {
        self.config = self.leaving.beside(self.overrides.above(&self.file));
        self.probed = probed(&self.config)
            .map(|(service, backend)| MemberKey::of(service, backend))
            .collect();
        self.verdicts.retain(|member, _| self.probed.contains(member));
        let hosts: BTreeSet<_> = hosts(&self.config);
        self.next_hops.retain(|host, _| hosts.contains(host));
    }

    /// The prober has something to say; about backends that are gone nobody listens. True when it is more than another
    /// reason for what was known, which is for people only.
    pub fn judge(&mut self, verdict: Verdict) -> bool {
        if !self.probed.contains(&verdict.member) {
            return false;
        }
        let news = (verdict.health, verdict.weight);
        let before = self.verdicts.insert(verdict.member.clone(), verdict);
        before.is_none_or(|before| (before.health, before.weight) != news)
    }

    /// Has every backend that is probed been heard of? That its probes cannot be sent is something, too.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.verdicts.len() == self.probed.len()
    }

    /// Of how many backends and hosts anything has been heard.
    pub(super) fn heard(&self) -> usize {
        self.verdicts.len() + self.next_hops.len()
    }

    /// A next hop has changed.
    pub fn route(&mut self, host: IpAddr, state: NextHopState) {
        self.next_hops.insert(host, state);
    }

    /// What the prober last said of a backend.
    #[must_use]
    pub fn verdict(&self, service: &Service, backend: &Backend) -> Option<&Verdict> {
        self.verdicts.get(&MemberKey::of(service, backend))
    }

    /// What the prober last said of a backend's health.
    #[must_use]
    pub fn health(&self, service: &Service, backend: &Backend) -> Health {
        self.verdict(service, backend).map_or(Health::Unknown, |v| v.health)
    }

    /// A backend's share while it is in full service: what a command has said, else what its probe asks for, else what the
    /// file says.
    #[must_use]
    pub fn weight(&self, service: &Service, backend: &Backend) -> u16 {
        self.weight_by(service, backend, self.verdict(service, backend))
    }

    pub(super) fn weight_by(&self, service: &Service, backend: &Backend, verdict: Option<&Verdict>) -> u16 {
        // Few probes ask for a weight, and few backends have one that a command has set.
        match verdict.and_then(|verdict| verdict.weight) {
            Some(_) if backend.leaving || self.overrides.of(&MemberKey::of(service, backend)).weight.is_some() => {
                backend.weight
            }
            Some(weight) => weight,
            None => backend.weight,
        }
    }

    /// Has a service of this name a backend that can take new flows?
    pub(super) fn serves(&self, name: &str) -> bool {
        let service = self.config.services.iter().find(|service| *service.name == *name);
        service.is_some_and(|service| self.ready(service).next().is_some())
    }

    /// The backends that can take new flows.
    pub fn ready<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = &'s Backend> {
        let is_up = move |backend: &Backend| {
            let verdict = self.verdict(service, backend).filter(|v| v.health == Health::Up);
            verdict.is_some_and(|verdict| self.weight_by(service, backend, Some(verdict)) > 0)
        };
        let ready = move |backend: &&Backend| {
            backend.state == AdminState::Active
                && is_up(backend)
                && (service.is_proxied() || matches!(self.next_hop(service, backend), Some(NextHopState::Resolved(_))))
        };
        service.backends.iter().filter(ready)
    }

    /// How a backend is reached; `None` while the resolver has not said anything, as of those of the proxy, which the kernel
    /// finds by itself.
    #[must_use]
    pub fn next_hop(&self, service: &Service, backend: &Backend) -> Option<NextHopState> {
        let state = self.next_hops.get(&backend.address.ip())?;
        Some(match state {
            // A router sends what carries the VIP back to this node.
            NextHopState::Resolved(NextHop {
                router: Some(router), ..
            }) if service.mode == Mode::Dsr => NextHopState::Unresolved(format!(
                "it is behind router {router}; dsr needs it on this node's own segment"
            )),
            NextHopState::Resolved(NextHop { source: None, .. })
                if service.mode == Mode::Nat && service.nat.source == NatSource::Auto =>
            {
                NextHopState::Unresolved(
                    "the node has no address of its own on the way there; give [service.nat] a source".into(),
                )
            }
            NextHopState::Resolved(NextHop { interface, .. }) if !self.interfaces.contains_key(interface) => {
                NextHopState::Unresolved("it is reached through an interface that is not in [node] interfaces".into())
            }
            state => state.clone(),
        })
    }

    /// Is it known of each backend that could serve whether it can?
    pub(super) fn knows(&self, service: &Service) -> bool {
        let mut able = service
            .backends
            .iter()
            .filter(|backend| backend.state == AdminState::Active && backend.weight > 0);
        if service.is_proxied() {
            return able.all(|backend| self.health(service, backend) != Health::Unknown);
        }
        able.all(
            |backend| match (self.next_hop(service, backend), self.health(service, backend)) {
                (Some(NextHopState::Unresolved(_)), _) | (_, Health::Down) => true,
                (Some(NextHopState::Resolved(_)), health) => health == Health::Up,
                (Some(NextHopState::Pending(_)) | None, _) => false,
            },
        )
    }

    /// Every VIP, and what the file says about undeclared ports on it.
    #[must_use]
    pub fn vips(&self) -> BTreeMap<IpAddr, Option<Undeclared>> {
        let mut vips: BTreeMap<IpAddr, Option<Undeclared>> = BTreeMap::new();
        for service in &self.config.services {
            for vip in &service.vips {
                let policy = vips.entry(vip.ip).or_default();
                *policy = policy.or(service.undeclared);
            }
        }
        vips
    }

    /// What the data plane shall do; `owned` tells which VIPs Fulcrum puts on the node.
    #[must_use]
    pub fn desired<'s>(&'s self, owned: &BTreeSet<IpAddr>) -> Desired {
        let address = |(ip, undeclared): (IpAddr, Option<Undeclared>)| {
            let owned = owned.contains(&ip);
            let policy = DesiredAddress {
                owned,
                echo: owned,
                drop_undeclared: undeclared.map_or(owned, |u| u == Undeclared::Drop),
            };
            (ip, policy)
        };
        let proxied = |service: &Service| DesiredProxy {
            vips: service.vips.clone(),
            protocol: service.protocol,
        };
        // Authorities come there, and find somebody while they are to.
        let challenged = self.config.challenged().map(|address| DesiredProxy {
            vips: vec![Vip {
                ip: address.ip(),
                ports: Ports::One(address.port()),
            }],
            protocol: Protocol::Tcp,
        });
        let service = |(service, mode): (&Service, Forwarding)| DesiredService {
            vips: service.vips.clone(),
            protocol: service.protocol,
            mode,
            // The file has no others in these modes.
            choice: choice(service.balance).unwrap_or_default(),
            track: service.track,
            nat: service.nat.clone(),
            tunnel: service.tunnel,
            idle_timeout: service.idle_timeout,
            table_size: service.table_size,
            members: self.members(service),
        };
        let forwarded = |service: &'s Service| Some((service, Forwarding::of(service.mode)?));
        Desired {
            addresses: self.vips().into_iter().map(address).collect(),
            services: self.config.balanced().filter_map(forwarded).map(service).collect(),
            proxied: self.config.proxied().map(proxied).chain(challenged).collect(),
            sources: BTreeSet::new(),
            clients: false,
            news: self.config.peers.is_some(),
        }
    }

    /// The members of a service: its backends, and the node itself where it steers challenges. That one is there all the time,
    /// so that connections stay which began while it was its turn.
    fn members(&self, service: &Service) -> Vec<DesiredMember> {
        let steered = self.is_steered(service);
        let share = |weight| if steered { 0 } else { weight };
        let weighed = self.weighed(service).into_iter();
        let backends = weighed.map(|(backend, health, weight)| self.member(service, backend, health, share(weight)));
        let node = DesiredMember::node(steered.into());
        backends.chain(service.steers_challenges().then_some(node)).collect()
    }

    /// The backends of a service with what their probes say, and their shares of what is new: none while they drain, less
    /// than their own while they start slowly.
    pub(super) fn weighed<'s>(&self, service: &'s Service) -> Vec<(&'s Backend, Health, u16)> {
        let known = |backend| (backend, self.verdict(service, backend));
        let known: Vec<_> = service.backends.iter().map(known).collect();
        let weight = |&(backend, verdict): &(&Backend, Option<&Verdict>)| {
            let weight = match backend.state {
                AdminState::Active | AdminState::Disabled => self.weight_by(service, backend, verdict),
                AdminState::Drain => 0,
            };
            (weight, self.starting.get(&MemberKey::of(service, backend)).copied())
        };
        let weights: Vec<_> = known.iter().map(weight).collect();
        let weighed = known.into_iter().zip(slow_start::scaled(&weights));
        weighed
            .map(|((backend, verdict), weight)| {
                let health = verdict.map_or(Health::Unknown, |verdict| verdict.health);
                (backend, health, weight)
            })
            .collect()
    }

    fn member(&self, service: &Service, backend: &Backend, health: Health, weight: u16) -> DesiredMember {
        let cut = self.cut.contains(&MemberKey::of(service, backend));
        DesiredMember {
            address: backend.address,
            weight,
            role: backend.role,
            alive: match (backend.state, health) {
                _ if cut => Alive::No,
                (AdminState::Disabled, _) | (AdminState::Active | AdminState::Drain, Health::Down) => Alive::No,
                _ if self.waiting.contains(&service.name) => Alive::AsInstalled,
                (AdminState::Active | AdminState::Drain, Health::Up) => Alive::Yes,
                (AdminState::Active | AdminState::Drain, Health::Unknown) => Alive::AsInstalled,
            },
            hop: match self.next_hop(service, backend) {
                Some(NextHopState::Resolved(hop)) => Hop::Known(hop),
                Some(NextHopState::Unresolved(_)) => Hop::Unknown,
                Some(NextHopState::Pending(_)) | None => Hop::AsInstalled,
            },
        }
    }
}

/// Every backend that is probed, with its service.
pub fn probed(config: &Config) -> impl Iterator<Item = (&Service, &Backend)> {
    config
        .services
        .iter()
        .flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
        .filter(|(_, backend)| backend.state != AdminState::Disabled)
}

/// Every backend's host whose next hop is wanted: the proxy's connections are the kernel's to route.
#[must_use]
pub fn hosts(config: &Config) -> BTreeSet<IpAddr> {
    config
        .balanced()
        .flat_map(|s| &s.backends)
        .map(|b| b.address.ip())
        .collect()
}
