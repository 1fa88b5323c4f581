//! Packets of services of the proxy are the kernel's, in every shape, and so is all that belongs to them; on a VIP of
//! Fulcrum's own the other ports stay closed.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::net::{IpAddr, SocketAddr};

use lb_common::decap::Sources;
use lb_common::service::Decision;
use lb_common::stats::DropReason;
use lb_common::trace::Wanted;
use lb_tests::gate::{self, Gate};
use lb_tests::modes::by_proxy;
use lb_tests::nat::{Flow, Node, PASS, TX};
use lb_tests::packet::{self, ACK, FIN, RST, SYN};
use lb_tests::rig::{CLIENT, NODE, config, mac_of, reconfigure, rig_of};
use lb_tests::shape::{PROVIDER, VLAN, extension, fragments, tagged, with_extensions, with_options};
use lb_tests::toml::{self, service};
use lb_user::dataplane::Dataplane as _;
use lb_user::dataplane::kernel::Kernel;
use lb_user::model::status::{Explanation, FlowQuery};
use lb_user::model::{Config, Protocol};

/// Ports of the proxy on VIPs of Fulcrum's own, and on one that was there before.
const PROXIED: [&str; 6] = [
    "192.0.2.10:80",
    "[2001:db8::10]:80",
    "192.0.2.10:8001",
    "[2001:db8::10]:8002",
    "192.0.2.20:443",
    "[2001:db8::20]:443",
];

const HAD: [&str; 2] = ["192.0.2.20", "2001:db8::20"];

const TAGS: [&[(u16, u16)]; 3] = [&[], &[(VLAN, 5)], &[(PROVIDER, 7), (VLAN, 0x2005)]];

fn file() -> String {
    toml::file([
        service("web", "dsr", &["192.0.2.10:80", "[2001:db8::10]:80"]).backend("10.0.0.1:80"),
        service("many", "dsr", &["192.0.2.10:8000-8003", "[2001:db8::10]:8000-8003"]).backend("10.0.0.2:8000"),
        service("shared", "dsr", &["192.0.2.20:443", "[2001:db8::20]:443"]).backend("10.0.0.3:443"),
        service("nat", "nat", &["192.0.2.10:83"]).backend("10.0.0.5:8080"),
        service("nat6", "nat", &["[2001:db8::10]:83"]).backend("[fd00::5]:8080"),
        service("dsr", "dsr", &["192.0.2.10:81", "[2001:db8::10]:81"]).backend("10.0.0.4:81"),
    ])
}

fn proxied() -> Config {
    by_proxy(config(&file()), &["web", "many", "shared"])
}

async fn node() -> Option<Node> {
    if gate::root() == Gate::Skip {
        return None;
    }
    let kernel = Kernel::private(lb_tests::rig::SEED).unwrap();
    let rig = rig_of(kernel, proxied(), &HAD).await;
    Some(Node { rig })
}

