//! A service whose backends change while connections are open: what the tests in tests/changes.rs share.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]
#![allow(
    clippy::missing_panics_doc,
    reason = "everything here does when anything is not as it should be"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aya::maps::{HashMap, MapData};
use lb_common::nat::NatKey;
use lb_common::slot::Entry;
use lb_user::api::types::{AdminState, BackendPatch, BackendStatus, Health, Status, Verdict};
use lb_user::model::Protocol;
use lb_user::model::status::FlowQuery;

use crate::backing::{VIPS, decap, hold};
use crate::flood::Flood;
use crate::netns::TestNamespace;
use crate::node::{Daemon, Node};
use crate::open::{Open, Seen, Server};
use crate::release_1::{folders, pinned};
use crate::segment::{Process, Segment, plug, v4, v6};
use crate::toml::service;

/// All backends that there may be.
const BACKENDS: u8 = 4;

const PORT: u16 = 80;

/// `idle-timeout` of the service.
pub const IDLE: Duration = Duration::from_secs(6);

/// What is known of a backend; `None` when there is none.
#[must_use]
pub fn backend<'s>(status: &'s Status, name: &str) -> Option<&'s BackendStatus> {
    status.services[0].backends.iter().find(|b| b.name == name)
}

/// It gets new connections, and is reached.
#[must_use]
pub fn serves(status: &Status, name: &str) -> bool {
    backend(status, name).is_some_and(|b| b.slots > 0 && b.health == Health::Up && b.next_hop.is_some())
}

/// The flows that the pinned map `FLOWS` holds.
#[must_use]
pub fn dump(node: &Node) -> BTreeSet<SocketAddr> {
    let folders = folders(&node.path("bpf"));
    assert_eq!(folders.len(), 1, "one layout");
    let map: HashMap<MapData, NatKey, Entry> = pinned(&folders[0], "FLOWS").try_into().unwrap();
    let source = |key: NatKey| SocketAddr::new(key.source.to_ip(), key.ports.source.host());
    map.keys().map(|key| source(key.unwrap())).collect()
}

/// What is tried.
#[derive(Clone, Copy)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// Of the service.
    pub mode: &'static str,
    /// All addresses are IPv6.
    pub ipv6: bool,
    /// `flow-table-size`.
    pub flow_table: u32,
    /// So many connections.
    pub count: usize,
    /// How often each of them speaks.
    pub period: Duration,
}

impl Case {
    const fn host(&self, number: u8) -> IpAddr {
        if self.ipv6 { v6(number as u16) } else { v4(number) }
    }

    const fn vip(&self) -> SocketAddr {
        SocketAddr::new(VIPS[self.ipv6 as usize], PORT)
    }
}

/// A segment with everything but the daemon.
pub struct Setting {
    segment: Segment,
    case: Case,
    servers: Vec<Option<Server>>,
    /// What the backends' own addresses are probed at.
    probed: Vec<Option<Server>>,
    _opened: Vec<Process>,
}

/// Backends, by number, and their weights.
pub const THREE: [(u8, u16); 3] = [(1, 1), (2, 1), (3, 1)];

impl Setting {
    /// Makes it.
    pub async fn new(case: Case) -> Self {
        let segment = Segment::new(BACKENDS).await;
        let mut this = Self {
            segment,
            case,
            servers: Vec::new(),
            probed: Vec::new(),
            _opened: Vec::new(),
        };
        for number in 1..=BACKENDS {
            let host = &this.segment.backends[usize::from(number) - 1];
            hold(host, &VIPS).await;
            if case.mode == "tunnel" {
                this._opened.push(decap(host, &[], "native"));
            }
            this.servers.push(None);
            this.probed.push(None);
            this.serve(number);
        }
        this
    }

    /// A backend serves.
    pub fn serve(&mut self, number: u8) {
        let index = usize::from(number) - 1;
        let (host, own) = (&self.segment.backends[index], self.case.host(10 + number));
        self.servers[index] = Some(Server::start(host, self.case.vip(), number));
        self.probed[index] = Some(Server::start(host, SocketAddr::new(own, PORT), number));
    }

    /// The server's process dies, and its connections with it.
    pub fn die(&mut self, number: u8) {
        let index = usize::from(number) - 1;
        self.servers[index] = None;
        self.probed[index] = None;
    }

    /// The balancer.
    pub const fn node(&self) -> &Node {
        &self.segment.node
    }

