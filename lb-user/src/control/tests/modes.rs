//! What modes and ports make of the same backends.

use lb_common::backend::Outer;

use super::*;
use crate::model::Tunnel;

fn routed(last: u8) -> NextHopState {
    let NextHopState::Resolved(hop) = hop(last, 3) else {
        unreachable!()
    };
    NextHopState::Resolved(NextHop {
        router: Some([10, 0, 0, 254].into()),
        mtu: 1400,
        ..hop
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_goes_through_a_router() {
    let mut facts = well(&ONE.replace("\"dsr\"", "\"tunnel\""));
    facts.route([10, 0, 0, 1].into(), routed(1));
    let mut reconciler = attached(Fake::default(), Node::default(), facts, SEED);
    assert!(reconciler.converge().await);
    assert!(slots(&reconciler).iter().all(|&n| n >= 85));
    let placement = &reconciler.carried.placement;
    let id = placement.members[0][&"10.0.0.1:80".parse().unwrap()];
    let member = placement.target.members[&id];
    let Outer { mtu, varied, .. } = member.outer();
    assert_eq!((mtu, varied), (1400, 16));
    assert_eq!(member.source.to_ip(), IpAddr::from([172, 16, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_on_many_ports_are_reported_as_others() {
    let many = ONE
        .replace("192.0.2.10:80", "192.0.2.10:79-82")
        .replace("192.0.2.20:80", "192.0.2.20:*");
    let exact = "[[service]]\nname = \"one\"\naddress = \"192.0.2.10:79\"\nmode = \"dsr\"\n";
    let config = config(&format!("{many}{exact}"));
    let mut reconciler = attached(Fake::default(), Node::default(), well(&many), SEED);
    reconciler.facts.reconfigure(Arc::clone(&config));
    assert!(reconciler.converge().await);
    let status = reconciler.status();
    let vips: Vec<String> = status.services[0].vips.iter().map(|v| v.address.to_string()).collect();
    assert_eq!(vips, ["192.0.2.10:79-82", "192.0.2.20:*"]);
    assert!(status.services[0].vips.iter().all(|vip| vip.exclusive));
    assert_eq!(
        status.services[0].backends.iter().map(|b| b.slots).sum::<u32>(),
        256,
        "those of its own ring, whoever has its first port"
    );
    let at = |address: &str| {
        config
            .service_at(Protocol::Tcp, address.parse().unwrap())
            .map(|s| &*s.name)
    };
    assert_eq!(at("192.0.2.10:79"), Some("one"));
    assert_eq!(at("192.0.2.10:82"), Some("web"));
    assert_eq!(at("192.0.2.10:83"), None);
    assert_eq!(at("192.0.2.20:1"), Some("web"));
    assert_eq!(config.service_at(Protocol::Udp, "192.0.2.20:1".parse().unwrap()), None);
}

/// The ways that probes take: of services that ask for it, and no others.
#[test]
fn paths_are_those_of_the_packets() {
    let via = |mode: &str| {
        let health = "[service.health]\nkind = \"tcp\"\nvia = \"service\"\n[[service.backend]]";
        let one = ONE.replace("\"dsr\"", &format!("\"{mode}\""));
        let other = "[[service]]\nname = \"other\"\naddress = \"192.0.2.30:80\"\nmode = \"dsr\"\n[[service.backend]]\naddress \
                     = \"10.0.0.1:80\"\n";
        well(&format!("{}{other}", one.replacen("[[service.backend]]", health, 1)))
    };
    let key = |last: u8| MemberKey {
        service: "web".into(),
        backend: ([10, 0, 0, last], 80).into(),
    };
    let mut facts = via("dsr");
    facts.interfaces.insert(3, "eth0".into());
    facts.route([10, 0, 0, 1].into(), hop(1, 3));
    facts.route([10, 0, 0, 2].into(), routed(2));
    let paths = facts.paths();
    assert_eq!(paths.len(), 3);
    let vip = |last| IpAddr::from([192, 0, 2, last]);
    let path = &paths[&key(1)];
    assert_eq!((&path.vips[..], path.tunnel), (&[vip(10), vip(20)][..], None));
    assert_eq!(path.next_hop, hop(1, 3));
    assert_eq!(*path.not_sources, BTreeSet::from([vip(10), vip(20), vip(30)]));
    assert!(
        matches!(&paths[&key(2)].next_hop, NextHopState::Unresolved(why) if why.contains("behind router")),
        "where no packet goes, no probe does"
    );
    let tunnel = via("tunnel");
    assert_eq!(tunnel.paths()[&key(1)].tunnel, Some(Tunnel::default()));
    assert!(via("nat").paths().is_empty(), "its packets are the node's own");
    assert!(well(ONE).paths().is_empty());
    let unknown = Facts::new(Arc::clone(&tunnel.config)).paths();
    assert!(matches!(unknown[&key(1)].next_hop, NextHopState::Pending(_)));
}
