//! Real clients through `mode = "nat"`: checksums by an independent reader, backends behind a router, backends that see
//! the client.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lb_tests::capture::Capture;
use lb_tests::gate::{self, Gate};
use lb_tests::netns::TestNamespace;
use lb_tests::node::Daemon;
use lb_tests::segment::{Process, Segment, plug, prepare, serve, v4, v6};
use lb_user::net::{LOOPBACK, Net, wire};

/// Port of the VIPs, and that of the backends.
const PORT: u16 = 80;
const BACKEND_PORT: u16 = 8080;

const VIPS: [IpAddr; 2] = [v4(100), v6(100)];

/// A backend of each family, over both protocols, which nobody probes.
fn services(backends: [IpAddr; 2], nat: &str) -> String {
    let mut text = String::new();
    for (family, (vip, backend)) in [4, 6].into_iter().zip(VIPS.into_iter().zip(backends)) {
        for protocol in ["tcp", "udp"] {
            text += &format!(
                "[[service]]\nname = \"{protocol}{family}\"\naddress = \"{}\"\nprotocol = \"{protocol}\"\n\
                 mode = \"nat\"\n[service.nat]\n{nat}\n[service.health]\nkind = \"none\"\n\
                 [[service.backend]]\naddress = \"{}\"\n",
                SocketAddr::new(vip, PORT),
                SocketAddr::new(backend, BACKEND_PORT),
            );
        }
    }
    text
}

/// Starts the daemon, and waits until every backend serves.
async fn start(segment: &Segment, head: &str, services: &str) -> Daemon {
    segment.node.configure(&format!("{head}{services}"));
    let daemon = segment.node.start().await;
    let all = |s: &lb_user::api::types::Status| s.services.iter().all(|s| s.backends[0].slots > 0);
    segment.node.until("all backends serve", all).await;
    daemon
}

fn server(namespace: &TestNamespace, addresses: [IpAddr; 2]) -> Process {
    let listen = addresses.map(|ip| SocketAddr::new(ip, BACKEND_PORT).to_string());
    serve(namespace, "web", &listen)
}

/// The next port that a datagram comes from: one that had been used before would be a flow that is known, and translated
/// as when it began.
static NEXT_PORT: AtomicU16 = AtomicU16::new(61_000);

/// What the backend says of `count` datagrams to a VIP, each from a socket of its own and one byte longer.
fn datagrams(client: &TestNamespace, vip: IpAddr, count: usize) -> Vec<String> {
    let ask = |length| {
        let any: IpAddr = if vip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, NEXT_PORT.fetch_add(1, Ordering::Relaxed)))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.connect((vip, PORT))?;
        socket.send(&vec![b'?'; length])?;
        let mut answer = [0; 200];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    let all: std::io::Result<Vec<String>> = client.run_inside(|| (1..=count).map(ask).collect()).unwrap();
    all.unwrap()
}

