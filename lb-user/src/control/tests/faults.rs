//! Every fault that a node can meet: it converges, loses no living connection, and says what has happened.

use std::time::Duration;

use super::flows::{Connections, short};
use super::*;
use crate::dataplane::fake::Fault;
use crate::model::status::Repairs;

/// A node that serves connections.
async fn serving() -> (Reconciler<Fake, Node>, Connections) {
    let mut reconciler = attached(Fake::default(), Node::default(), well(&short()), SEED);
    assert!(reconciler.converge().await);
    let mut connections = Connections::default();
    connections.open(&mut reconciler.dataplane, 64);
    (reconciler, connections)
}

/// As every [`super::reconciler::RESYNC`].
async fn resync(reconciler: &mut Reconciler<Fake, Node>) -> bool {
    reconciler.installed = None;
    reconciler.interfaces.look_again();
    reconciler.converge().await
}

/// A backend more, which moves slots.
fn another(reconciler: &mut Reconciler<Fake, Node>) {
    let four = format!(
        "{}[[service.backend]]\nname = \"web4\"\naddress = \"10.0.0.4:80\"\n",
        short()
    );
    reconciler.facts.reconfigure(config(&four));
    reconciler.facts.route([10, 0, 0, 4].into(), hop(4, 3));
    reconciler.facts.judge(verdict(4, Health::Up));
}