/// A client's flow to there.
fn to(vip: &str) -> Flow {
    let v4 = vip.parse::<SocketAddr>().unwrap().is_ipv4();
    let client = if v4 {
        "198.51.100.7:40000"
    } else {
        "[2001:db8:1::7]:40000"
    };
    Flow::tcp(client, vip)
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_pass_in_every_shape() {
    let Some(mut node) = node().await else { return };
    for vip in PROXIED {
        let flow = to(vip);
        for flags in [SYN, SYN | ACK, ACK, FIN | ACK, RST] {
            let plain = flow.packet(flags, b"data");
            let mut shapes = vec![plain.clone()];
            if flow.source.is_ipv4() {
                shapes.push(with_options(&plain, &[1; 8]));
            } else {
                shapes.push(with_extensions(&plain, &[extension(0, 0), extension(60, 1)]));
            }
            shapes.extend(fragments(&flow.packet(flags, &[7; 100]), 40, 9));
            for (shape, tags) in shapes.iter().flat_map(|shape| TAGS.map(|tags| (shape, tags))) {
                node.passes(&tagged(NODE, CLIENT, tags, shape));
            }
        }
        // The kernel knows best what is wrong with what is its own.
        let mut wrong = flow.frame(CLIENT, ACK, b"data");
        let offset = wrong.len() - 12;
        wrong[offset] = 0x10;
        node.passes(&wrong);
    }
    assert_eq!(node.dropped(), []);
    let counted = node.rig.status().services;
    let backends = counted.iter().flat_map(|service| &service.backends);
    assert!(
        backends
            .into_iter()
            .all(|b| b.counters == lb_common::stats::Counters::default())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_ports_are_closed_where_the_vip_is_fulcrums_own() {
    let Some(mut node) = node().await else { return };
    for vip in [
        "192.0.2.10:79",
        "[2001:db8::10]:79",
        "192.0.2.10:8004",
        "[2001:db8::10]:7999",
    ] {
        node.drops(&to(vip).frame(CLIENT, SYN, b""), DropReason::Undeclared);
    }
    for vip in ["192.0.2.10:80", "[2001:db8::10]:8003"] {
        let datagram = Flow {
            protocol: Protocol::Udp,
            ..to(vip)
        };
        node.drops(&datagram.frame(CLIENT, 0, b"quic"), DropReason::Undeclared);
    }
    for vip in ["192.0.2.20:79", "[2001:db8::20]:79"] {
        node.passes(&to(vip).frame(CLIENT, SYN, b""));
    }
    // What says to be longer than it is, on whatever way it is found out.
    let mut long = to("192.0.2.10:80").packet(ACK, b"data");
    long[3] += 4;
    packet::fix_ipv4(&mut long);
    for tags in TAGS {
        node.drops(&tagged(NODE, CLIENT, tags, &long), DropReason::MalformedIpv4);
    }
    // Nobody knows whose it is before the first one has come.
    let late = &fragments(&to("192.0.2.10:80").packet(ACK, &[7; 100]), 40, 77)[1];
    node.drops(&packet::frame(NODE, CLIENT, late), DropReason::Fragment);
    // The next service is nobody's business.
    let (action, _) = node.send(&to("192.0.2.10:81").frame(CLIENT, SYN, b""));
    assert_eq!(action, TX);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_about_the_nodes_own_connections_pass() {
    let Some(mut node) = node().await else { return };
    let error = |from: IpAddr, to: IpAddr, kind: (u8, u8), about: &[u8]| {
        packet::icmp(from, to, kind.0, kind.1, &[&[0, 0, 5, 0x14], about].concat())
    };
    let own = |backend: &str, own: &str| Flow::tcp(own, backend);
    for (flow, v4) in PROXIED
        .map(|vip| (to(vip).reversed(), vip.starts_with('1')))
        .into_iter()
        // To backends, from a port that is not of those that nat has.
        .chain([
            (own("10.0.0.1:80", "10.0.0.254:40001"), true),
            (own("10.0.0.5:8080", "10.0.0.254:40001"), true),
            (own("[fd00::5]:8080", "[fd00::fe]:40001"), false),
        ])
    {
        let kinds: &[(u8, u8)] = if v4 {
            &[(3, 4), (3, 1), (11, 0)]
        } else {
            &[(2, 0), (1, 4), (3, 0)]
        };
        let router: IpAddr = if v4 { "203.0.113.9" } else { "2001:db8:9::9" }.parse().unwrap();
        for &kind in kinds {
            for tags in TAGS {
                let sent = error(router, flow.source.ip(), kind, &flow.packet(ACK, b"data"));
                node.passes(&tagged(NODE, CLIENT, tags, &sent));
            }
        }
        let answer = flow.reversed().packet(SYN | ACK, b"");
        node.passes(&packet::frame(NODE, mac_of(flow.destination.ip()), &answer));
    }
    assert_eq!(node.dropped(), []);
    // Echo is answered as on every VIP.
    let echo = packet::icmp(
        "198.51.100.7".parse().unwrap(),
        "192.0.2.10".parse().unwrap(),
        8,
        0,
        &[0, 1, 0, 1, 1, 2],
    );
    assert_eq!(node.send(&packet::frame(NODE, CLIENT, &echo)).0, TX);
}

/// Backends answer the proxy on the same address where they answer flows of `nat`, and each gets its own.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_the_proxy_and_to_flows_of_nat_do_not_mix() {
    let Some(mut node) = node().await else { return };
    for (vip, own) in [
        ("192.0.2.10:83", "10.0.0.254:40001"),
        ("[2001:db8::10]:83", "[fd00::fe]:40001"),
    ] {
        let flow = to(vip);
        let there = node.forwards(flow, SYN, b"");
        let own = Flow::tcp(own, &there.destination.to_string());
        let frame = own.reversed().frame(mac_of(there.destination.ip()), SYN | ACK, b"");
        node.passes(&frame);
        node.answers(there, flow, SYN | ACK, b"");
        // Not even on a port that nat might have given.
        let near = own.from_port(there.source.port() ^ 1);
        node.passes(&near.reversed().frame(mac_of(there.destination.ip()), ACK, b"data"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_changes_between_nat_and_proxy() {
    let Some(mut node) = node().await else { return };
    let flow = to("192.0.2.10:83");
    let there = node.forwards(flow, SYN, b"");
    node.answers(there, flow, SYN | ACK, b"");
    reconfigure(&mut node.rig, by_proxy(proxied(), &["nat"])).await;
    // New connections come to the proxy; what belongs to none of its own the kernel answers with a reset.
    node.passes(&flow.from_port(40001).frame(CLIENT, SYN, b""));
    node.passes(&flow.frame(CLIENT, ACK, b"data"));
    // What the backend still sends goes to the client, whose connection it was.
    node.answers(there, flow, ACK, b"data");
    reconfigure(&mut node.rig, proxied()).await;
    // The proxy's connections go on: nat does not know them, and leaves them to the kernel.
    node.passes(&flow.from_port(40001).frame(CLIENT, ACK, b"data"));
    node.forwards(flow.from_port(40002), SYN, b"");
    reconfigure(&mut node.rig, by_proxy(config(&file()), &["many", "shared"])).await;
    let (action, _) = node.send(&to("192.0.2.10:80").frame(CLIENT, SYN, b""));
    assert_eq!(action, TX, "and so does one of dsr");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_explained_and_traced_as_what_it_is() {
    let Some(mut node) = node().await else { return };
    for vip in PROXIED {
        let flow = to(vip);
        let query = FlowQuery {
            protocol: Protocol::Tcp,
            source: flow.source,
            destination: flow.destination,
        };
        let Explanation::Proxied { pools, .. } = node.rig.explain(&query) else {
            panic!("{vip}")
        };
        assert!(pools.len() == 1 && pools[0].ready.len() == 1, "{pools:?}");
    }
    let web = Decision::proxy(0);
    let kernel = node.kernel();
    let mut samples = kernel.samples().unwrap();
    let wanted = Wanted {
        sources: Sources::ALL,
        reasons: 0,
        member_base: web.member_base(),
        members: 1,
        budget: u32::MAX,
        foreign: 0,
    };
    kernel.trace(Some(&wanted)).unwrap();
    for vip in ["192.0.2.10:8001", "192.0.2.10:81", "192.0.2.10:79", "192.0.2.10:80"] {
        node.send(&to(vip).frame(CLIENT, SYN, b""));
    }
    node.kernel().trace(None).unwrap();
    let shown = samples.recv().await.unwrap();
    let [one] = &shown[..] else { panic!("{shown:?}") };
    let sample = one.sample;
    assert_eq!((sample.service, sample.action, sample.reason), (web, PASS, 0));
    assert_eq!((sample.slot.0, sample.index), (0, 0), "it has none");
}
