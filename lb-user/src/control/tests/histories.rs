//! Any history ends where a fresh start begins: whatever files, health, next hops, commands, faults and restarts a node
//! has been through, its maps say what those of a new node with the same final state say.
//!
//! Ids and places differ, and so does what is remembered of flows: windows are let close first. `PROPTEST_CASES` runs
//! more histories than the few of every day.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::backend::Member;
use lb_common::id::MemberId;
use lb_common::service;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Runtime;

use super::*;
use crate::model::{AdminState, Role};

/// Backends that services may have.
const HOSTS: u8 = 4;

/// VIPs that belong to one of two services, or to none.
const VIPS: [&str; 3] = ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"];

/// Services by name: those that VIPs move between, and one with many ports, of which one may be another's.
const SERVICES: [&str; 3] = ["web", "api", "wide"];

/// `idle-timeout`; `drain-timeout` is twice that.
const IDLE: Duration = Duration::from_secs(5);

/// A service of the file.
#[derive(Clone, Debug)]
struct Spec {
    mode: &'static str,
    balance: &'static str,
    /// Weight, state and role by host; `None`: not one of its backends.
    backends: Vec<Option<(u16, AdminState, Role)>>,
    /// Do backends that come back start slowly?
    slow: bool,
    /// Does it leave new connections to the node while an authority may come?
    steers: bool,
}

/// A file.
#[derive(Clone, Debug)]
struct Text {
    services: Vec<Spec>,
    /// Whose each VIP is: the number of a service, or nobody's.
    owners: Vec<usize>,
    /// Is the service with many ports there?
    wide: bool,
    /// Log2 of all rings: as large as they have ever been, since none may shrink.
    log2: u8,
}

