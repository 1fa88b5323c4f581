//! Two nodes that tell each other of flows: where a backend's answers come to an address that moves, or where every flow is
//! tracked, connections and downloads go on too when the master dies, comes back knowing nothing, and ends.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_tests::backing::{VIPS, hold};
use lb_tests::bench::failover::tell;
use lb_tests::download::Download;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Node};
use lb_tests::open::{Open, Server};
use lb_tests::pair::is;
use lb_tests::segment::{Segment, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::Status;
use lb_user::net::wire;
use nix::sys::signal::Signal;

/// Ports of the services: of connections that speak now and then, and of long downloads.
const NAT: [u16; 2] = [81, 8081];
const TRACKED: [u16; 2] = [82, 8082];

/// Where both listen.
const NODES: [IpAddr; 2] = [v4(1), v4(2)];

/// What backends of `nat` see as the client.
const SOURCES: [IpAddr; 2] = [v4(99), v6(99)];

/// Longer than the test.
const LENGTH: u64 = 400_000_000;

const OPEN: usize = 50;

/// One file for both nodes, but for its paths.
fn configure(node: &Node, name: &str) {
    let mut text = node.head_with_peers("eth0", name, NODES);
    for (family, host) in [("4", v4 as fn(u8) -> _), ("6", |number| v6(number.into()))] {
        for port in NAT {
            let vip = SocketAddr::new(host(100), port);
            let source = format!("source = [\"{}\"]", host(99));
            let nat = service(&format!("nat{port}-{family}"), "nat", &[vip]).table("nat", source);
            text.push_str(
                &nat.backends((1..=3).map(|n| SocketAddr::new(host(10 + n), port)))
                    .to_string(),
            );
        }
        for (port, balance) in TRACKED.into_iter().zip(["round-robin", "least-connections"]) {
            let vip = SocketAddr::new(host(100), port);
            let tracked = service(&format!("tracked{port}-{family}"), "dsr", &[vip]);
            let tracked = tracked.with(format_args!("balance = \"{balance}\""));
            text.push_str(
                &tracked
                    .backends((1..=3).map(|n| SocketAddr::new(host(10 + n), port)))
                    .to_string(),
            );
        }
    }
    for (id, vip, source) in [(41, VIPS[0], SOURCES[0]), (42, VIPS[1], SOURCES[1])] {
        text.push_str(&format!(
            "[[vrrp]]\nname = \"VI_{id}\"\ninterface = \"eth0\"\nrouter-id = {id}\npriority = {{ lb1 = 110, lb2 = 100 }}\n\
             advertisement-interval = \"100ms\"\naddresses = [\"{vip}\", \"{source}\"]\nsync-group = \"edge\"\n"
        ));
    }
    node.configure(&text);
}

/// The peer has all that it was told, and tells.
fn agree(status: &Status) -> bool {
    status
        .peers
        .iter()
        .all(|peer| peer.connected && peer.heard && peer.lag_ms == 0)
}

struct Clients {
    open: Vec<Open>,
    downloads: Vec<Download>,
}

impl Clients {
    fn start(segment: &Segment) -> Self {
        let vips = |ports: [u16; 2], which: usize| VIPS.map(|vip| SocketAddr::new(vip, ports[which]));
        let open = |vip| Open::start(&segment.client, vip, OPEN, Duration::from_millis(100));
        let download = |vip| Download::start("a download", &segment.client, 0, vip, LENGTH);
        Self {
            open: [vips(NAT, 0), vips(TRACKED, 0)]
                .concat()
                .into_iter()
                .map(open)
                .collect(),
            downloads: [vips(NAT, 1), vips(TRACKED, 1)]
                .concat()
                .into_iter()
                .map(download)
                .collect(),
        }
    }

    async fn go_on(&self, what: &str) {
        for open in &self.open {
            open.go_on(3, DEADLINE, what).await;
            assert_eq!(open.lost(), [], "{what}");
        }
        for download in &self.downloads {
            download.goes_on(what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn translated_and_tracked_flows_survive_a_failover() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(3).await;
    wire::sysctl(&segment.client, Download::BOUNDS.0, Download::BOUNDS.1).unwrap();
    let (mut servers, mut long) = (Vec::new(), Vec::new());
    for (index, host) in segment.backends.iter().enumerate() {
        hold(host, &VIPS).await;
        let number = index as u8 + 1;
        let own = [v4(10 + number), v6(10 + u16::from(number))];
        let all = [VIPS[0], VIPS[1], own[0], own[1]];
        for ip in all {
            servers.push(Server::start(host, SocketAddr::new(ip, TRACKED[0]), number));
        }
        for ip in own {
            servers.push(Server::start(host, SocketAddr::new(ip, NAT[0]), number));
        }
        let mut listen: Vec<_> = all
            .iter()
            .map(|ip| SocketAddr::new(*ip, TRACKED[1]).to_string())
            .collect();
        listen.extend(own.iter().map(|ip| SocketAddr::new(*ip, NAT[1]).to_string()));
        long.push(segment.serve(index, &listen));
    }
    let (first, second) = (&segment.node, segment.another_node(2).await);
    configure(first, "lb1");
    configure(&second, "lb2");
    let daemon = first.start().await;
    let _second = second.start().await;
    first.until("the first is master", is("master")).await;
    second.until("the second is backup", is("backup")).await;
    first.until("the second hears", agree).await;
    second.until("the first hears", agree).await;

    let clients = Clients::start(&segment);
    clients.go_on("all is well").await;
    let told = first
        .until("the second knows of them", |s| agree(s) && s.peers[0].sent > 0)
        .await;
    // A connection that breaks begins anew with everything.
    let connections = first.log().matches("the peer is told of flows").count() as u64;
    assert!(
        (1..=connections).contains(&told.peers[0].syncs),
        "{} of {connections}: news, and not everything again and again",
        told.peers[0].syncs
    );
    let heard = second.client().status().await.unwrap();
    assert_eq!((heard.peers[0].foreign, heard.peers[0].no_room), (0, 0));

    daemon.end(Signal::SIGKILL);
    second.until("the second is master", is("master")).await;
    clients.go_on("the master was killed").await;
    let more = Clients::start(&segment);
    more.go_on("the second has clients of its own").await;

    // As after the machine has started again: what it knew is gone.
    let pins = first.path("bpf");
    let detached = first
        .command(&["detach", "--pin-dir", &pins.to_string_lossy()])
        .status();
    assert!(detached.unwrap().success());
    let daemon = first.start().await;
    first.until("the first is back", is("master")).await;
    second.until("the second is backup again", is("backup")).await;
    clients.go_on("the master is back").await;
    more.go_on("and knows of those that came meanwhile").await;

    second.until("the second knows what the first does", agree).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    second.until("the second takes over", is("master")).await;
    clients.go_on("the master has ended").await;
    more.go_on("the master has ended").await;
    clients.downloads.into_iter().for_each(Download::finish);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_flows_are_told() {
    if gate::root() == Gate::Skip {
        return;
    }
    let told = tell(100_000).await.unwrap_or_else(|error| panic!("{error:?}"));
    println!("told everything {} times", told.syncs);
}