fn repairs(reconciler: &Reconciler<Fake, Node>) -> Repairs {
    reconciler.status().repairs
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_way_writes_fail_connections_live() {
    for (kind, words) in [
        (Fault::Refused, "not permitted"),
        (Fault::Full, "map FAKE is full: it holds 16 entries"),
    ] {
        let (mut reconciler, mut connections) = serving().await;
        another(&mut reconciler);
        reconciler.dataplane.kind = kind;
        // Ever further into the change, until it is through.
        let mut failed = 0;
        for steps in 0.. {
            let from = reconciler.dataplane.log.len() + steps;
            reconciler.dataplane.fault = Box::new(move |operation| operation == from);
            if reconciler.converge().await {
                break;
            }
            failed += 1;
            let fault = reconciler.status().fault.unwrap();
            assert!(fault.contains(words), "{fault}");
            connections.speak(&mut reconciler.dataplane, "after a write that failed");
            connections.open(&mut reconciler.dataplane, 4);
        }
        assert!(failed > 3, "{failed}");
        assert_eq!(
            (reconciler.status().fault, repairs(&reconciler)),
            (None, Repairs::default())
        );
        assert!(slots(&reconciler).iter().all(|&slots| slots > 0));
        connections.speak(&mut reconciler.dataplane, "in the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_that_cannot_be_read_stay_as_they_are() {
    let (mut reconciler, connections) = serving().await;
    reconciler.dataplane.unreadable = true;
    assert!(!resync(&mut reconciler).await);
    let fault = reconciler.status().fault.unwrap();
    assert!(fault.contains("cannot read map FAKE"), "{fault}");
    connections.speak(&mut reconciler.dataplane, "while nobody can look");
    reconciler.dataplane.unreadable = false;
    assert!(reconciler.converge().await);
    assert_eq!(
        (reconciler.status().fault, repairs(&reconciler)),
        (None, Repairs::default())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_somebody_takes_off_comes_back() {
    let (mut reconciler, connections) = serving().await;
    reconciler.dataplane.attached.clear();
    assert!(resync(&mut reconciler).await);
    assert_eq!(reconciler.dataplane.attached, [interface("eth0", 3)]);
    assert_eq!(repairs(&reconciler).programs, 1);
    // Somebody else's is there: it is said, and tried again.
    reconciler.dataplane.attached.clear();
    reconciler.dataplane.refuse = Box::new(|_| true);
    assert!(!resync(&mut reconciler).await);
    let status = reconciler.status();
    assert!(status.fault.unwrap().contains("cannot attach to eth0"));
    assert!(status.interfaces[0].attached.is_err());
    reconciler.dataplane.refuse = Box::new(|_| false);
    assert!(reconciler.converge().await);
    connections.speak(&mut reconciler.dataplane, "when it is back");
    // What an interface takes along when it goes, nobody has taken.
    reconciler.follow(Vec::new());
    assert!(reconciler.converge().await);
    reconciler.follow(vec![interface("eth0", 7)]);
    assert!(reconciler.converge().await);
    assert_eq!(repairs(&reconciler).programs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_that_somebody_edits_are_put_right_and_it_is_counted() {
    let (mut reconciler, connections) = serving().await;
    let right = reconciler.dataplane.installed().unwrap();
    let key = ServiceKey::service("192.0.2.20:80".parse().unwrap(), Protocol::Tcp);
    let (&block, _) = right.rings.first_key_value().unwrap();
    let (&id, &member) = right.members.first_key_value().unwrap();
    let nobody = Slot::stable(MemberIndex::NONE);
    let edits = [
        MapOp::DelEntry(key),
        MapOp::PutSlots {
            block,
            slots: vec![(5, nobody), (6, nobody)],
        },
        MapOp::PutMember(id, lb_common::backend::Member { weight: 77, ..member }),
    ];
    for edit in &edits {
        reconciler.dataplane.meddle(edit).unwrap();
    }
    assert!(resync(&mut reconciler).await);
    assert_eq!(reconciler.dataplane.installed().unwrap(), right);
    let counted = Repairs {
        entries: 1,
        slots: 2,
        members: 1,
        ..Repairs::default()
    };
    assert_eq!(repairs(&reconciler), counted);
    connections.speak(&mut reconciler.dataplane, "when all is right again");
    // What it changes itself is no repair.
    another(&mut reconciler);
    assert!(reconciler.converge().await && resync(&mut reconciler).await);
    assert_eq!(repairs(&reconciler), counted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vip_that_somebody_takes_off_comes_back() {
    let (mut reconciler, _) = serving().await;
    let node = reconciler.addresses.clone();
    assert_eq!(repairs(&reconciler).addresses, 0, "it has only come");
    node.present.lock().unwrap().clear();
    assert!(reconciler.converge().await);
    assert!(node.has("192.0.2.10") && node.has("192.0.2.20"));
    assert_eq!(repairs(&reconciler).addresses, 2);
    // One that has left and comes again was not taken.
    reconciler
        .facts
        .reconfigure(config(&short().replace(", \"192.0.2.20:80\"", "")));
    assert!(reconciler.converge().await);
    reconciler.facts.reconfigure(config(&short()));
    assert!(reconciler.converge().await);
    assert!(node.has("192.0.2.20"));
    assert_eq!(repairs(&reconciler).addresses, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_goes_and_comes_breaks_no_connection() {
    let (mut reconciler, connections) = serving().await;
    let node = reconciler.addresses.clone();
    reconciler.follow(Vec::new());
    node.present.lock().unwrap().clear();
    for last in 1..=3 {
        reconciler
            .facts
            .route([10, 0, 0, last].into(), NextHopState::Unresolved("no route".into()));
    }
    assert!(reconciler.converge().await);
    reconciler.follow(vec![interface("eth0", 7)]);
    for last in 1..=3 {
        reconciler.facts.route([10, 0, 0, last].into(), hop(last, 7));
    }
    assert!(reconciler.converge().await);
    connections.speak(&mut reconciler.dataplane, "over the new interface");
    assert_eq!(repairs(&reconciler), Repairs::default(), "nobody has meddled");
}

/// All times that something follows from are of the monotonic clock; `clippy.toml` sees to it that no other is asked for
/// but where it is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_changes_nothing_but_what_is_shown() {
    let (mut reconciler, connections) = serving().await;
    another(&mut reconciler);
    assert!(reconciler.converge().await);
    let (before, due) = (reconciler.dataplane.installed().unwrap(), reconciler.due());
    let years = Duration::from_secs(10 * 365 * 24 * 3600);
    for jumped in [reconciler.started + years, reconciler.started - years] {
        reconciler.started = jumped;
        reconciler.reloads = Reloads::none(jumped);
        reconciler.sweep();
        assert!(resync(&mut reconciler).await);
        assert_eq!(reconciler.dataplane.installed().unwrap(), before);
        assert_eq!((reconciler.due(), reconciler.status().started), (due, jumped));
        connections.speak(&mut reconciler.dataplane, "whatever the clock says");
    }
}
