//! `nat` while backends come, go, move and fail, and what backends see as the client.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_common::addr::Mac;
use lb_common::backend::MacFlags;
use lb_common::id::MemberId;
use lb_common::nat::{Phase, Stamp};
use lb_common::stats::DropReason;
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{Flow, Node, TX};
use lb_tests::packet::{self, ACK, RST, SYN};
use lb_tests::rig::{CLIENT, NODE, config, converge, judge, mac_of, own_address, reconfigure};
use lb_tests::toml::{self, service};
use lb_user::dataplane::Dataplane as _;
use lb_user::model::{AdminState, Config, Health, NatSource, NextHopState, Service};
use lb_user::plan::MapOp;

/// A service with these backends.
fn nat(name: &str, vip: &str, backends: impl Iterator<Item = String>) -> toml::Service {
    service(name, "nat", &[vip]).backends(backends)
}

/// Backends `10.0.net.1` and up.
fn v4(net: u8, count: u8) -> impl Iterator<Item = String> {
    (1..=count).map(move |i| format!("10.0.{net}.{i}:8080"))
}

/// Backends `fd00:net::1` and up.
fn v6(net: u8, count: u8) -> impl Iterator<Item = String> {
    (1..=count).map(move |i| format!("[fd00:{net}::{i:x}]:8080"))
}

/// Two services of each family with so many backends.
fn services(first: u8, second: u8) -> Config {
    on([1, 2], [first, second])
}

/// Two services of each family with so many backends in these networks.
fn on(nets: [u8; 2], counts: [u8; 2]) -> Config {
    let ([first, second], [a, b]) = (nets, counts);
    config(&toml::file([
        nat("a", "192.0.2.10:80", v4(first, a)),
        nat("b", "192.0.2.11:80", v4(second, b)),
        nat("a6", "[2001:db8::10]:80", v6(first, a)),
        nat("b6", "[2001:db8::11]:80", v6(second, b)),
    ]))
}

/// Clients of all four.
const FLOWS: [fn(u16) -> Flow; 4] = [
    |port| Flow::tcp("198.51.100.7:1", "192.0.2.10:80").from_port(port),
    |port| Flow::tcp("198.51.100.7:1", "192.0.2.11:80").from_port(port),
    |port| Flow::tcp("[2001:db8:1::7]:1", "[2001:db8::10]:80").from_port(port),
    |port| Flow::tcp("[2001:db8:1::7]:1", "[2001:db8::11]:80").from_port(port),
];

/// So many established flows of each service.
fn establish(node: &mut Node, count: u16) -> Vec<(Flow, Flow)> {
    let flows = FLOWS.iter().flat_map(|flow| (0..count).map(move |i| flow(1000 + i)));
    flows
        .map(|flow| {
            let there = node.forwards(flow, SYN, b"");
            node.answers(there, flow, SYN | ACK, b"");
            node.forwards(flow, ACK, b"");
            (flow, there)
        })
        .collect()
}

/// Every one of these flows goes on, both ways.
#[track_caller]
fn go_on(node: &mut Node, flows: &[(Flow, Flow)]) {
    for &(flow, there) in flows {
        assert_eq!(node.forwards(flow, ACK, b"data"), there);
        node.answers(there, flow, ACK, b"data");
        assert_eq!(node.phase(there), Phase::Established);
    }
}

fn ids(node: &mut Node) -> BTreeSet<(MemberId, SocketAddr)> {
    let members = node.kernel().installed().unwrap().members;
    let address = |m: &lb_common::backend::Member| SocketAddr::new(m.address.to_ip(), m.port.host());
    members.iter().map(|(&id, member)| (id, address(member))).collect()
}

fn total(node: &Node) -> (u64, u64) {
    let status = node.rig.status();
    let counters = status.services.iter().flat_map(|s| &s.backends).map(|b| b.counters);
    counters.fold((0, 0), |(there, back), c| (there + c.packets, back + c.reply_packets))
}

