//! New connections that the node takes itself while an authority may come.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use lb_common::select;

use super::*;

const CHALLENGED: Offered = Offered {
    number: 3,
    challenged: true,
};

fn steering(mode: &str, balance: &str) -> String {
    let said = format!("mode = \"{mode}\"\nbalance = \"{balance}\"\nsteer-challenges = true");
    ONE.replace("mode = \"dsr\"", &said)
}

/// How many slots lead to the node, and how many to backends.
fn led(reconciler: &mut Reconciler<Fake, Node>) -> (usize, usize) {
    let snapshot = reconciler.dataplane.installed().unwrap();
    let decision = *snapshot
        .entries
        .values()
        .find(|decision| decision.is_balanced())
        .unwrap();
    let tables = reconciler.dataplane.tables();
    let slots = snapshot.rings[&decision.ring_block()].slots.iter();
    let (mut node, mut backends) = (0, 0);
    for slot in slots {
        let chosen = select::member(tables, decision, slot.current()).unwrap_or_else(|reason| panic!("{reason:?}"));
        match chosen.member.is_node() {
            true => node += 1,
            false => backends += 1,
        }
    }
    (node, backends)
}

fn all(reconciler: &mut Reconciler<Fake, Node>, health: Health) {
    for last in 1..=3 {
        reconciler.facts.judge(verdict(last, health));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slot_is_the_nodes_while_an_authority_may_come() {
    for mode in ["dsr", "tunnel", "nat"] {
        for balance in ["maglev", "source-hash", "round-robin", "least-connections"] {
            let mut reconciler = attached(Fake::default(), Node::default(), well(&steering(mode, balance)), SEED);
            assert!(reconciler.converge().await);
            assert_eq!(led(&mut reconciler), (0, 256), "{mode}, {balance}");
            assert!(reconciler.facts.steer(true) && !reconciler.facts.steer(true));
            assert!(reconciler.converge().await);
            assert_eq!(led(&mut reconciler), (256, 0), "{mode}, {balance}");
            // That nobody is up changes nothing about it.
            all(&mut reconciler, Health::Down);
            assert!(reconciler.converge().await);
            assert_eq!(led(&mut reconciler), (256, 0), "{mode}, {balance}");
            all(&mut reconciler, Health::Up);
            assert!(reconciler.facts.steer(false));
            assert!(reconciler.converge().await);
            assert_eq!(led(&mut reconciler), (0, 256), "{mode}, {balance}");
        }
    }
    let mut facts = well(ONE);
    assert!(!facts.steer(true), "nobody has asked for it");
}

fn flow() -> FlowQuery {
    FlowQuery {
        protocol: Protocol::Tcp,
        source: "203.0.113.9:5000".parse().unwrap(),
        destination: "192.0.2.10:80".parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_orders_is_told_when_packets_come_to_the_node() {
    let toml = steering("dsr", "round-robin");
    let broken = Arc::new(AtomicBool::new(false));
    let fault = Arc::clone(&broken);
    let mut fake = Fake::default();
    fake.fault = Box::new(move |_| fault.load(Relaxed));
    let mut reconciler = attached(fake, Node::default(), well(&toml), SEED);
    assert!(reconciler.converge().await);
    let mut running = Running::start(reconciler, &toml);
    broken.store(true, Relaxed);
    running.offered.send_replace(CHALLENGED);
    running.until("it fails", |status| status.fault.is_some()).await;
    assert_eq!(*running.steered.borrow(), 0);
    broken.store(false, Relaxed);
    running.steered.wait_for(|number| *number == 3).await.unwrap();
    let explained = running.handle.explain(flow()).await.unwrap();
    assert!(matches!(explained.explanation, Explanation::Proxied { .. }));
    running.offered.send_replace(Offered {
        number: 4,
        challenged: false,
    });
    running.steered.wait_for(|number| *number == 4).await.unwrap();
    let explained = running.handle.explain(flow()).await.unwrap();
    assert!(matches!(explained.explanation, Explanation::Undecided { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_is_nobodys_backend() {
    let toml = steering("nat", "maglev");
    let mut reconciler = attached(Fake::default(), Node::default(), well(&toml), SEED);
    assert!(reconciler.converge().await);
    let mut without = attached(Fake::default(), Node::default(), well(&ONE.replace("dsr", "nat")), SEED);
    assert!(without.converge().await);
    let keys = |reconciler: &mut Reconciler<Fake, Node>| -> Vec<ServiceKey> {
        reconciler.dataplane.installed().unwrap().entries.into_keys().collect()
    };
    assert_eq!(
        keys(&mut reconciler),
        keys(&mut without),
        "nat translates nothing to it"
    );
    // The next manager finds it in the maps, as it finds backends that have left the file.
    let Reconciler {
        dataplane, addresses, ..
    } = reconciler;
    let mut next = attached(dataplane, addresses, well(&toml), SEED);
    assert!(next.converge().await);
    assert_eq!(next.status().services[0].backends.len(), 3);
}

#[test]
fn the_proxy_has_the_backends_of_who_steers() {
    let facts = well(&steering("nat", "least-connections"));
    assert_eq!(facts.upstreams().pools["web"].len(), 3);
    assert!(well(ONE).upstreams().pools.is_empty());
}
