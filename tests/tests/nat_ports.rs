//! Ports and tables of `nat`: who gets which port, when a flow has to give its own away, and what happens when there is
//! none. Time passes by making entries older.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::{BTreeMap, BTreeSet};

use lb_common::nat::{Phase, Translation};
use lb_common::service::protocol;
use lb_common::stats::DropReason;
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{DNS, FIRST, Flow, Node, REASONS, TCP_IDLE, TX, UDP_IDLE, WEB, WEB6, now, with_ports};
use lb_tests::packet::{ACK, FIN, RST, SYN};
use lb_tests::rig::{CLIENT, mac_of, stay_on_one_cpu};
use lb_user::model::NatSource;

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_of_nat_comes_about() {
    if gate::root() == Gate::Skip {
        return;
    }
    for reason in REASONS {
        match reason {
            DropReason::NatPorts => no_port_is_left().await,
            DropReason::NatTable => the_tables_are_full().await,
            DropReason::NatHeld => unknown_flows_are_held().await,
            other => panic!("{other:?} has no test"),
        }
    }
}

async fn no_port_is_left() {
    for flow in [WEB, WEB6, DNS] {
        // As few as there can be, as many as are tried one after the other, and more.
        for count in [1, 4, 48] {
            let mut node = Node::with(with_ports(count)).await;
            let there: BTreeSet<_> = (0..count)
                .map(|i| node.forwards(flow(1000 + i), SYN, b"").source.port())
                .collect();
            assert_eq!(there, (FIRST..FIRST + count).collect(), "each port once");
            for _ in 0..3 {
                node.drops(&flow(5000).frame(CLIENT, SYN, b""), DropReason::NatPorts);
            }
            assert_eq!(node.flows(), usize::from(count));
            // Those that have one go on.
            for i in 0..count {
                node.forwards(flow(1000 + i), ACK, b"");
            }
            let opened: u64 = node
                .rig
                .status()
                .services
                .iter()
                .map(|s| s.backends[0].counters.new_flows)
                .sum();
            assert_eq!(opened, u64::from(count));
        }
    }
}

async fn the_tables_are_full() {
    for flow in [WEB, WEB6, DNS] {
        let mut node = Node::with_table(with_ports(1000), 8).await;
        for i in 0..8 {
            node.forwards(flow(1000 + i), SYN, b"");
        }
        node.drops(&flow(5000).frame(CLIENT, SYN, b""), DropReason::NatTable);
        assert_eq!(node.flows(), 8);
        for i in 0..8 {
            node.forwards(flow(1000 + i), ACK, b"");
        }
        // A place that comes free is taken.
        let there = node.forwards(flow(1000), ACK, b"");
        node.ages(there, 200);
        assert_eq!(node.kernel().run_sweep(&[there.reversed().key()]).unwrap(), 1);
        node.forwards(flow(5000), SYN, b"");
        node.drops(&flow(5001).frame(CLIENT, SYN, b""), DropReason::NatTable);
        assert_eq!(node.flows(), 8);
    }
    // The table of flows alone: the lease goes again.
    let mut node = Node::with_table(with_ports(1000), 8).await;
    let there = node.forwards(WEB(1000), SYN, b"");
    let entry = node.flow(WEB(1000)).unwrap();
    for i in 1..8 {
        node.kernel().put_flow(&WEB(2000 + i).key(), Some(&entry)).unwrap();
    }
    node.drops(&WEB(5000).frame(CLIENT, SYN, b""), DropReason::NatTable);
    let leases = node.kernel().all_leases().unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].0, there.reversed().key());
}

async fn unknown_flows_are_held() {
    for (flow, backend) in [(WEB, "10.0.0.1"), (WEB6, "fd00::1")] {
        let mut node = Node::with(with_ports(1000)).await;
        let known = node.forwards(flow(1), SYN, b"");
        node.kernel().hold(true);
        for flags in [ACK, FIN | ACK, RST, SYN | ACK] {
            node.drops(&flow(2).frame(CLIENT, flags, b""), DropReason::NatHeld);
        }
        // From a backend, for a flow that may still come; from others as ever.
        let stray = Flow {
            source: known.source,
            destination: known.destination,
            ..known
        }
        .from_port(if known.source.port() == 20_999 { 20_998 } else { 20_999 });
        let from_backend = stray.reversed().frame(mac_of(backend.parse().unwrap()), ACK, b"");
        node.drops(&from_backend, DropReason::NatHeld);
        let mut other = stray.reversed();
        other.source.set_port(22);
        node.passes(&other.frame(CLIENT, ACK, b""));
        // What is known goes on, and what is new begins.
        node.answers(known, flow(1), SYN | ACK, b"");
        node.forwards(flow(1), ACK, b"");
        node.forwards(flow(3), SYN, b"");
        // The manager's own changes leave it held.
        lb_tests::rig::converge(&mut node.rig).await;
        node.drops(&flow(2).frame(CLIENT, ACK, b""), DropReason::NatHeld);
        node.kernel().hold(false);
        node.passes(&flow(2).frame(CLIENT, ACK, b""));
        node.passes(&from_backend);
    }
}