/// The first service outgrows its region and moves, since the second one's lies behind it; then that one takes the
/// place where the first was.
#[tokio::test(flavor = "multi_thread")]
async fn flows_find_members_that_have_moved() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(services(10, 10)).await;
    let flows = establish(&mut node, 40);
    let before = ids(&mut node);
    reconfigure(&mut node.rig, services(20, 10)).await;
    let moved = ids(&mut node);
    assert!(
        before.difference(&moved).count() >= 20,
        "members of two services have moved"
    );
    reconfigure(&mut node.rig, services(20, 40)).await;
    assert!(moved.difference(&ids(&mut node)).count() >= 10, "so have others");
    // Counters began anew where members moved; from here on each packet counts where its backend is.
    let count = |node: &Node, there: Flow, flow: Flow| {
        let name = ["a", "b", "a6", "b6"][FLOWS.iter().position(|f| f(flow.source.port()) == flow).unwrap()];
        node.counters(name, there.destination)
    };
    for &(flow, there) in &flows {
        let (old, all) = (count(&node, there, flow), total(&node));
        assert_eq!(node.forwards(flow, ACK, b"data"), there);
        node.answers(there, flow, ACK, b"data");
        let new = count(&node, there, flow);
        assert_eq!(
            (new.packets, new.reply_packets),
            (old.packets + 1, old.reply_packets + 1),
            "{there:?}"
        );
        assert_eq!(new.new_flows, old.new_flows);
        assert_eq!(total(&node), (all.0 + 1, all.1 + 1), "and nowhere else");
    }
    go_on(&mut node, &flows);
    assert_eq!(node.flows(), flows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_backends_that_leave_the_file_go_on_while_those_drain() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(services(3, 3)).await;
    let flows = establish(&mut node, 30);
    reconfigure(&mut node.rig, services(1, 3)).await;
    let gone = |there: &Flow| {
        let last = |ip: IpAddr| mac_of(ip).0[5];
        let of_first = match there.destination.ip() {
            IpAddr::V4(ip) => ip.octets()[2] == 1,
            IpAddr::V6(ip) => ip.segments()[1] == 1,
        };
        of_first && last(there.destination.ip()) > 1
    };
    let (gone, stay): (Vec<_>, Vec<_>) = flows.into_iter().partition(|(_, there)| gone(there));
    assert!(gone.len() > 20);
    go_on(&mut node, &gone);
    // A client that opens its connection anew gets a backend that has stayed.
    for &(flow, _) in &gone {
        node.forwards(flow, RST, b"");
        let again = node.forwards(flow, SYN, b"");
        assert_eq!(mac_of(again.destination.ip()).0[5], 1);
    }
    go_on(&mut node, &stay);
}

