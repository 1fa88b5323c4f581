//! Thousands of connections, and a SYN flood, through every kind of change: no connection to a living backend breaks, and
//! afterwards nothing is remembered.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use aya::maps::{HashMap, MapData};
use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::flood::Flood;
use lb_tests::gate::{self, Gate, gate};
use lb_tests::node::{DEADLINE, Daemon, Node};
use lb_tests::open::{Open, Server};
use lb_tests::segment::{Process, Segment, plug, v4};
use lb_user::api::types::{AdminState, BackendPatch, BackendStatus, Health, Status};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

/// Files that a process may have open, at the least: two for each connection of all tests here.
const FILES: u64 = 19_500;

/// All that there may be.
const BACKENDS: u8 = 4;

const VIP: IpAddr = VIPS[0];
const PORT: u16 = 80;

const IDLE: Duration = Duration::from_secs(6);

/// How often a connection speaks, and one that is idle otherwise.
const PERIOD: Duration = Duration::from_secs(1);
const IDLE_PERIOD: Duration = Duration::from_secs(4);

/// More than what is written down in a change here, and less.
const LARGE: u32 = 262_144;
const SMALL: u32 = 1024;

/// Longest life of what a flood leaves: an opening that nothing follows.
const OPENING: Duration = Duration::from_secs(60);

/// Backends by number, with their weights.
fn config(node: &Node, mode: &str, flow_table: u32, backends: &[(u8, u16)]) {
    let head = node
        .head("eth0")
        .replace("[\"eth0\"]", &format!("[\"eth0\"]\nflow-table-size = {flow_table}"));
    let mut text = format!(
        "{head}[[service]]\nname = \"web\"\naddress = \"{}\"\nmode = \"{mode}\"\ntable-size = 1024\n\
         idle-timeout = \"{}s\"\n[service.health]\ninterval = \"200ms\"\nfall = 2\nrise = 2\n",
        SocketAddr::new(VIP, PORT),
        IDLE.as_secs()
    );
    for (number, weight) in backends {
        text += &format!(
            "[[service.backend]]\nname = \"web{number}\"\naddress = \"{}\"\nweight = {weight}\n",
            SocketAddr::new(v4(10 + number), PORT)
        );
    }
    node.configure(&text);
}

/// What is known of a backend; `None` when there is none.
fn backend<'s>(status: &'s Status, name: &str) -> Option<&'s BackendStatus> {
    status.services[0].backends.iter().find(|b| b.name == name)
}

fn serves(status: &Status, name: &str) -> bool {
    backend(status, name).is_some_and(|b| b.slots > 0 && b.health == Health::Up && b.next_hop.is_some())
}