/// Requests over TCP and UDP, in both families: all are answered, by a server that sees `clients` and was asked at
/// `backends`.
fn all_are_answered(segment: &Segment, clients: [IpAddr; 2], backends: [IpAddr; 2]) {
    for ((vip, client), backend) in VIPS.into_iter().zip(clients).zip(backends) {
        let url = format!("http://{}/", SocketAddr::new(vip, PORT));
        let mut said = datagrams(&segment.client, vip, 10);
        said.extend((0..10).map(|_| segment.curl(&["-g", &url])));
        for said in said {
            let facts = said.lines().next().unwrap();
            let (seen, asked) = facts
                .strip_prefix("web saw client ")
                .and_then(|rest| rest.split_once(" for "))
                .unwrap();
            assert_eq!(seen.parse::<SocketAddr>().unwrap().ip(), client, "{said}");
            assert_eq!(asked, SocketAddr::new(backend, BACKEND_PORT).to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_are_right_wherever_one_looks() {
    if gate::root_with(&["curl", "dumpcap", "tshark"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(1).await;
    let web = &segment.backends[0];
    let (own, node, client) = ([v4(11), v6(11)], [v4(1), v6(1)], [v4(10), v6(10)]);
    // What a host sends itself passes its own capture with checksums to be computed later, unless it may not.
    for host in [&segment.client, web] {
        wire::set_tx_checksum(host, "eth0", false).unwrap();
    }
    let _server = server(web, own);
    let _daemon = start(&segment, &segment.node.head("eth0"), &services(own, "")).await;
    let at_client = Capture::start(&segment.client, &segment.node.path("client.pcap"));
    let at_backend = Capture::start(web, &segment.node.path("backend.pcap"));
    all_are_answered(&segment, node, own);
    for vip in VIPS {
        datagrams(&segment.client, vip, 150);
        let url = |path| format!("http://{}/{path}", SocketAddr::new(vip, PORT));
        // A client may acknowledge much at once, but each connection takes four packets of it at the least.
        let (short, close) = (url(""), "Connection: close");
        segment.curl(&[&["-g", "-H", close][..], &[short.as_str(); 40]].concat());
        // Last, since a capture may lack the packets of its last moments, and of these there are more than are counted.
        segment.curl(&["-g", "-o", "/dev/null", &url("bytes/2000000")]);
    }
    for (place, capture, port, ends) in [
        ("client", at_client, PORT, [client, VIPS]),
        ("backend", at_backend, BACKEND_PORT, [node, own]),
    ] {
        let counts = capture.end(port);
        assert_eq!(
            counts.len(),
            8,
            "both families, protocols, directions at the {place}: {counts:#?}"
        );
        for ip in ends.into_iter().flatten() {
            for protocol in ["tcp", "udp"] {
                let count = counts[&(ip.to_string(), protocol.to_owned())];
                assert!(
                    count.good >= 100 && count.bad == 0,
                    "{protocol} from {ip} at the {place}: {count:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_may_be_behind_a_router() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(0).await;
    let router = plug(&segment.node, "router", 2).await;
    let web = TestNamespace::new("web");
    let own: [IpAddr; 2] = ["10.7.0.2".parse().unwrap(), "fd07::2".parse().unwrap()];
    let near: [IpAddr; 2] = ["10.7.0.1".parse().unwrap(), "fd07::1".parse().unwrap()];
    for (key, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
        wire::sysctl(&router, key, value).unwrap();
    }
    wires(&router, near, &web, own).await;
    let net = Net::inside(&segment.node.namespace).unwrap();
    for (own, prefix, router) in [(own[0], 32, v4(2)), (own[1], 128, v6(2))] {
        net.add_route(own, prefix, router).await.unwrap();
    }
    let _server = server(&web, own);
    let _daemon = start(&segment, &segment.node.head("eth0"), &services(own, "")).await;
    all_are_answered(&segment, [v4(1), v6(1)], own);
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_see_the_client_where_they_answer_through_the_node() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(0).await;
    let (node, web) = (&segment.node, TestNamespace::new("web"));
    let own: [IpAddr; 2] = ["10.7.0.2".parse().unwrap(), "fd07::2".parse().unwrap()];
    let near: [IpAddr; 2] = ["10.7.0.1".parse().unwrap(), "fd07::1".parse().unwrap()];
    wires(&node.namespace, near, &web, own).await;
    prepare(&web, "eth0", node);
    let _server = server(&web, own);
    for mode in ["native", "generic"] {
        let interfaces = format!("[\"eth0\", \"eth1\"]\nxdp-mode = \"{mode}\"");
        let head = node.head("eth0").replace("[\"eth0\"]", &interfaces);
        let daemon = start(&segment, &head, &services(own, "source = \"client\"")).await;
        all_are_answered(&segment, [v4(10), v6(10)], own);
        // Without the key they see the node.
        drop(daemon);
        let _daemon = start(&segment, &head, &services(own, "")).await;
        all_are_answered(&segment, near, own);
    }
}

/// Connects `eth1` of a host with `eth0` of another, whose router it becomes.
async fn wires(router: &lb_user::net::Namespace, near: [IpAddr; 2], host: &TestNamespace, own: [IpAddr; 2]) {
    wire::sysctl(host, "ipv6/conf/default/accept_dad", "0").unwrap();
    wire::sysctl(router, "ipv6/conf/default/accept_dad", "0").unwrap();
    let (router, host_net) = (Net::inside(router).unwrap(), Net::inside(host).unwrap());
    router.add_veth("eth1", "eth0", host).await.unwrap();
    host_net.set_up(LOOPBACK).await.unwrap();
    for (net, interface, addresses) in [(&router, "eth1", near), (&host_net, "eth0", own)] {
        let index = net.index(interface).await.unwrap();
        for (ip, prefix) in addresses.into_iter().zip([24, 64]) {
            net.add_address(index, ip, prefix).await.unwrap();
        }
        net.set_up(index).await.unwrap();
    }
    for (everything, router) in ["0.0.0.0", "::"].into_iter().zip(near) {
        host_net
            .add_route(everything.parse().unwrap(), 0, router)
            .await
            .unwrap();
    }
}
