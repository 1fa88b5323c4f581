//! The first moments of a service: who serves when not everything is known yet.

use std::time::Duration;

use lb_common::ring::State;
use tokio::time::Instant;

use super::*;
use crate::control::begins::PATIENCE;

/// How many slots of the first service's ring are stable and somebody's, stable and nobody's, and anything else.
fn ring<A: Addresses>(reconciler: &Reconciler<Fake, A>) -> (usize, usize, usize) {
    let decision = reconciler.carried.placement.decisions[0].unwrap();
    let slots = &reconciler.dataplane.installed().unwrap().rings[&decision.ring_block()].slots;
    let stable = |nobody: bool| {
        let is = |slot: &&Slot| slot.state() == State::Stable && (slot.current() == MemberIndex::NONE) == nobody;
        slots.iter().filter(is).count()
    };
    let (served, empty) = (stable(false), stable(true));
    (served, empty, slots.len() - served - empty)
}

const NOTHING: (usize, usize, usize) = (0, 256, 0);
const ALL: (usize, usize, usize) = (256, 0, 0);

fn fresh() -> Reconciler<Fake, Node> {
    attached(Fake::default(), Node::default(), Facts::new(config(ONE)), SEED)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_begins_with_all_its_backends() {
    let mut reconciler = fresh();
    assert!(reconciler.converge().await);
    assert_eq!(ring(&reconciler), NOTHING);
    for last in 1..=3 {
        reconciler.facts.judge(verdict(last, Health::Up));
        assert!(reconciler.converge().await);
        assert_eq!(ring(&reconciler), NOTHING, "{last} is up");
    }
    for last in 1..=2 {
        reconciler.facts.route([10, 0, 0, last].into(), hop(last, 3));
        assert!(reconciler.converge().await);
        assert_eq!(ring(&reconciler), NOTHING, "{last} is reached");
    }
    reconciler.facts.route([10, 0, 0, 3].into(), hop(3, 3));
    assert!(reconciler.converge().await);
    assert_eq!(ring(&reconciler), ALL);
    assert!(slots(&reconciler).iter().all(|&n| n >= 85), "{:?}", slots(&reconciler));
    assert_eq!(reconciler.due(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_those_who_cannot_serve() {
    let file = ONE.replace("name = \"web3\"", "name = \"web3\"\nstate = \"disabled\"");
    let mut reconciler = attached(Fake::default(), Node::default(), Facts::new(config(&file)), SEED);
    reconciler.facts.route([10, 0, 0, 1].into(), hop(1, 3));
    reconciler.facts.judge(verdict(1, Health::Up));
    assert!(reconciler.converge().await);
    assert_eq!(ring(&reconciler), NOTHING);
    // It is up, but there is no way to it.
    let unreached = NextHopState::Unresolved("no answer".into());
    reconciler.facts.route([10, 0, 0, 2].into(), unreached);
    assert!(reconciler.converge().await);
    assert_eq!(ring(&reconciler), ALL);
    assert_eq!(slots(&reconciler), [256, 0, 0]);

    // It is down, whatever way there is.
    let mut other = attached(Fake::default(), Node::default(), Facts::new(config(&file)), SEED);
    other.facts.route([10, 0, 0, 1].into(), hop(1, 3));
    other.facts.judge(verdict(1, Health::Up));
    other.facts.judge(verdict(2, Health::Down));
    assert!(other.converge().await);
    assert_eq!(slots(&other), [256, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_takes_too_long_those_serve_who_can() {
    let mut reconciler = fresh();
    reconciler.facts.route([10, 0, 0, 1].into(), hop(1, 3));
    reconciler.facts.judge(verdict(1, Health::Up));
    assert!(reconciler.converge().await);
    let due = reconciler.due().unwrap();
    assert!(due <= Instant::now() + PATIENCE);
    reconciler.ahead = due.saturating_duration_since(Instant::now()) / 2;
    assert!(reconciler.converge().await);
    assert_eq!((ring(&reconciler), reconciler.due()), (NOTHING, Some(due)));
    reconciler.ahead = PATIENCE;
    assert!(reconciler.converge().await);
    assert_eq!((ring(&reconciler), reconciler.due()), (ALL, None));
    assert_eq!(slots(&reconciler), [256, 0, 0]);
    // Who comes later gets his share by a change.
    reconciler.facts.route([10, 0, 0, 2].into(), hop(2, 3));
    reconciler.facts.judge(verdict(2, Health::Up));
    assert!(reconciler.converge().await);
    let (stable, empty, moving) = ring(&reconciler);
    assert!(empty == 0 && stable > 100 && moving > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_reconciler_begins_by_itself() {
    let mut reconciler = fresh();
    reconciler.facts.route([10, 0, 0, 1].into(), hop(1, 3));
    reconciler.facts.judge(verdict(1, Health::Up));
    assert!(reconciler.converge().await);
    assert_eq!(ring(&reconciler), NOTHING);
    let running = Running::start(reconciler, ONE);
    running
        .until("the only one serves", |status| {
            status.services[0].backends[0].slots == 256
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_wait() {
    let mut first = attached(Fake::default(), Node::default(), well(ONE), SEED);
    first.facts.judge(verdict(2, Health::Down));
    assert!(first.converge().await);
    let Reconciler {
        dataplane, addresses, ..
    } = first;
    let mut second = attached(dataplane, addresses, Facts::new(config(ONE)), SEED);
    assert!(second.converge().await);
    assert_eq!((ring(&second), second.due()), (ALL, None));
    second.facts.route([10, 0, 0, 2].into(), hop(2, 3));
    second.facts.judge(verdict(2, Health::Up));
    assert!(second.converge().await);
    assert!(slots(&second)[1] > 80, "it serves though the others are not known yet");

    // Nor does one that ended while a service waited.
    let mut first = fresh();
    assert!(first.converge().await);
    let Reconciler {
        dataplane, addresses, ..
    } = first;
    let mut second = attached(dataplane, addresses, Facts::new(config(ONE)), SEED);
    second.facts.route([10, 0, 0, 1].into(), hop(1, 3));
    second.facts.judge(verdict(1, Health::Up));
    assert!(second.converge().await);
    assert_eq!(slots(&second), [256, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_makes_only_what_is_new_wait() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    // A backend comes to a service that serves; and a service comes, of backends that nobody knows yet.
    let more = ONE.to_owned()
        + "[[service.backend]]\nname = \"web4\"\naddress = \"10.0.0.4:80\"\n\
           [[service]]\nname = \"new\"\naddress = \"192.0.2.30:80\"\nmode = \"dsr\"\ntable-size = 256\n\
           [[service.backend]]\naddress = \"10.0.0.1:80\"\n[[service.backend]]\naddress = \"10.0.0.5:80\"\n";
    reconciler.facts.reconfigure(config(&more));
    reconciler.facts.route([10, 0, 0, 4].into(), hop(4, 3));
    reconciler.facts.judge(verdict(4, Health::Up));
    reconciler.facts.judge(Verdict {
        member: MemberKey {
            service: "new".into(),
            backend: "10.0.0.1:80".parse().unwrap(),
        },
        ..verdict(1, Health::Up)
    });
    assert!(reconciler.converge().await);
    assert!(slots(&reconciler)[3] > 40);
    let of_new = |reconciler: &Reconciler<Fake, Node>| {
        let new = &reconciler.status().services[1];
        new.backends.iter().map(|b| b.slots).collect::<Vec<_>>()
    };
    assert_eq!(of_new(&reconciler), [0, 0]);
    reconciler.ahead += PATIENCE + Duration::from_millis(1);
    assert!(reconciler.converge().await);
    assert_eq!(of_new(&reconciler), [256, 0]);
}
