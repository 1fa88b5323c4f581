//! Traces: one at a time, aimed at what is there now, and over when nobody asks.

use std::time::{Duration, UNIX_EPOCH};

use lb_common::id::MemberId;
use lb_common::trace::{CAPTURED, Sample, Wanted};

use super::*;
use crate::control::trace::TraceRefused;
use crate::dataplane::Shown;
use crate::model::trace::{Filter, Traced};

fn of(service: &str) -> Filter {
    Filter {
        service: Some(service.to_owned()),
        ..Filter::default()
    }
}

async fn running() -> Reconciler<Fake, Node> {
    let mut reconciler = attached(Fake::default(), Node::default(), Facts::new(config(ONE)), SEED);
    for last in 1..=3 {
        reconciler.facts.judge(verdict(last, Health::Up));
        reconciler.facts.route([10, 0, 0, last].into(), hop(last, 3));
    }
    assert!(reconciler.converge().await);
    reconciler
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_who_asks_and_as_long_as_they_do() {
    let mut reconciler = running().await;
    assert_eq!(
        reconciler.begin_trace(of("nobody")),
        Err(TraceRefused::Unknown("nobody".to_owned()))
    );
    assert_eq!(reconciler.dataplane.wanted, None);
    let id = reconciler.begin_trace(Filter::default()).unwrap();
    assert!(reconciler.dataplane.wanted.is_some());
    assert_eq!(reconciler.begin_trace(Filter::default()), Err(TraceRefused::Busy));
    assert_eq!(reconciler.traced(id ^ 1), None);
    assert!(!reconciler.end_trace(id ^ 1));

    // Asking keeps it, for a while.
    for _ in 0..3 {
        reconciler.ahead += Duration::from_secs(4);
        assert_eq!(reconciler.traced(id), Some(Vec::new()));
    }
    assert!(reconciler.due().is_some());
    reconciler.ahead += Duration::from_secs(6);
    assert_eq!(reconciler.traced(id), None);
    assert!(reconciler.dataplane.wanted.is_none() && reconciler.due().is_none());
    let again = reconciler.begin_trace(Filter::default()).unwrap();
    assert!(again != id && reconciler.end_trace(again) && reconciler.dataplane.wanted.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_get_the_names_of_those_who_are_there_now() {
    let mut reconciler = running().await;
    let id = reconciler.begin_trace(of("web")).unwrap();
    let before = reconciler.dataplane.wanted.unwrap();
    let decision = reconciler.carried.placement.decisions[0].unwrap();
    assert_eq!((before.member_base, before.members), (decision.member_base(), 4));
    let sample = |member: u32, service| Shown {
        at: UNIX_EPOCH,
        sample: Sample {
            time: 0,
            service,
            member: MemberId(member),
            slot: Slot(0),
            index: 0,
            interface: 3,
            bytes: 60,
            captured: 60,
            action: 3,
            reason: 0,
            skipped: 0,
            observed: 0,
            frame: [0; CAPTURED],
        },
    };
    let base = decision.member_base();
    let shown = vec![
        sample(base + 2, decision),
        // An answer.
        sample(base + 3, Decision::NONE),
        // Dropped before anybody was chosen.
        sample(0, decision),
        sample(0, Decision::address(Decision::ECHO)),
    ];
    let sender = reconciler.dataplane.shown.clone().unwrap();
    sender.send(shown).await.unwrap();
    let name = |traced: &Traced| {
        let service = traced.service.as_deref().unwrap_or("").to_owned();
        (service, traced.backend.as_deref().unwrap_or("").to_owned())
    };
    let names: Vec<_> = reconciler.traced(id).unwrap().iter().map(name).collect();
    let expected = [("web", "web2"), ("web", "web3"), ("web", ""), ("", "")];
    assert_eq!(names, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));

    // The service grows.
    let mut more = ONE.to_owned();
    for last in 4..=20 {
        more += &format!("[[service.backend]]\nname = \"web{last}\"\naddress = \"10.0.0.{last}:80\"\n");
    }
    reconciler.facts.reconfigure(config(&more));
    assert!(reconciler.converge().await);
    let decision = reconciler.carried.placement.decisions[0].unwrap();
    let expected = Wanted {
        member_base: decision.member_base(),
        members: 21,
        ..before
    };
    assert_eq!(reconciler.dataplane.wanted, Some(expected));
}