/// The service `name` of what is in force, and its backend number `i`.
async fn health(node: &mut Node, name: &str, i: usize, health: Health) {
    let config = node.rig.facts().config.clone();
    let service: &Service = config.services.iter().find(|s| *s.name == *name).unwrap();
    judge(&mut node.rig, service, &service.backends[i], health);
    converge(&mut node.rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_a_dead_backend_are_reset_by_the_kernel() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(services(3, 3)).await;
    let flows = establish(&mut node, 30);
    for name in ["a", "a6"] {
        health(&mut node, name, 1, Health::Down).await;
    }
    let dead: [IpAddr; 2] = ["10.0.1.2".parse().unwrap(), "fd00:1::2".parse().unwrap()];
    let (cut, stay): (Vec<_>, Vec<_>) = flows
        .into_iter()
        .partition(|(_, there)| dead.contains(&there.destination.ip()));
    assert!(cut.len() > 5);
    for (number, &(flow, there)) in cut.iter().enumerate() {
        // What the backend had still sent arrives.
        node.answers(there, flow, ACK, b"last words");
        if number % 2 == 0 {
            node.passes(&flow.frame(CLIENT, ACK, b"data"));
            assert_eq!((node.flow(flow), node.lease(there)), (None, None));
            node.passes(&there.reversed().frame(CLIENT, ACK, b"data"));
        }
        let again = node.forwards(flow, SYN, b"");
        assert!(!dead.contains(&again.destination.ip()));
        node.answers(again, flow, SYN | ACK, b"");
        assert_eq!(node.lease(there), None);
    }
    go_on(&mut node, &stay);
    node.flows();
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_of_a_draining_backend_stay() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(services(3, 3)).await;
    let flows = establish(&mut node, 30);
    let mut config = services(3, 3);
    for service in &mut config.services {
        service.backends[1].state = AdminState::Drain;
    }
    reconfigure(&mut node.rig, config.clone()).await;
    go_on(&mut node, &flows);
    let drains: Vec<SocketAddr> = config.services.iter().map(|s| s.backends[1].address).collect();
    assert!(flows.iter().any(|(_, there)| drains.contains(&there.destination)));
    for flow in FLOWS {
        for port in 5000..5040 {
            let there = node.forwards(flow(port), SYN, b"");
            assert!(!drains.contains(&there.destination));
        }
    }
    // Disabled, it serves nobody.
    for service in &mut config.services {
        service.backends[1].state = AdminState::Disabled;
    }
    reconfigure(&mut node.rig, config).await;
    for &(flow, there) in &flows {
        if drains.contains(&there.destination) {
            node.passes(&flow.frame(CLIENT, ACK, b"data"));
        } else {
            go_on(&mut node, &[(flow, there)]);
        }
    }
}

/// While nobody knows the way to a backend, its flows wait; known again, they go on.
#[tokio::test(flavor = "multi_thread")]
async fn flows_wait_for_their_next_hop() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(services(2, 2)).await;
    let flows = establish(&mut node, 10);
    for host in ["10.0.1.1", "10.0.1.2", "fd00:1::1", "fd00:1::2"] {
        let lost = NextHopState::Unresolved("gone".to_owned());
        node.rig.facts_mut().route(host.parse().unwrap(), lost);
    }
    converge(&mut node.rig).await;
    let (lost, stay): (Vec<_>, Vec<_>) = flows.iter().partition(|(flow, _)| {
        [FLOWS[0](1), FLOWS[2](1)]
            .iter()
            .any(|f| f.destination == flow.destination)
    });
    assert_eq!((lost.len(), stay.len()), (20, 20));
    for &(flow, _) in &lost {
        node.drops(&flow.frame(CLIENT, ACK, b"data"), DropReason::Unresolved);
    }
    go_on(&mut node, &stay);
    reconfigure(&mut node.rig, services(2, 2)).await;
    go_on(&mut node, &flows);
    // A ring that still leads to such a member: no state is made.
    let members = node.kernel().installed().unwrap().members;
    for (id, mut member) in members {
        member.next_hop = MacFlags::new(member.next_hop.mac(), MacFlags::ALIVE);
        node.kernel().apply(&MapOp::PutMember(id, member)).unwrap();
    }
    let known = node.flows();
    for flow in FLOWS {
        node.drops(&flow(9).frame(CLIENT, SYN, b""), DropReason::Unresolved);
        node.drops(&flow(1000).frame(CLIENT, ACK, b""), DropReason::Unresolved);
    }
    assert_eq!(node.flows(), known);
}

/// A way that changes is taken by the flows there are.
#[tokio::test(flavor = "multi_thread")]
async fn flows_take_the_new_way() {
    const ROUTER: Mac = Mac([2, 0, 0, 0, 1, 0x77]);
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(services(2, 2)).await;
    let flows = establish(&mut node, 5);
    let members = node.kernel().installed().unwrap().members;
    for (id, mut member) in members {
        member.next_hop = MacFlags::new(ROUTER, member.next_hop.flags());
        node.kernel().apply(&MapOp::PutMember(id, member)).unwrap();
    }
    for &(flow, there) in &flows {
        let sent = node.send(&flow.frame(CLIENT, ACK, b"x"));
        assert_eq!(sent, (TX, packet::frame(ROUTER, NODE, &there.packet(ACK, b"x"))));
    }
}

