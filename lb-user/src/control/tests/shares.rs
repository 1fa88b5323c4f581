//! What each backend gets: backups, slow start, weights that probes ask for, and the quorum of a service.

use std::time::Duration;

use super::*;
use crate::control::overrides::Override;

async fn running(file: &str) -> Reconciler<Fake, Node> {
    let mut reconciler = attached(Fake::default(), Node::default(), well(file), SEED);
    assert!(reconciler.converge().await);
    reconciler
}

fn with(health: &str) -> String {
    ONE.replacen(
        "[[service.backend]]",
        &format!("[service.health]\n{health}\n[[service.backend]]"),
        1,
    )
}

async fn judged(reconciler: &mut Reconciler<Fake, Node>, last: u8, health: Health) -> Vec<u32> {
    reconciler.facts.judge(verdict(last, health));
    assert!(reconciler.converge().await);
    slots(reconciler)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_stands_by() {
    let file = ONE.replace("name = \"web3\"", "name = \"web3\"\nrole = \"backup\"");
    let mut reconciler = running(&file).await;
    assert_eq!(slots(&reconciler), [128, 128, 0]);
    assert_eq!(judged(&mut reconciler, 1, Health::Down).await, [0, 256, 0]);
    assert_eq!(judged(&mut reconciler, 2, Health::Down).await, [0, 0, 256]);

    // A restart does not know who is up, and leaves the backup where it is.
    let Reconciler {
        dataplane, addresses, ..
    } = reconciler;
    let mut second = attached(dataplane, addresses, Facts::new(config(&file)), SEED);
    assert!(second.converge().await);
    assert_eq!(slots(&second), [0, 0, 256]);
    for last in 1..=3 {
        second.facts.route([10, 0, 0, last].into(), hop(last, 3));
    }
    assert_eq!(judged(&mut second, 2, Health::Up).await, [0, 256, 0]);
    // A primary that is drained hands over as well.
    let drain = file.replace("name = \"web2\"", "name = \"web2\"\nstate = \"drain\"");
    judged(&mut second, 3, Health::Up).await;
    second.facts.reconfigure(config(&drain));
    assert!(second.converge().await);
    assert_eq!(slots(&second), [0, 0, 256]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_its_share_in_steps() {
    let mut reconciler = running(&with("slow-start = \"9s\"")).await;
    assert!(slots(&reconciler).iter().all(|&n| n >= 85), "a service begins at once");
    let whole = slots(&reconciler);
    assert_eq!(judged(&mut reconciler, 1, Health::Down).await, [0, 128, 128]);
    // A tenth of a weight of 1 beside two others.
    let first = judged(&mut reconciler, 1, Health::Up).await;
    assert_eq!(first, [12, 122, 122]);
    assert_eq!(reconciler.status().services[0].backends[0].starting, Some(1));
    let mut before = first[0];
    for tenths in 2..10 {
        reconciler.ahead += Duration::from_secs(1);
        assert!(
            reconciler
                .due()
                .is_some_and(|due| due <= reconciler.now() + Duration::from_secs(1))
        );
        assert!(reconciler.converge().await);
        assert_eq!(reconciler.status().services[0].backends[0].starting, Some(tenths));
        let now = slots(&reconciler)[0];
        assert!(now > before && now < whole[0], "{now} after {before}");
        before = now;
    }
    reconciler.ahead += Duration::from_secs(1);
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), whole, "as if nothing had been");
    assert_eq!(reconciler.status().services[0].backends[0].starting, None);

    // One that is new in a running service, too; a service that is new begins at once.
    let more = format!(
        "{}[[service.backend]]\naddress = \"10.0.0.4:80\"\n",
        with("slow-start = \"9s\"")
    );
    reconciler.facts.reconfigure(config(&more));
    reconciler.facts.route([10, 0, 0, 4].into(), hop(4, 3));
    assert!(reconciler.converge().await);
    let fourth = judged(&mut reconciler, 4, Health::Up).await[3];
    assert!((1..=9).contains(&fourth), "{fourth}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_may_ask_for_a_weight_and_a_command_has_the_last_word() {
    let mut reconciler = running(ONE).await;
    let asks = |weight| Verdict {
        weight,
        ..verdict(1, Health::Up)
    };
    assert!(reconciler.facts.judge(asks(Some(2))));
    assert!(!reconciler.facts.judge(asks(Some(2))), "no news");
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [128, 64, 64]);
    let backend = reconciler.status().services[0].backends[0].clone();
    assert_eq!((backend.weight, backend.weight_in_file), (2, Some(1)));
    assert!(reconciler.facts.judge(asks(Some(0))));
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [0, 128, 128]);

    let change = Override {
        state: None,
        weight: Some(6),
    };
    assert!(
        reconciler
            .facts
            .command(&verdict(1, Health::Up).member, change)
            .unwrap()
    );
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [192, 32, 32]);
    assert!(reconciler.facts.judge(asks(None)));
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [192, 32, 32]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_healthy_with_its_quorum() {
    let mut reconciler = running(&with("quorum = 2")).await;
    let said = |reconciler: &Reconciler<Fake, Node>| {
        let status = reconciler.status();
        (status.services[0].ready, status.services[0].is_healthy())
    };
    assert_eq!(said(&reconciler), (3, true));
    judged(&mut reconciler, 1, Health::Down).await;
    assert_eq!(said(&reconciler), (2, true));
    reconciler
        .facts
        .route([10, 0, 0, 2].into(), NextHopState::Unresolved("no answer".into()));
    assert!(reconciler.converge().await);
    assert_eq!(said(&reconciler), (1, false));
    assert_eq!(slots(&reconciler), [0, 0, 256], "who can serve does");
    judged(&mut reconciler, 1, Health::Up).await;
    assert_eq!(said(&reconciler), (2, true));
    // Nothing new goes to those that drain or have no weight.
    for (key, value) in [("state", "\"drain\""), ("weight", "0"), ("state", "\"disabled\"")] {
        let file = with("quorum = 2").replace("name = \"web1\"", &format!("name = \"web1\"\n{key} = {value}"));
        reconciler.facts.reconfigure(config(&file));
        assert!(reconciler.converge().await);
        assert_eq!(said(&reconciler), (1, false), "{key} = {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_said_when_it_turns() {
    let mut quorums = crate::control::quorum::Quorums::default();
    let mut turns = |facts: &Facts| {
        let turns = quorums.observe(facts).into_iter();
        turns.map(|turn| (turn.ready, turn.is_healthy())).collect::<Vec<_>>()
    };
    let mut facts = well(&with("quorum = 3"));
    facts.interfaces.insert(3, "eth0".into());
    let mut fresh = Facts::new(config(&with("quorum = 3")));
    fresh.interfaces.clone_from(&facts.interfaces);
    assert_eq!(turns(&fresh), [], "nothing is known yet");
    assert_eq!(turns(&facts), [], "that it is healthy is no news");
    facts.judge(verdict(1, Health::Down));
    assert_eq!(turns(&facts), [(2, false)]);
    facts.judge(verdict(2, Health::Down));
    assert_eq!(turns(&facts), []);
    facts.judge(verdict(1, Health::Up));
    facts.judge(verdict(2, Health::Up));
    assert_eq!(turns(&facts), [(3, true)]);
}
