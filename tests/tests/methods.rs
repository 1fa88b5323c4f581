//! Which backend real connections get, by each method that is not `maglev`, in `dsr` and in `tunnel`, over IPv4 and IPv6.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::id::MemberId;
use lb_common::limits::FLOW_TABLE;
use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Daemon};
use lb_tests::open::Server;
use lb_tests::rig::SEED;
use lb_tests::segment::{Process, Segment, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::Status;
use lb_user::dataplane::Dataplane as _;
use lb_user::dataplane::kernel::Kernel;
use lb_user::net::Net;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

const PORT: u16 = 80;

/// How packets get to backends, and of which family they are.
#[derive(Clone, Copy, Debug)]
struct Way {
    mode: &'static str,
    ipv6: bool,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::new("dsr", false),
        Self::new("dsr", true),
        Self::new("tunnel", false),
        Self::new("tunnel", true),
    ];

    const fn new(mode: &'static str, ipv6: bool) -> Self {
        Self { mode, ipv6 }
    }

    fn host(self, number: u8) -> IpAddr {
        if self.ipv6 { v6(number.into()) } else { v4(number) }
    }

    fn server(self) -> SocketAddr {
        SocketAddr::new(VIPS[usize::from(self.ipv6)], PORT)
    }

    fn client(self) -> IpAddr {
        self.host(10)
    }
}

/// Three backends, of which the first has twice the weight where they are chosen by turns.
struct Setting {
    _daemon: Daemon,
    _servers: Vec<Server>,
    _opened: Vec<Process>,
    segment: Segment,
    way: Way,
}

impl Setting {
    async fn new(way: Way, balance: &str, first: u16) -> Self {
        let segment = Segment::new(3).await;
        let (mut servers, mut opened) = (Vec::new(), Vec::new());
        for (number, host) in (1..).zip(&segment.backends) {
            hold(host, &VIPS).await;
            servers.push(Server::start(host, way.server(), number));
            opened.push(decap(host, &[], "native"));
        }
        let mut web = service("web", way.mode, &[way.server()])
            .with(format_args!("balance = \"{balance}\"\ntable-size = 1024"))
            .unprobed();
        for (number, weight) in [(11, first), (12, 1), (13, 1)] {
            let address = SocketAddr::new(way.host(number), PORT);
            web = web.backend_with(address, format_args!("weight = {weight}"));
        }
        let node = &segment.node;
        node.configure(&format!("{}{web}", node.head("eth0")));
        let daemon = node.start().await;
        let reached = |s: &Status| {
            let mut all = s.services[0].backends.iter();
            all.all(|b| b.slots > 0 && b.next_hop.is_some())
        };
        node.until("all backends are reached", reached).await;
        Self {
            segment,
            way,
            _servers: servers,
            _opened: opened,
            _daemon: daemon,
        }
    }