/// How old a flow of each phase must be before it gives its port to one that finds no other.
#[tokio::test(flavor = "multi_thread")]
async fn flows_yield_their_ports_when_they_are_old_enough() {
    if gate::root() == Gate::Skip {
        return;
    }
    // The clock may go on by a tick at any moment, so ages are tried below the limit with a tick to spare.
    let tcp = [
        (Phase::Closed, 0, 2),
        (Phase::Opening, 4, 6),
        (Phase::HalfClosed, 111, 113),
        (Phase::Established, TCP_IDLE - 1, TCP_IDLE + 1),
    ];
    for flow in [WEB, WEB6] {
        for (phase, young, old) in tcp {
            let mut node = Node::with(with_ports(3)).await;
            let there: Vec<_> = (1..=3).map(|port| node.forwards(flow(port), SYN, b"")).collect();
            for (there, port) in there.iter().zip(1..) {
                // The others are established and stay.
                let phase = if port == 2 { phase } else { Phase::Established };
                node.bring(flow(port), *there, phase);
            }
            node.ages(there[1], young);
            node.drops(&flow(5000).frame(CLIENT, SYN, b""), DropReason::NatPorts);
            node.ages(there[1], old);
            let new = node.forwards(flow(5000), SYN, b"");
            assert_eq!(new, there[1], "{phase:?}: its port");
            assert_eq!(node.flow(flow(2)), None, "{phase:?}: the old flow is gone");
            assert_eq!(node.flows(), 3);
            node.answers(new, flow(5000), SYN | ACK, b"");
            node.passes(&flow(2).frame(CLIENT, ACK, b""));
            node.drops(&flow(2).frame(CLIENT, SYN, b""), DropReason::NatPorts);
            node.bring(flow(1), there[0], Phase::Closed);
        }
    }
    for (answered, young, old) in [(false, 4, 6), (true, UDP_IDLE - 1, UDP_IDLE + 1)] {
        let mut node = Node::with(with_ports(1)).await;
        let there = node.forwards(DNS(1), 0, b"question");
        if answered {
            node.answers(there, DNS(1), 0, b"answer");
            node.forwards(DNS(1), 0, b"question");
        }
        node.ages(there, young);
        node.drops(&DNS(2).frame(CLIENT, 0, b""), DropReason::NatPorts);
        node.ages(there, old);
        assert_eq!(node.forwards(DNS(2), 0, b"question"), there);
        node.answers(there, DNS(2), 0, b"answer");
        node.drops(&DNS(1).frame(CLIENT, 0, b""), DropReason::NatPorts);
    }
}

/// Ports that backends keep in TIME-WAIT are taken last.
#[tokio::test(flavor = "multi_thread")]
async fn ports_in_time_wait_come_last() {
    const PORTS: u16 = 256;
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(with_ports(PORTS)).await;
    // Whose turn it is, each CPU knows for itself.
    stay_on_one_cpu();
    for client in 1..=PORTS {
        let flow = WEB(client);
        let there = node.forwards(flow, SYN, b"");
        node.bring(flow, there, Phase::Established);
        // Who closes first keeps the connection for a minute: backends those of even ports.
        if there.source.port().is_multiple_of(2) {
            node.answers(there, flow, FIN | ACK, b"");
            node.forwards(flow, FIN | ACK, b"");
        } else {
            node.forwards(flow, FIN | ACK, b"");
            node.answers(there, flow, FIN | ACK, b"");
        }
        node.ages(there, 2);
    }
    assert_eq!(node.flows(), usize::from(PORTS), "each has got a port that was free");
    // Of the 24 ports whose turn it is, 12 are odd. When those are taken, chance decides.
    for client in 0..11 {
        let flow = WEB(5000 + client);
        let there = node.forwards(flow, SYN, b"");
        assert_ne!(there.source.port() % 2, 0, "{there:?}");
        node.bring(flow, there, Phase::Established);
    }
}