/// Two services, of each family, whose only backend is the same.
fn shared_backend(source: &NatSource) -> Config {
    let mut config = on([1, 1], [1, 1]);
    for service in &mut config.services {
        service.nat.source = source.clone();
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_see_clients_where_they_shall() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(shared_backend(&NatSource::Client)).await;
    for (first, second) in [(FLOWS[0], FLOWS[1]), (FLOWS[2], FLOWS[3])] {
        let (a, b) = (first(4000), second(4000));
        let (there_a, there_b) = (node.forwards(a, SYN, b""), node.forwards(b, SYN, b""));
        assert_eq!(there_a.source, a.source);
        assert_eq!(there_b.source.ip(), b.source.ip());
        assert!((20_000..30_000).contains(&there_b.source.port()), "{there_b:?}");
        // Each answer seems to come from the right VIP.
        node.answers(there_a, a, SYN | ACK, b"");
        node.answers(there_b, b, SYN | ACK, b"");
        assert_eq!(node.forwards(a, ACK, b"x"), there_a);
        assert_eq!(node.forwards(b, ACK, b"y"), there_b);
        // The other way round, for another client's port.
        let (b, a) = (second(4001), first(4001));
        assert_eq!(node.forwards(b, SYN, b"").source, b.source);
        assert_ne!(node.forwards(a, SYN, b"").source.port(), 4001);
    }
    // What merely passes by.
    for flow in FLOWS {
        let backend = if flow(1).source.is_ipv4() {
            "10.0.1.1:8080"
        } else {
            "[fd00:1::1]:8080"
        };
        let backend: SocketAddr = backend.parse().unwrap();
        let to_others = Flow {
            source: backend,
            destination: SocketAddr::new(flow(1).source.ip(), 999),
            ..flow(1)
        };
        for by in [to_others, to_others.reversed()] {
            for flags in [SYN, SYN | ACK, ACK] {
                node.passes(&by.frame(CLIENT, flags, b"x"));
                node.passes(&packet::frame(
                    Mac([2, 0, 0, 0, 0, 0xee]),
                    CLIENT,
                    &by.packet(flags, b"x"),
                ));
            }
        }
        // To the node itself.
        let to_node = Flow {
            destination: SocketAddr::new(own_address(backend.ip()), 22),
            ..flow(1)
        };
        node.passes(&to_node.frame(CLIENT, SYN, b""));
    }
    assert_eq!(node.flows(), 8);
}

/// Floating addresses: on no interface, and one of them a VIP.
#[tokio::test(flavor = "multi_thread")]
async fn sources_may_float() {
    if gate::root() == Gate::Skip {
        return;
    }
    for sources in [["10.0.0.250", "fd00::250"], ["192.0.2.10", "2001:db8::10"]] {
        let addresses: Vec<IpAddr> = sources.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut node = Node::with(shared_backend(&NatSource::Floating(addresses.clone()))).await;
        let flows = establish(&mut node, 5);
        for (flow, there) in &flows {
            let of_family = addresses.iter().find(|ip| ip.is_ipv4() == flow.source.is_ipv4());
            assert_eq!(there.source.ip(), *of_family.unwrap());
        }
        let ports: BTreeSet<_> = flows.iter().map(|(_, there)| there.source).collect();
        assert_eq!(ports.len(), flows.len());
        go_on(&mut node, &flows);
        // Of no flow: the kernel's, or a VIP's own way with ports that nobody declares.
        for ip in addresses {
            let backend = if ip.is_ipv4() {
                "10.0.1.1:8080"
            } else {
                "[fd00:1::1]:8080"
            };
            let mut stray = Flow::tcp(backend, backend);
            stray.destination = SocketAddr::new(ip, 29_999);
            let frame = stray.frame(CLIENT, ACK, b"");
            if sources[0] == "192.0.2.10" {
                node.drops(&frame, DropReason::Undeclared);
            } else {
                node.passes(&frame);
            }
        }
    }
}

/// Of services that share a backend, one may not want it any more: flows of the other go on, also after a move.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_backend_serves_whom_it_serves() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(shared_backend(&NatSource::Auto)).await;
    let flows = establish(&mut node, 5);
    let mut config = shared_backend(&NatSource::Auto);
    // Others come: both services of each family outgrow their regions.
    for service in &mut config.services {
        let more = services(20, 20)
            .services
            .into_iter()
            .find(|s| s.name == service.name)
            .unwrap();
        service
            .backends
            .extend(more.backends.into_iter().filter(|b| mac_of(b.address.ip()).0[5] > 1));
    }
    for first in [0, 2] {
        config.services[first].backends[0].state = AdminState::Disabled;
    }
    reconfigure(&mut node.rig, config).await;
    let of_others: Vec<_> = flows
        .into_iter()
        .filter(|(flow, _)| {
            [FLOWS[1](1), FLOWS[3](1)]
                .iter()
                .any(|f| f.destination == flow.destination)
        })
        .collect();
    assert_eq!(of_others.len(), 10);
    go_on(&mut node, &of_others);
}

