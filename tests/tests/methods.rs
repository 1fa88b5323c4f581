//! Which backend real connections get, by each method that is not `maglev`, in `dsr` and in `tunnel`.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::node::Daemon;
use lb_tests::open::Server;
use lb_tests::segment::{Process, Segment, v4};
use lb_user::api::types::Status;
use lb_user::net::Net;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const SERVER: SocketAddr = SocketAddr::new(VIPS[0], 80);
const CLIENT: IpAddr = v4(10);

/// Three backends, of which the first has twice the weight where they are chosen by turns.
struct Setting {
    _daemon: Daemon,
    _servers: Vec<Server>,
    _opened: Vec<Process>,
    segment: Segment,
}

impl Setting {
    async fn new(mode: &str, balance: &str, first: u16) -> Self {
        let segment = Segment::new(3).await;
        let (mut servers, mut opened) = (Vec::new(), Vec::new());
        for (number, host) in (1..).zip(&segment.backends) {
            hold(host, &VIPS[..1]).await;
            servers.push(Server::start(host, SERVER, number));
            opened.push(decap(host, &[], "native"));
        }
        let node = &segment.node;
        let mut text = format!(
            "{}[[service]]\nname = \"web\"\naddress = \"{SERVER}\"\nmode = \"{mode}\"\nbalance = \"{balance}\"\n\
             table-size = 1024\n[service.health]\nkind = \"none\"\n",
            node.head("eth0")
        );
        for (number, weight) in [(11, first), (12, 1), (13, 1)] {
            let address = SocketAddr::new(v4(number), SERVER.port());
            text += &format!("[[service.backend]]\naddress = \"{address}\"\nweight = {weight}\n");
        }
        node.configure(&text);
        let daemon = node.start().await;
        let reached = |s: &Status| {
            let mut all = s.services[0].backends.iter();
            all.all(|b| b.slots > 0 && b.next_hop.is_some())
        };
        node.until("all backends are reached", reached).await;
        Self {
            segment,
            _servers: servers,
            _opened: opened,
            _daemon: daemon,
        }
    }

    /// Opens a connection from an address of the client's; who answers?
    async fn open(&self, source: IpAddr) -> (u8, TcpStream) {
        let socket = self.segment.client.run_inside(TcpSocket::new_v4).unwrap().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut stream = socket.connect(SERVER).await.unwrap();
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
    for mode in ["dsr", "tunnel"] {
        let setting = Setting::new(mode, "source-hash", 1).await;
        let net = Net::inside(&setting.segment.client).unwrap();
        let eth0 = net.index("eth0").await.unwrap();
        let mut seen = BTreeMap::<u8, u32>::new();
        for number in 110..150 {
            net.add_address(eth0, v4(number), 24).await.unwrap();
            let (first, _) = setting.open(v4(number)).await;
            for _ in 0..5 {
                assert_eq!(setting.open(v4(number)).await.0, first, "{mode} {number}");
            }
            *seen.entry(first).or_default() += 1;
        }
        assert_eq!(seen.len(), 3, "{mode}: forty sources are spread: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_take_turns_with_round_robin() {
    if gate::root() == Gate::Skip {
        return;
    }
    for mode in ["dsr", "tunnel"] {
        let setting = Setting::new(mode, "round-robin", 2).await;
        let (mut order, mut open) = (Vec::new(), Vec::new());
        for _ in 0..80 {
            let (backend, stream) = setting.open(CLIENT).await;
            order.push(backend);
            open.push(stream);
        }
        // Any four connections in a row, wherever the first turn was.
        for (at, four) in order.windows(4).enumerate() {
            let mut sorted = four.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [1, 1, 2, 3], "{mode}, from connection {at} on: {order:?}");
        }
        // They stay where they are.
        for (backend, mut stream) in order.into_iter().zip(open) {
            stream.write_u64(8).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), backend, "{mode}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_backend_gets_less_with_least_connections() {
    if gate::root() == Gate::Skip {
        return;
    }
    for mode in ["dsr", "tunnel"] {
        let setting = Setting::new(mode, "least-connections", 1).await;
        let (mut count, mut slow) = (BTreeMap::<u8, u32>::new(), Vec::new());
        for _ in 0..300 {
            let (backend, stream) = setting.open(CLIENT).await;
            *count.entry(backend).or_default() += 1;
            // The first one never finishes.
            if backend == 1 {
                slow.push(stream);
            }
        }
        assert_eq!(count.len(), 3, "{mode}: {count:?}");
        assert!(count[&1] * 2 < count[&2].min(count[&3]), "{mode}: {count:?}");
    }
}
