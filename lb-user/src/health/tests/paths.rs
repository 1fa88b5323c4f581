//! Probes whose way comes and goes.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_is_reached_again_is_probed_soon_and_keeps_what_is_known() {
    let script = Script::new(MILLI, |_, n| match n {
        0 => Ok(Answer::Connected),
        1 => Err(Failure::Refused),
        _ => Err(Failure::NoWay("no answer".to_owned())),
    });
    let mut check = check(HealthKind::Tcp);
    check.interval = Duration::from_secs(3600);
    let at = |next_hop| {
        let mut targets = targets(0..1, &check);
        Arc::make_mut(&mut targets[0]).path = Some(ServicePath {
            vips: vec![[192, 0, 2, 10].into()],
            tunnel: None,
            next_hop,
            not_sources: Arc::default(),
        });
        targets
    };
    let mut driver = Driver::start(script.clone(), at(NextHopState::Pending("asked".to_owned())));
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    let began = Instant::now();
    let hop = NextHop {
        mac: lb_common::addr::Mac([2, 0, 0, 0, 0, 1]),
        local: lb_common::addr::Mac::default(),
        interface: 2,
        router: None,
        source: None,
        mtu: 1500,
    };
    driver.targets.send_replace(at(NextHopState::Resolved(hop)));
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