/// Entries of the pinned map `FLOWS`.
fn dump(node: &Node) -> usize {
    let folders = fs::read_dir(node.path("bpf"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders = folders.filter(|path| path.join("FLOWS").exists());
    let map = MapData::from_pin(folders.next().unwrap().join("FLOWS")).unwrap();
    assert_eq!(folders.next(), None, "one layout");
    let map: HashMap<_, [u8; 40], [u8; 16]> = aya::maps::Map::from_map_data(map).unwrap().try_into().unwrap();
    map.keys().collect::<Result<Vec<_>, _>>().unwrap().len()
}

struct Setting {
    segment: Segment,
    mode: &'static str,
    flow_table: u32,
    servers: Vec<Option<Server>>,
    /// What the backends' own addresses are probed at.
    probed: Vec<Option<Server>>,
    _opened: Vec<Process>,
}

impl Setting {
    /// Everything but the daemon; `None` when the test is to be skipped.
    async fn new(mode: &'static str, flow_table: u32) -> Option<Self> {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let few = (most < FILES).then_some("needs 19,500 open files, see `ulimit -Hn`");
        if gate::root() == Gate::Skip || gate(few) == Gate::Skip {
            return None;
        }
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        let segment = Segment::new(BACKENDS).await;
        let mut this = Self {
            segment,
            mode,
            flow_table,
            servers: Vec::new(),
            probed: Vec::new(),
            _opened: Vec::new(),
        };
        for number in 1..=BACKENDS {
            let host = &this.segment.backends[usize::from(number) - 1];
            hold(host, &VIPS[..1]).await;
            if mode == "tunnel" {
                this._opened.push(decap(host, &[], "native"));
            }
            this.servers.push(None);
            this.probed.push(None);
            this.serve(number);
        }
        Some(this)
    }

    fn serve(&mut self, number: u8) {
        let index = usize::from(number) - 1;
        let host = &self.segment.backends[index];
        self.servers[index] = Some(Server::start(host, SocketAddr::new(VIP, PORT), number));
        self.probed[index] = Some(Server::start(host, SocketAddr::new(v4(10 + number), PORT), number));
    }

    /// The server's process dies, and its connections with it.
    fn die(&mut self, number: u8) {
        let index = usize::from(number) - 1;
        self.servers[index] = None;
        self.probed[index] = None;
    }

    fn node(&self) -> &Node {
        &self.segment.node
    }

    fn config(&self, backends: &[(u8, u16)]) {
        config(self.node(), self.mode, self.flow_table, backends);
    }

    async fn start(&self) -> Daemon {
        self.node().start().await
    }

    async fn patch(&self, number: u8, state: AdminState) {
        let patch = BackendPatch {
            state: Some(state),
            ..BackendPatch::default()
        };
        let name = format!("web{number}");
        self.node().client().patch("web", &name, patch).await.unwrap();
    }
}

fn moving(status: &Status) -> u32 {
    status.services[0].slot_states.moving
}

/// Nothing is remembered.
fn is_quiet(status: &Status) -> bool {
    let slots = status.services[0].slot_states;
    (slots.moving, slots.settled, status.flows.flows.entries) == (0, 0, 0)
}

async fn nobody_notices(mode: &'static str, flow_table: u32, count: usize, period: Duration) {
    let Some(mut setting) = Setting::new(mode, flow_table).await else {
        return;
    };
    let begun = Instant::now();
    let attacker = plug(&setting.segment.node, "attacker", 66).await;
    setting.config(&[(1, 1), (2, 1), (3, 1)]);
    let daemon = setting.start().await;
    let three = |s: &Status| (1..=3).all(|n| serves(s, &format!("web{n}")));
    setting.node().until("three backends serve", three).await;
    // A backend that begins to serve has slots that move.
    setting.node().until("nothing moves", is_quiet).await;
    let written = setting.node().client().status().await.unwrap().flows.flows.written;

    let IpAddr::V4(vip) = VIP else { unreachable!() };
    let flood = Flood::start(&attacker, SocketAddrV4::new(vip, PORT));
    let open = Open::start(&setting.segment.client, SocketAddr::new(VIP, PORT), count, period);
    open.go_on(1, 2 * DEADLINE, "they open").await;
    assert_eq!(open.lost(), [], "they open");
    assert_eq!([1, 2, 3].map(|n| open.of(n)).iter().sum::<usize>(), count);
    eprintln!("{mode}: open after {:?}", begun.elapsed());
    let deadline = Instant::now() + DEADLINE;
    while flood.sent() < 20_000 {
        assert!(Instant::now() < deadline, "a flood of {} in all", flood.sent());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // While nothing changes, neither the flood nor the connections are remembered.
    assert_eq!(dump(setting.node()), 0);
    let status = setting.node().client().status().await.unwrap();
    assert_eq!(status.flows.flows.written, written);

    let patience = period + DEADLINE;
    setting.config(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    setting.node().until("a fourth serves", |s| serves(s, "web4")).await;
    open.go_on(2, patience, "a backend more").await;

    setting.patch(1, AdminState::Drain).await;
    open.go_on(2, patience, "one drains").await;
    assert_eq!(open.lost(), [], "a backend more, and one that drains");

    setting.config(&[(1, 1), (2, 3), (3, 1), (4, 1)]);
    let heavier = |s: &Status| backend(s, "web2").is_some_and(|b| b.weight == 3);
    setting.node().until("another weight", heavier).await;
    open.go_on(2, patience, "another weight").await;
    assert_eq!(open.lost(), [], "another weight");

    // Its own connections end with it, and no others.
    let its = open.of(3);
    setting.die(3);
    let down = |s: &Status| backend(s, "web3").is_some_and(|b| b.health == Health::Down && b.slots == 0);
    setting.node().until("one is down", down).await;
    open.go_on(1, patience, "one is down").await;
    setting.serve(3);
    setting.node().until("it is back", |s| serves(s, "web3")).await;
    open.go_on(2, patience, "it is back").await;

    // The manager dies as soon as the first slots of a change have moved.
    setting.config(&[(1, 1), (2, 1), (3, 2), (4, 1)]);
    let lighter = |s: &Status| backend(s, "web2").is_some_and(|b| b.weight == 1) && moving(s) > 0;
    setting.node().until("a change begins", lighter).await;
    daemon.end(Signal::SIGKILL);
    let _daemon = setting.start().await;
    open.go_on(2, patience, "the manager has died").await;

    // Back to what was, and so the slots too.
    setting.patch(1, AdminState::Active).await;
    setting.config(&[(1, 1), (2, 1), (3, 1)]);
    let back = |s: &Status| three(s) && backend(s, "web4").is_none_or(|b| b.slots == 0);
    setting.node().until("all is as it was", back).await;
    open.go_on(2, patience, "all is as it was").await;
    let lost = open.lost();
    assert!(lost.iter().all(|(backend, _)| *backend == 3), "{lost:?}");
    assert_eq!(lost.len(), its);
    let full = setting.node().client().status().await.unwrap().flows.flows;
    eprintln!("{mode}: all is as it was after {:?}: {full:?}", begun.elapsed());
    assert_eq!(full.no_room > 0, flow_table == SMALL, "{full:?}");

    // While openings find no room no window closes; otherwise the flood goes on, and nothing new is written.
    let flood = (flow_table == LARGE).then_some(flood);
    setting
        .node()
        .until_within(2 * IDLE + DEADLINE, "nothing moves", |s| moving(s) == 0)
        .await;
    open.go_on(1, patience, "nothing moves").await;
    assert_eq!(open.lost().len(), its, "nothing moves");
    let patience = IDLE + OPENING + DEADLINE;
    setting
        .node()
        .until_within(patience, "nothing is remembered", is_quiet)
        .await;
    assert_eq!(dump(setting.node()), 0);
    assert_eq!(open.lost().len(), its, "nothing is remembered");
    drop(flood);
    eprintln!("{mode}: nothing is remembered after {:?}", begun.elapsed());
}

// What the flood has left lives for a minute, and so these take 90 s. They run beside each other.

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_changes_in_dsr() {
    nobody_notices("dsr", LARGE, 5000, PERIOD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_changes_in_tunnels() {
    nobody_notices("tunnel", LARGE, 3500, PERIOD).await;
}

/// Changes are delayed, that is all.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_a_full_table_who_speaks_now_and_then() {
    nobody_notices("dsr", SMALL, 1000, IDLE_PERIOD).await;
}