    /// Opens a connection from an address of the client's; who answers?
    async fn open(&self, source: IpAddr) -> (u8, TcpStream) {
        let socket = if source.is_ipv4() {
            TcpSocket::new_v4
        } else {
            TcpSocket::new_v6
        };
        let socket = self.segment.client.run_inside(socket).unwrap().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut stream = socket.connect(self.way.server()).await.unwrap();
        stream.write_u64(7).await.unwrap();
        let backend = stream.read_u8().await.unwrap();
        assert_eq!(stream.read_u64().await.unwrap(), 7);
        (backend, stream)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_has_one_backend_with_source_hash() {
    if gate::root() == Gate::Skip {
        return;
    }
    for way in Way::ALL {
        let setting = Setting::new(way, "source-hash", 1).await;
        let net = Net::inside(&setting.segment.client).unwrap();
        let eth0 = net.index("eth0").await.unwrap();
        let mut seen = BTreeMap::<u8, u32>::new();
        for number in 110..170 {
            let source = way.host(number);
            net.add_address(eth0, source, 24).await.unwrap();
            let (first, _) = setting.open(source).await;
            for _ in 0..5 {
                assert_eq!(setting.open(source).await.0, first, "{way:?} {source}");
            }
            *seen.entry(first).or_default() += 1;
        }
        assert_eq!(seen.len(), 3, "{way:?}: sixty sources are spread: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_take_turns_with_round_robin() {
    if gate::root() == Gate::Skip {
        return;
    }
    for way in Way::ALL {
        let setting = Setting::new(way, "round-robin", 2).await;
        let (mut order, mut open) = (Vec::new(), Vec::new());
        for _ in 0..80 {
            let (backend, stream) = setting.open(way.client()).await;
            order.push(backend);
            open.push(stream);
        }
        // Any four connections in a row, wherever the first turn was.
        for (at, four) in order.windows(4).enumerate() {
            let mut sorted = four.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [1, 1, 2, 3], "{way:?}, from connection {at} on: {order:?}");
        }
        // They stay where they are.
        for (backend, mut stream) in order.into_iter().zip(open) {
            stream.write_u64(8).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), backend, "{way:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_backend_gets_less_with_least_connections() {
    if gate::root() == Gate::Skip {
        return;
    }
    for way in Way::ALL {
        let setting = Setting::new(way, "least-connections", 1).await;
        let (mut count, mut living) = (BTreeMap::<u8, u32>::new(), BTreeMap::<u8, Vec<TcpStream>>::new());
        for _ in 0..300 {
            let (backend, stream) = setting.open(way.client()).await;
            *count.entry(backend).or_default() += 1;
            // The first one never finishes, and the others always but for a few times.
            let living = living.entry(backend).or_default();
            if backend == 1 || living.len() < 3 {
                living.push(stream);
            }
        }
        assert_eq!(count.len(), 3, "{way:?}: {count:?}");
        assert!(count[&1] * 2 < count[&2].min(count[&3]), "{way:?}: {count:?}");

        if way.mode == "tunnel" {
            // It is counted in the same place.
            continue;
        }
        // The program has counted them all, and the daemon sets right what somebody else has written there.
        let expected = living
            .iter()
            .map(|(&backend, all)| (backend, all.len() as u64))
            .collect();
        let mut load = Load::of(&setting);
        load.until(&expected, "those that live are counted").await;
        load.set(1, 0);
        load.set(2, 99);
        load.set(3, u64::MAX);
        load.until(&expected, "a sweep has counted them").await;
        living.clear();
        load.until(&BTreeMap::from([(1, 0), (2, 0), (3, 0)]), "all have ended")
            .await;
    }
}

/// The daemon's map of living flows.
struct Load {
    /// Over the same maps, which nothing is attached to.
    kernel: Kernel,
    members: BTreeMap<u8, MemberId>,
}

impl Load {
    fn of(setting: &Setting) -> Self {
        let kernel = Kernel::open(&setting.segment.node.path("bpf"), SEED, FLOW_TABLE);
        let kernel = kernel.unwrap_or_else(|e| panic!("{e:?}"));
        let installed = kernel.installed().unwrap().members;
        let id = |number: u8| {
            let address = setting.way.host(10 + number);
            let mut all = installed.iter();
            *all.find(|(_, member)| member.address.to_ip() == address).unwrap().0
        };
        Self {
            members: (1..=3).map(|number| (number, id(number))).collect(),
            kernel,
        }
    }

    fn set(&mut self, backend: u8, count: u64) {
        self.kernel.set_load(self.members[&backend], count).unwrap();
    }

    /// Waits until it says this.
    async fn until(&self, expected: &BTreeMap<u8, u64>, what: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let now = |(&backend, &id): (&u8, &MemberId)| (backend, self.kernel.load_of(id));
            let now: BTreeMap<u8, u64> = self.members.iter().map(now).collect();
            if now == *expected {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {now:?}, expected {expected:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}