/// Something that happens to a node.
#[derive(Clone, Debug)]
enum Event {
    File(Text),
    /// With the weight that the probe asks for.
    Health(&'static str, u8, Health, Option<u16>),
    /// A next hop, by the last byte of its MAC; `None`: there is no way.
    Hop(u8, Option<u8>),
    Command(&'static str, u8, Override),
    /// A round.
    Round,
    /// A round whose operation of this number fails.
    Fault(usize),
    /// An authority may come, or not.
    Steer(bool),
    /// Another manager takes over. It has the file, the maps and the overrides.
    Restart,
    /// Windows close, drains end.
    Time,
}

fn states() -> impl Strategy<Value = AdminState> {
    prop_oneof![4 => Just(AdminState::Active), 1 => Just(AdminState::Drain), 1 => Just(AdminState::Disabled)]
}

fn specs() -> impl Strategy<Value = Spec> {
    let role = prop_oneof![3 => Just(Role::Primary), 1 => Just(Role::Backup)];
    let backend = proptest::option::weighted(0.7, (0..4_u16, states(), role));
    (
        select(vec!["dsr", "tunnel", "nat"]),
        select(vec!["maglev", "source-hash", "round-robin", "least-connections"]),
        vec(backend, usize::from(HOSTS)),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mode, balance, backends, slow, steers)| Spec {
            mode,
            balance,
            backends,
            slow,
            steers,
        })
}

fn texts() -> impl Strategy<Value = Text> {
    (vec(specs(), 3), vec(0..3_usize, VIPS.len()), any::<bool>(), 6..8_u8).prop_map(|(services, owners, wide, log2)| {
        Text {
            services,
            owners,
            wide,
            log2,
        }
    })
}

fn events() -> impl Strategy<Value = Event> {
    let service = || select(SERVICES.to_vec());
    let host = || 1..=HOSTS;
    let change = (proptest::option::of(states()), proptest::option::of(0..4_u16));
    let change = change.prop_map(|(state, weight)| Override { state, weight });
    prop_oneof![
        2 => texts().prop_map(Event::File),
        3 => (service(), host(), prop_oneof![Just(Health::Up), Just(Health::Down)], proptest::option::weighted(0.2, 0..4_u16))
            .prop_map(|(service, host, health, weight)| Event::Health(service, host, health, weight)),
        2 => (host(), proptest::option::weighted(0.8, 0..3_u8)).prop_map(|(host, hop)| Event::Hop(host, hop)),
        2 => (service(), host(), change).prop_map(|(service, host, change)| Event::Command(service, host, change)),
        4 => Just(Event::Round),
        1 => (0..12_usize).prop_map(Event::Fault),
        1 => any::<bool>().prop_map(Event::Steer),
        1 => Just(Event::Restart),
        1 => Just(Event::Time),
    ]
}

impl Text {
    /// The file; `None` where a reload would refuse it.
    fn config(&self) -> Option<Arc<Config>> {
        let mut text = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n".to_owned();
        for (number, (name, spec)) in SERVICES.iter().zip(&self.services).enumerate() {
            let owned = |&(_, owner): &(&&str, &usize)| *owner == number;
            let mut vips: Vec<&str> = VIPS
                .iter()
                .zip(&self.owners)
                .filter(owned)
                .map(|(vip, _)| *vip)
                .collect();
            if number == 2 {
                vips = if self.wide { vec!["192.0.2.3:80-90"] } else { Vec::new() };
            }
            if vips.is_empty() {
                continue;
            }
            let _ = write!(
                text,
                "[[service]]\nname = \"{name}\"\naddress = {vips:?}\nmode = \"{}\"\nbalance = \"{}\"\ntable-size = {}\n\
                 idle-timeout = \"{IDLE:?}\"\ndrain-timeout = \"{:?}\"\n",
                spec.mode,
                spec.balance,
                1 << self.log2,
                IDLE * 2
            );
            if spec.steers && number != 2 {
                text += "steer-challenges = true\n";
            }
            if spec.slow {
                text += "[service.health]\nslow-start = \"2s\"\n";
            }
            for (host, backend) in (1..).zip(&spec.backends) {
                if let Some((weight, state, role)) = backend {
                    let _ = write!(
                        text,
                        "[[service.backend]]\naddress = \"10.0.0.{host}:80\"\nweight = {weight}\nstate = \"{}\"\n\
                         role = \"{}\"\n",
                        state.label(),
                        role.label()
                    );
                }
            }
        }
        Some(Arc::new(crate::config::parse("test.toml", &text).ok()?.config))
    }
}

/// How the world is, whatever a manager knows of it.
#[derive(Clone, Default)]
struct World {
    health: BTreeMap<(&'static str, u8), (Health, Option<u16>)>,
    hops: BTreeMap<u8, Option<u8>>,
    /// An authority may come.
    steers: bool,
}

fn address(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 80).into()
}

fn member(service: &str, host: u8) -> MemberKey {
    MemberKey {
        service: service.into(),
        backend: address(host),
    }
}

fn judgement(service: &str, host: u8, (health, weight): (Health, Option<u16>)) -> Verdict {
    Verdict {
        member: member(service, host),
        health,
        weight,
        probes: Probes::default(),
        reason: Arc::default(),
    }
}

fn way(last: Option<u8>) -> NextHopState {
    last.map_or_else(|| NextHopState::Unresolved("no way".into()), |last| hop(last, 3))
}

impl World {
    /// Everything that can be known of it becomes known.
    fn tell(&self, facts: &mut Facts) {
        facts.steer(self.steers);
        for host in 1..=HOSTS {
            let last = self.hops.get(&host).copied().unwrap_or(Some(0));
            facts.route(address(host).ip(), way(last));
            for service in SERVICES {
                let health = self.health.get(&(service, host)).copied().unwrap_or((Health::Up, None));
                facts.judge(judgement(service, host, health));
            }
        }
    }
}

/// A node and its world.
struct History {
    world: World,
    reconciler: Reconciler<Fake, Node>,
    log2: u8,
}

impl History {
    fn new(dataplane: Fake, node: Node, file: Arc<Config>, overrides: Overrides) -> Self {
        let mut facts = Facts::new(file);
        facts.restore(overrides);
        Self {
            world: World::default(),
            reconciler: attached(dataplane, node, facts, SEED),
            log2: 0,
        }
    }

    async fn live(&mut self, event: Event) {
        let reconciler = &mut self.reconciler;
        match event {
            Event::File(text) => {
                self.log2 = self.log2.max(text.log2);
                let text = Text {
                    log2: self.log2,
                    ..text
                };
                if let Some(file) = text.config() {
                    reconciler.facts.reconfigure(file);
                }
            }
            Event::Health(service, host, health, weight) => {
                self.world.health.insert((service, host), (health, weight));
                reconciler.facts.judge(judgement(service, host, (health, weight)));
            }
            Event::Hop(host, last) => {
                self.world.hops.insert(host, last);
                reconciler.facts.route(address(host).ip(), way(last));
            }
            Event::Command(service, host, change) => {
                // One that is refused changes nothing.
                let _ = reconciler.facts.command(&member(service, host), change);
            }
            Event::Steer(steers) => {
                self.world.steers = steers;
                reconciler.facts.steer(steers);
            }
            Event::Round => _ = reconciler.converge().await,
            Event::Fault(number) => {
                let fails = reconciler.dataplane.log.len() + number;
                reconciler.dataplane.fault = Box::new(move |operation| operation == fails);
                reconciler.converge().await;
                reconciler.dataplane.fault = Box::new(|_| false);
            }
            Event::Restart => {
                let (file, overrides) = (Arc::clone(&reconciler.facts.file), reconciler.facts.overrides().clone());
                let dataplane = std::mem::take(&mut reconciler.dataplane);
                let node = reconciler.addresses.clone();
                let (world, log2) = (std::mem::take(&mut self.world), self.log2);
                *self = Self::new(dataplane, node, file, overrides);
                (self.world, self.log2) = (world, log2);
            }
            Event::Time => self.pass().await,
        }
    }

