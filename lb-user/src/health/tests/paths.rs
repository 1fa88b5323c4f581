//! Probes whose way comes and goes.

use super::*;

const HOP: NextHop = NextHop {
    mac: lb_common::addr::Mac([2, 0, 0, 0, 0, 1]),
    local: lb_common::addr::Mac([0; 6]),
    interface: 2,
    router: None,
    source: None,
    mtu: 1500,
};

/// One target that is probed through its service.
fn behind(next_hop: NextHopState, check: &HealthCheck) -> Vec<Arc<Target>> {
    let mut targets = targets(0..1, check);
    Arc::make_mut(&mut targets[0]).path = Some(ServicePath {
        vips: vec![[192, 0, 2, 10].into()],
        tunnel: None,
        next_hop,
        not_sources: Arc::default(),
    });
    targets
}

#[tokio::test(start_paused = true)]
async fn who_is_looked_for_is_probed_when_that_is_over() {
    let mut check = check(HealthKind::Tcp);
    check.interval = Duration::from_secs(20);
    let hidden = || {
        behind(
            NextHopState::Pending("its next hop is not known yet".to_owned()),
            &check,
        )
    };
    for found in [
        NextHopState::Resolved(HOP),
        NextHopState::Unresolved("no answer".to_owned()),
    ] {
        let script = Script::new(MILLI, |_, _| Ok(Answer::Connected));
        let mut driver = Driver::start(script.clone(), hidden());
        driver.expect_silence(2 * schedule::FIRST_WINDOW).await;
        assert_eq!(script.starts(0).len(), 0);
        driver.targets.send_replace(behind(found, &check));
        let began = Instant::now();
        driver.expect(Health::Up, "connected in 1.0 ms").await;
        assert!(
            began.elapsed() <= schedule::FIRST_WINDOW + MILLI,
            "{:?}",
            began.elapsed()
        );
    }
    // Nothing is found: the next probe says so.
    let script = Script::new(MILLI, |_, _| {
        Err(Failure::Local("its next hop is not known yet".to_owned()))
    });
    let mut driver = Driver::start(script.clone(), hidden());
    driver
        .expect(
            Health::Unknown,
            "this node could not probe: its next hop is not known yet",
        )
        .await;
    assert_eq!(script.starts(0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_reached_again_is_probed_soon_and_keeps_what_is_known() {
    let script = Script::new(MILLI, |_, n| match n {
        0 => Ok(Answer::Connected),
        1 => Err(Failure::Refused),
        _ => Err(Failure::NoWay("no answer".to_owned())),
    });
    let mut check = check(HealthKind::Tcp);
    check.interval = Duration::from_secs(3600);
    let at = |next_hop| behind(next_hop, &check);
    let mut driver = Driver::start(script.clone(), at(NextHopState::Unresolved("asked".to_owned())));
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    let began = Instant::now();
    driver.targets.send_replace(at(NextHopState::Resolved(HOP)));
    driver.expect(Health::Up, "connection refused (1 of 3 in a row)").await;
    assert!(
        began.elapsed() <= schedule::FIRST_WINDOW + MILLI,
        "{:?}",
        began.elapsed()
    );
    // Another way to it, or none, is no reason to hurry.
    driver
        .targets
        .send_replace(at(NextHopState::Unresolved("no answer".to_owned())));
    driver.expect_silence(Duration::from_secs(60)).await;
    assert_eq!(script.starts(0).len(), 2);
    // The counts stay with another way, and go with another question.
    let mut address = targets(0..1, &check);
    Arc::make_mut(&mut address[0]).check.via = Via::Service;
    driver.targets.send_replace(address);
    let reason = "there is no way to it: no answer";
    driver.expect(Health::Down, reason).await;
}