    /// Writes the configuration.
    pub fn config(&self, backends: &[(u8, u16)]) {
        let Case { mode, flow_table, .. } = self.case;
        let head = self.node().head("eth0");
        let head = head.replace("[\"eth0\"]", &format!("[\"eth0\"]\nflow-table-size = {flow_table}"));
        let mut web = service("web", mode, &[self.case.vip()])
            .with("table-size = 1024")
            .with(format_args!("idle-timeout = \"{}s\"", IDLE.as_secs()))
            // The first probe of a daemon decides alone, and there is much else to do; who has died refuses, and needs no time.
            .table("health", "interval = \"3s\"\ntimeout = \"3s\"\nfall = 2\nrise = 1");
        for (number, weight) in backends {
            let address = SocketAddr::new(self.case.host(10 + number), PORT);
            web = web.backend_with(address, format_args!("name = \"web{number}\"\nweight = {weight}"));
        }
        self.node().configure(&format!("{head}{web}"));
    }

    /// Starts the daemon, and waits until [`THREE`] backends serve.
    pub async fn start(&self) -> Daemon {
        self.config(&THREE);
        let daemon = self.node().start().await;
        self.node().until("three backends serve", three_serve).await;
        // A backend that begins to serve has slots that move.
        self.node().until("nothing moves", is_quiet).await;
        daemon
    }

    /// Begins a flood from another host.
    pub async fn flood(&self) -> (TestNamespace, Flood) {
        let attacker = plug(self.node(), "attacker", 66).await;
        let flood = Flood::start(&attacker, self.case.vip());
        (attacker, flood)
    }

    /// Opens connections.
    #[must_use]
    pub fn open(&self, count: usize, period: Duration) -> Open {
        Open::start(&self.segment.client, self.case.vip(), count, period)
    }

    /// Says by command in which state a backend shall be.
    pub async fn patch(&self, number: u8, state: AdminState) {
        let patch = BackendPatch {
            state: Some(state),
            ..BackendPatch::default()
        };
        let name = format!("web{number}");
        self.node().client().patch("web", &name, patch).await.unwrap();
    }

    /// The connections that are in `FLOWS`, by their ports.
    #[must_use]
    pub fn known(&self) -> BTreeSet<u16> {
        let client = self.case.host(10);
        let ours = dump(self.node()).into_iter().filter(|source| source.ip() == client);
        ours.map(|source| source.port()).collect()
    }

    /// Who would get a packet of a connection now: the number of the backend.
    async fn whose(&self, seen: &Seen) -> u8 {
        let flow = FlowQuery {
            protocol: Protocol::Tcp,
            source: SocketAddr::new(self.case.host(10), seen.port),
            destination: self.case.vip(),
        };
        match self.node().client().explain(flow).await.unwrap().verdict {
            Verdict::Forwarded { backend, .. } => backend.strip_prefix("web").unwrap().parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// How many segments each backend has sent with RST.
    #[must_use]
    pub fn resets(&self) -> Vec<u64> {
        let read = || fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let of = |host: &TestNamespace| {
            let text = host.run_inside(read).unwrap();
            let tcp: Vec<Vec<&str>> = text
                .lines()
                .filter_map(|line| line.strip_prefix("Tcp: "))
                .map(|line| line.split(' ').collect())
                .collect();
            let column = tcp[0].iter().position(|name| *name == "OutRsts").unwrap();
            tcp[1][column].parse().unwrap()
        };
        self.segment.backends.iter().map(of).collect()
    }

    /// Those connections that are led to another backend than theirs, by their ports, each with who gets it.
    pub async fn led_astray(&self, open: &Open) -> BTreeMap<u16, u8> {
        let mut astray = BTreeMap::new();
        for seen in open.each() {
            let whose = self.whose(&seen).await;
            if whose != seen.backend {
                astray.insert(seen.port, whose);
            }
        }
        astray
    }
}

/// All of [`THREE`] serve.
#[must_use]
pub fn three_serve(status: &Status) -> bool {
    (1..=3).all(|n| serves(status, &format!("web{n}")))
}

/// Slots that move.
#[must_use]
pub fn moving(status: &Status) -> u32 {
    status.services[0].slot_states.moving
}

/// Nothing is remembered.
#[must_use]
pub fn is_quiet(status: &Status) -> bool {
    let slots = status.services[0].slot_states;
    (slots.moving, slots.settled, status.flows.flows.entries) == (0, 0, 0)
}