    /// Lets every window, wait and drain be over.
    async fn pass(&mut self) {
        for _ in 0..4 {
            self.reconciler.ahead += IDLE * 3;
            self.reconciler.sweep();
            self.reconciler.converge().await;
        }
    }

    /// What the maps say in the end.
    async fn end(mut self) -> Said {
        self.world.tell(&mut self.reconciler.facts);
        assert!(self.reconciler.converge().await, "{:?}", self.reconciler.fault);
        self.pass().await;
        assert_eq!(self.reconciler.fault, None);
        let node = self.reconciler.addresses.present.lock().unwrap().clone();
        said(&self.reconciler.dataplane.installed().unwrap(), node)
    }
}

/// What maps say, without ids and places.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// By key, in words.
    entries: BTreeMap<String, String>,
    /// Whom each slot of a service leads to, by key.
    slots: BTreeMap<String, Vec<Option<SocketAddr>>>,
    /// The members of a service, by key.
    members: BTreeMap<String, BTreeMap<SocketAddr, String>>,
    /// How many there are.
    count: usize,
    features: u64,
    /// The node's own addresses.
    node: BTreeSet<Address>,
}

fn listens(member: &Member) -> SocketAddr {
    (member.address.to_ip(), member.port.host()).into()
}

/// All of a member that a packet may meet.
fn seen(member: &Member) -> String {
    if member.next_hop.flags() & MacFlags::RESOLVED != 0 {
        return format!("{member:?}");
    }
    format!("{:?} weight {}", member.next_hop.flags(), member.weight)
}

/// The sources of `nat` by whether the way to a member that has it is known. Where it is not, the source stays for the flows that
/// are there, and a new node has never had one.
fn sources(maps: &Snapshot) -> BTreeMap<IpAddr, bool> {
    let bases = maps.bases();
    let nat = maps.entries.values().filter(|d| d.mode() == Some(service::Mode::Nat));
    let members = nat.flat_map(|service| maps.members_between(service.member_base(), &bases).into_values());
    let mut sources = BTreeMap::new();
    for member in members {
        let known = member.next_hop.flags() & MacFlags::RESOLVED != 0;
        *sources.entry(member.source.to_ip()).or_default() |= known;
    }
    sources
}

fn said(maps: &Snapshot, node: BTreeSet<Address>) -> Said {
    let mut said = Said {
        entries: BTreeMap::new(),
        slots: BTreeMap::new(),
        members: BTreeMap::new(),
        count: maps.members.len(),
        features: maps.features,
        node,
    };
    let bases = maps.bases();
    let at = |id: MemberId| maps.members.get(&id).map(listens);
    let sources = sources(maps);
    for (key, &decision) in &maps.entries {
        if decision.mode() == Some(service::Mode::Source) && !sources[&key.ip()] {
            continue;
        }
        let name = format!("{key:?}");
        let words = if decision.is_service() {
            let ring = &maps.rings[&decision.ring_block()];
            assert!(ring.is_stable(), "nothing is known of any flow: {key:?}");
            let slots = ring.slots.iter().map(|slot| at(decision.member(slot.current())));
            said.slots.insert(name.clone(), slots.collect());
            let members = maps.members_between(decision.member_base(), &bases);
            let members = members.values().map(|member| (listens(member), seen(member)));
            said.members.insert(name.clone(), members.collect());
            format!(
                "{:?} by {:?}, 2^{}",
                decision.mode(),
                decision.choice(),
                decision.ring_log2()
            )
        } else if decision.mode() == Some(service::Mode::Backend) {
            format!("{:?}", maps.members.get(&MemberId(decision.member_base())).map(seen))
        } else {
            format!("{decision:?}")
        };
        said.entries.insert(name, words);
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_ends_where_a_fresh_start_begins(first in texts(), events in vec(events(), 0..24)) {
        let Some(file) = first.config() else { return Ok(()) };
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let mut history = History::new(Fake::default(), Node::default(), file, Overrides::default());
            history.log2 = first.log2;
            for event in events {
                history.live(event).await;
            }
            let facts = &history.reconciler.facts;
            let (file, overrides) = (Arc::clone(&facts.file), facts.overrides().clone());
            let mut fresh = History::new(Fake::default(), Node::default(), file, overrides);
            fresh.world = history.world.clone();
            let (ended, begun) = (history.end().await, fresh.end().await);
            prop_assert_eq!(ended, begun);
            Ok(())
        })?;
    }
}