/// Of few ports, the only one that can be had is found.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_port_is_found() {
    const PORTS: u16 = 48;
    if gate::root() == Gate::Skip {
        return;
    }
    for source in [NatSource::Auto, NatSource::Client] {
        let mut config = with_ports(PORTS);
        config.services[0].nat.source = source.clone();
        // Where the client's address is kept, its port is taken already, by a flow to another VIP.
        config.services[0].vips.push("192.0.2.10:81".parse().unwrap());
        let mut node = Node::with(config).await;
        if source == NatSource::Client {
            for port in 1..200 {
                let mut own = WEB(port);
                own.destination.set_port(81);
                let there = node.forwards(own, SYN, b"");
                node.bring(own, there, Phase::Established);
            }
        }
        let mut all: Vec<_> = (1..=PORTS)
            .map(|port| (WEB(port), node.forwards(WEB(port), SYN, b"")))
            .collect();
        for &(flow, there) in &all {
            node.bring(flow, there, Phase::Established);
        }
        node.drops(&WEB(199).frame(CLIENT, SYN, b""), DropReason::NatPorts);
        for (i, port) in (100..100 + PORTS).enumerate() {
            let (flow, there) = all[i * 13 % usize::from(PORTS)];
            node.bring(flow, there, Phase::Closed);
            node.ages(there, 2);
            assert_eq!(node.forwards(WEB(port), SYN, b""), there);
            node.bring(WEB(port), there, Phase::Established);
            all[i * 13 % usize::from(PORTS)] = (WEB(port), there);
        }
    }
}

/// While other ports are free, a closed flow keeps its own until it is over.
#[tokio::test(flavor = "multi_thread")]
async fn free_ports_come_first() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(with_ports(10)).await;
    let there = node.forwards(WEB(1), SYN, b"");
    node.bring(WEB(1), there, Phase::Closed);
    node.ages(there, 30);
    for port in 2..=10 {
        assert_ne!(node.forwards(WEB(port), SYN, b"").source, there.source);
    }
    assert_eq!(node.phase(there), Phase::Closed);
    assert_eq!(node.forwards(WEB(11), SYN, b"").source, there.source);
}

/// Where backends see the clients' own addresses: the client's port, where nobody has it; else one of the range.
#[tokio::test(flavor = "multi_thread")]
async fn ports_beside_clients_own_run_out_too() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut config = with_ports(2);
    let other = "192.0.2.10:81".parse().unwrap();
    let more = (82..85).map(|port| std::net::SocketAddr::new([192, 0, 2, 10].into(), port));
    let service = &mut config.services[0];
    service.nat.source = NatSource::Client;
    service.vips.push(other);
    service.vips.extend(more.map(lb_user::model::Vip::from));
    let mut node = Node::with(config).await;
    let to = |port: u16| {
        let mut flow = WEB(4000);
        flow.destination.set_port(port);
        flow
    };
    let mut ports: Vec<_> = (80..83).map(|vip| node.forwards(to(vip), SYN, b"").source).collect();
    assert!(ports.iter().all(|source| source.ip() == to(80).source.ip()));
    assert_eq!(ports.remove(0).port(), 4000);
    ports.sort_unstable();
    assert_eq!(
        ports.iter().map(std::net::SocketAddr::port).collect::<Vec<_>>(),
        [FIRST, FIRST + 1]
    );
    node.drops(&to(83).frame(CLIENT, SYN, b""), DropReason::NatPorts);
    // Another client's ports are others.
    let another = Flow::tcp("198.51.100.8:4000", "192.0.2.10:83");
    assert_eq!(node.forwards(another, SYN, b"").source, another.source);
    // The client's own port yields as well.
    let own = node.forwards(to(80), RST, b"");
    node.ages(own, 2);
    assert_eq!(node.forwards(to(83), SYN, b""), own);
    assert_eq!(node.flow(to(80)), None);
}