/// What was a backend may become a VIP, and what was a source, too.
#[tokio::test(flavor = "multi_thread")]
async fn backends_and_sources_may_become_vips() {
    if gate::root() == Gate::Skip {
        return;
    }
    let floating = NatSource::Floating(vec!["10.0.0.250".parse().unwrap(), "fd00::250".parse().unwrap()]);
    let mut config = services(3, 3);
    for service in &mut config.services {
        service.nat.source = floating.clone();
    }
    let mut node = Node::with(config.clone()).await;
    let flows = establish(&mut node, 20);
    let installed = ids(&mut node);
    let mut more = services(2, 0).services;
    more.truncate(1);
    more[0].name = "c".into();
    more[0].vips = vec!["10.0.1.2:8080".parse().unwrap(), "10.0.0.250:80".parse().unwrap()];
    more[0].backends[1].address = "10.0.3.7:80".parse().unwrap();
    config.services.extend(more);
    reconfigure(&mut node.rig, config).await;
    assert!(installed.is_subset(&ids(&mut node)), "others stay where they are");
    go_on(&mut node, &flows);
    let status = node.rig.status();
    let vips = &status.services.last().unwrap().vips;
    assert!(vips.iter().all(|vip| vip.exclusive), "Fulcrum puts both on the node");
}

/// Entries hold what is said of them, for those who read them.
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_each_others_reverse() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(services(3, 3)).await;
    let flows = establish(&mut node, 3);
    let installed = node.kernel().installed().unwrap();
    for (flow, there) in flows {
        let (entry, lease) = (node.flow(flow).unwrap(), node.lease(there).unwrap());
        let protocol = flow.key().protocol;
        assert_eq!(
            (entry.made(protocol), entry.other(protocol)),
            (there.key(), there.reversed().key())
        );
        assert_eq!(
            (lease.made(protocol), lease.other(protocol)),
            (flow.reversed().key(), flow.key())
        );
        assert_eq!(installed.members[&entry.member].address.to_ip(), there.destination.ip());
        for each in [entry, lease] {
            assert_eq!(
                (each.client, each.local),
                (MacFlags::new(CLIENT, 0), MacFlags::new(NODE, 0))
            );
            assert_eq!((each.interface, each.member, each.idle), (1, entry.member, 7_544));
            assert_ne!(each.stamp, Stamp::default());
        }
    }
}
