//! Flows of `nat` as the reconciler sees them: their sources stay, they are counted, found again, and refused aloud.

use lb_common::addr::Ipv6Be;
use lb_common::flow::Ports;
use lb_common::nat::{NatKey, Phase, Stamp, Translation};
use lb_common::service::feature;

use super::*;
use crate::model::status::{KnownFlow, NatFlows};

const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 254));

fn nat() -> String {
    ONE.replace("\"dsr\"", "\"nat\"")
}

fn sources(reconciler: &Reconciler<Fake, Node>) -> Vec<IpAddr> {
    reconciler.carried.placement.target.sources().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_stays_as_long_as_flows_have_it() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(&nat()), SEED);
    assert!(reconciler.converge().await);
    assert_eq!(sources(&reconciler), [SOURCE]);
    reconciler.dataplane.usage.sources.insert(SOURCE);
    let floating = nat().replace(
        "table-size",
        "nat = { source = \"192.0.2.10\", ports = \"30000-30009\" }\ntable-size",
    );
    for toml in [&floating, ONE] {
        reconciler.facts.reconfigure(config(toml));
        assert!(reconciler.converge().await);
        assert!(sources(&reconciler).contains(&SOURCE), "{toml}");
    }
    // The next look after the last flow has ended takes it away.
    reconciler.dataplane.usage.sources.clear();
    reconciler.installed = None;
    assert!(reconciler.converge().await);
    assert_eq!(sources(&reconciler), [] as [IpAddr; 0]);
    assert_eq!(
        reconciler.dataplane.installed().unwrap(),
        reconciler.carried.placement.target
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_stays_while_the_way_is_not_known_and_goes_with_the_service() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(&nat()), SEED);
    assert!(reconciler.converge().await);
    for last in 1..=3 {
        let host = [10, 0, 0, last].into();
        let lost = NextHopState::Unresolved("no way".into());
        reconciler.facts.route(host, lost);
    }
    for _ in 0..2 {
        assert!(reconciler.converge().await);
        assert_eq!(sources(&reconciler), [SOURCE]);
        reconciler.installed = None;
    }
    reconciler.facts.reconfigure(config(ONE));
    assert!(reconciler.converge().await);
    assert_eq!(sources(&reconciler), [] as [IpAddr; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_clients_themselves_are_known_as_long_as_flows_have_them() {
    let keeps = nat().replace("table-size", "nat = { source = \"client\" }\ntable-size");
    let mut reconciler = attached(Fake::default(), Node::default(), well(&keeps), SEED);
    let known = |reconciler: &Reconciler<Fake, Node>| reconciler.dataplane.installed().unwrap().features;
    assert!(reconciler.converge().await);
    assert_eq!(known(&reconciler), feature::CLIENT_SOURCE);
    reconciler.dataplane.usage.clients = true;
    reconciler.facts.reconfigure(config(&nat()));
    assert!(reconciler.converge().await);
    assert_eq!(known(&reconciler), feature::CLIENT_SOURCE);
    reconciler.dataplane.usage.clients = false;
    reconciler.installed = None;
    assert!(reconciler.converge().await);
    assert_eq!(known(&reconciler), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_is_known_is_explained_by_its_entry() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(&nat()), SEED);
    assert!(reconciler.converge().await);
    let flow = FlowQuery {
        protocol: Protocol::Tcp,
        source: "198.51.100.1:40000".parse().unwrap(),
        destination: "192.0.2.10:80".parse().unwrap(),
    };
    let Explanation::Forwarded {
        address, known: None, ..
    } = reconciler.explain(&flow)
    else {
        panic!("a new flow");
    };
    // It was opened when another backend had its slot.
    let other: std::net::SocketAddr = if address == "10.0.0.1:80".parse().unwrap() {
        "10.0.0.2:80".parse().unwrap()
    } else {
        "10.0.0.1:80".parse().unwrap()
    };
    let ports = |source: u16, destination: u16| Ports {
        source: lb_common::addr::PortBe::new(source),
        destination: lb_common::addr::PortBe::new(destination),
    };
    let key = NatKey {
        source: Ipv6Be::mapped(flow.source.ip()),
        destination: Ipv6Be::mapped(flow.destination.ip()),
        ports: ports(40000, 80),
        protocol: 6,
    };
    let mut translation = Translation {
        stamp: Stamp::opened(7),
        source: Ipv6Be::mapped(SOURCE),
        destination: Ipv6Be::mapped(other.ip()),
        ports: ports(20001, 80),
        // Not where its member lies: it has moved.
        member: lb_common::id::MemberId(4711),
        client: MacFlags::default(),
        local: MacFlags::default(),
        interface: 3,
        idle: 100,
        ip_delta: 0,
        l4_delta: 0,
        pad: [0; 4],
    };
    reconciler.dataplane.flows.insert(key, translation);
    match reconciler.explain(&flow) {
        Explanation::Forwarded { address, known, .. } => {
            assert_eq!(address, other);
            let source = (SOURCE, 20001).into();
            let phase = Phase::Opening;
            assert_eq!(known, Some(KnownFlow { source, phase }));
        }
        explanation => panic!("{explanation:?}"),
    }
    // A backend that is no more: its flow goes where a new one would.
    translation.destination = Ipv6Be::mapped([10, 0, 0, 9].into());
    reconciler.dataplane.flows.insert(key, translation);
    assert!(matches!(
        reconciler.explain(&flow),
        Explanation::Forwarded { known: None, .. }
    ));
    // The source is no VIP, although the maps know it.
    let to_source = FlowQuery {
        destination: (SOURCE, 22).into(),
        ..flow
    };
    assert_eq!(reconciler.explain(&to_source), Explanation::NotAVip { address: SOURCE });
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_counted_by_backend() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(&nat()), SEED);
    assert!(reconciler.converge().await);
    let id = reconciler.carried.placement.members[0][&"10.0.0.2:80".parse().unwrap()];
    let flows = NatFlows {
        established: 3,
        ..NatFlows::default()
    };
    reconciler.dataplane.usage.flows.insert(id, flows);
    reconciler.sweep();
    let backends = &reconciler.status().services[0].backends;
    let counted: Vec<_> = backends.iter().map(|b| b.nat.unwrap().flows.ports()).collect();
    assert_eq!(counted, [0, 3, 0]);
    assert_eq!(backends[1].nat.unwrap().source, Some(SOURCE));
    reconciler.facts.reconfigure(config(ONE));
    assert!(reconciler.converge().await);
    assert_eq!(reconciler.status().services[0].backends[1].nat, None);
}