/// Opens, closes and ages flows at random, and foretells what each SYN comes to from what the tables hold.
#[tokio::test(flavor = "multi_thread")]
async fn no_port_is_given_twice() {
    const PORTS: u16 = 6;
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(with_ports(PORTS)).await;
    // Whose turn it is, each CPU knows for itself.
    stay_on_one_cpu();
    // xorshift64*, so that a failure can be repeated.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |end: u64| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 20) % end
    };
    // The flow that has each port, by what came out.
    let mut holders: BTreeMap<u16, Flow> = BTreeMap::new();
    let (mut full, mut yielded, mut reopened) = (0, 0, 0);
    for _ in 0..3_000 {
        let flow = WEB(1000 + below(12) as u16);
        let leases: BTreeMap<u16, Translation> = node
            .kernel()
            .all_leases()
            .unwrap()
            .into_iter()
            .map(|(key, lease)| (key.ports.destination.host(), lease))
            .collect();
        let held = node.flow(flow).map(|entry| entry.ports.source.host());
        let there = |port: u16| Flow {
            source: std::net::SocketAddr::new([10, 0, 0, 254].into(), port),
            destination: "10.0.0.1:8080".parse().unwrap(),
            ..flow
        };
        match (below(10), held) {
            (0..4, _) => {
                let before = now();
                let (action, output) = node.send(&flow.frame(CLIENT, SYN, b""));
                let got = (action == TX).then(|| Flow::read(&output).source.port());
                if before != now() {
                    // Nobody can say by which tick the program has judged.
                } else {
                    let judged = |lease: &Translation| (lease.stamp, u32::from(protocol::TCP), lease.idle);
                    let is_over = |lease: &Translation| {
                        let (stamp, protocol, idle) = judged(lease);
                        stamp.is_over(protocol, idle, before)
                    };
                    let yields = |lease: &Translation| {
                        let (stamp, protocol, idle) = judged(lease);
                        stamp.may_yield(protocol, idle, before)
                    };
                    let lives = held.filter(|port| {
                        let lease = &leases[port];
                        !is_over(lease) && lease.stamp.phase() != Phase::Closed
                    });
                    // A closed flow's own port comes free before another is looked for.
                    let free: BTreeSet<u16> = (FIRST..FIRST + PORTS)
                        .filter(|port| leases.get(port).is_none_or(is_over) || held == Some(*port))
                        .collect();
                    let spare: BTreeSet<u16> = leases.iter().filter(|(_, l)| yields(l)).map(|(&p, _)| p).collect();
                    match (lives, got) {
                        (Some(port), got) => assert_eq!(got, Some(port), "it lives"),
                        (None, Some(port)) if !free.is_empty() => {
                            assert!(free.contains(&port), "{port} and not of {free:?}");
                            reopened += u32::from(held.is_some());
                        }
                        (None, Some(port)) => {
                            assert!(spare.contains(&port), "{port} was not to be had");
                            yielded += 1;
                        }
                        (None, None) => {
                            assert!(free.is_empty() && spare.is_empty(), "{free:?} {spare:?}");
                            full += 1;
                        }
                    }
                }
                holders.retain(|_, holder| *holder != flow);
                if let Some(port) = got {
                    holders.insert(port, flow);
                }
            }
            (_, None) => {}
            (4, Some(port)) => node.answers(there(port), flow, SYN | ACK, b""),
            (5, Some(port)) => node.answers(there(port), flow, FIN | ACK, b""),
            (6, Some(port)) if below(3) == 0 => node.answers(there(port), flow, RST, b""),
            (7, Some(port)) => {
                let ages = [1, 2, 3, 5, 7, 20, 60, 120, TCP_IDLE + 1];
                node.ages(there(port), ages[below(ages.len() as u64) as usize]);
            }
            (other, Some(port)) => {
                let flags = if other == 8 { FIN | ACK } else { ACK };
                let (action, output) = node.send(&flow.frame(CLIENT, flags, b""));
                if action == TX {
                    assert_eq!(Flow::read(&output), there(port));
                } else {
                    assert_eq!(node.flow(flow), None, "only what is over passes");
                    holders.remove(&port);
                }
            }
        }
        for (port, holder) in &holders {
            let entry = node.flow(*holder).unwrap();
            assert_eq!(entry.ports.source.host(), *port, "{holder:?}");
        }
        assert_eq!(node.flows(), holders.len());
    }
    assert!(full > 50 && yielded > 3 && reopened > 30, "{full} {yielded} {reopened}");
}
