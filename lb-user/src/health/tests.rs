//! The driver against a scripted network in paused time, and once against real sockets.

mod paths;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

use super::probe::{Answer, Failure, Phase, Success};
use super::*;
use crate::model::{Health, HealthKind, HttpProbe, NextHop, ProbeCounts, Probes, Statuses, Via};
use crate::process::Programs;

/// What the scripted network does with a backend.
#[derive(Clone)]
struct Script {
    /// Answers every probe, and is told how many probes of this backend came before.
    answer: fn(&HealthKind, usize) -> Result<Answer, Failure>,
    /// Every probe takes so long.
    takes: Duration,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    starts: Mutex<HashMap<SocketAddr, Vec<Instant>>>,
}

impl Script {
    fn new(takes: Duration, answer: fn(&HealthKind, usize) -> Result<Answer, Failure>) -> Self {
        let seen = Arc::default();
        Self { answer, takes, seen }
    }

    fn starts(&self, n: u32) -> Vec<Instant> {
        let starts = self.seen.starts.lock().unwrap();
        starts.get(&address(n)).cloned().unwrap_or_default()
    }
}

/// One probe under way; a cancelled one ends too.
struct InFlight(Arc<Seen>);

impl InFlight {
    fn new(seen: &Arc<Seen>) -> Self {
        let now = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(seen.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Prober for Script {
    async fn probe(&self, target: &Target, _: &Probes) -> Result<Success, Failure> {
        let (kind, address) = (&target.check.kind, target.member.backend);
        if *kind == HealthKind::None {
            return Ok(success(Answer::NotProbed));
        }
        let _in_flight = InFlight::new(&self.seen);
        let before = {
            let mut starts = self.seen.starts.lock().unwrap();
            let starts = starts.entry(address).or_default();
            starts.push(Instant::now());
            starts.len() - 1
        };
        tokio::time::sleep(self.takes).await;
        (self.answer)(kind, before).map(success)
    }
}

fn success(answer: Answer) -> Success {
    Success {
        answer,
        took: Duration::from_millis(1),
    }
}

fn status(code: u16) -> Failure {
    let wanted = Statuses::default();
    Failure::Status { code, wanted }
}

fn address(n: u32) -> SocketAddr {
    (std::net::Ipv4Addr::from(0x0a00_0000 + n), 80).into()
}

fn check(kind: HealthKind) -> HealthCheck {
    HealthCheck {
        kind,
        via: Via::Address,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        rise: NonZeroU32::new(2).unwrap(),
        fall: NonZeroU32::new(3).unwrap(),
        slow_start: None,
        quorum: NonZeroU32::MIN,
    }
}

fn http(path: &str) -> HealthKind {
    let path = path.to_owned();
    HealthKind::Http(Arc::new(HttpProbe {
        path,
        ..HttpProbe::default()
    }))
}

fn targets(range: Range<u32>, check: &HealthCheck) -> Vec<Arc<Target>> {
    let target = |n| Target {
        member: MemberKey {
            service: "web".into(),
            backend: address(n),
        },
        name: "web1".into(),
        check: check.clone(),
        path: None,
    };
    range.map(target).map(Arc::new).collect()
}

/// A driver with its two channels.
struct Driver {
    targets: watch::Sender<Vec<Arc<Target>>>,
    verdicts: Receiver<Verdict>,
    task: tokio::task::JoinHandle<()>,
}

impl Driver {
    fn start(prober: impl Prober, first: Vec<Arc<Target>>) -> Self {
        let (targets, wanted) = watch::channel(first);
        let (sender, verdicts) = mpsc::channel(16);
        let task = tokio::spawn(drive(wanted, sender, prober));
        Self {
            targets,
            verdicts,
            task,
        }
    }

    async fn next(&mut self) -> (Health, String) {
        let verdict = timeout(Duration::from_secs(30), self.verdicts.recv()).await;
        let verdict = verdict.expect("a verdict in time").expect("the driver runs");
        (verdict.health, verdict.reason.as_ref().to_owned())
    }

    async fn expect(&mut self, health: Health, reason: &str) {
        assert_eq!(self.next().await, (health, reason.to_owned()));
    }

    async fn expect_silence(&mut self, time: Duration) {
        let verdict = timeout(time, self.verdicts.recv()).await;
        assert!(verdict.is_err(), "{verdict:?}");
    }
}

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn verdicts_tell_every_change_and_nothing_else() {
    let script = Script::new(MILLI, |_, n| match n {
        0..5 | 12.. => Ok(Answer::Connected),
        5 | 6 => Err(Failure::Refused),
        7..12 => Err(Failure::TimedOut {
            after: Duration::from_secs(1),
            phase: Phase::Connecting,
        }),
    });
    let mut driver = Driver::start(script.clone(), targets(0..1, &check(HealthKind::Tcp)));
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    driver.expect(Health::Up, "connection refused (1 of 3 in a row)").await;
    assert_eq!(script.starts(0).len(), 6, "equal successes were silent");
    driver.expect(Health::Up, "connection refused (2 of 3 in a row)").await;
    driver.expect(Health::Down, "timed out after 1s while connecting").await;
    driver
        .expect(Health::Down, "connected in 1.0 ms (1 of 2 in a row)")
        .await;
    assert_eq!(script.starts(0).len(), 13, "equal failures were silent");
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    driver.expect_silence(Duration::from_secs(60)).await;

    for pair in script.starts(0).windows(2) {
        let gap = pair[1] - pair[0];
        assert!(
            gap >= Duration::from_millis(1800) && gap <= Duration::from_millis(2202),
            "{gap:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn probes_are_counted_without_a_verdict_for_each() {
    let script = Script::new(MILLI, |_, n| match n {
        2 => Err(Failure::Local("too many open files".to_owned())),
        _ => Ok(Answer::Connected),
    });
    let mut driver = Driver::start(script.clone(), targets(0..1, &check(HealthKind::Tcp)));
    let first = driver.verdicts.recv().await.unwrap();
    let counts = |succeeded, local| ProbeCounts {
        succeeded,
        failed: 0,
        local,
        last: Some(MILLI),
        certificate_not_after: None,
        ended: None,
    };
    // The clock of the wall is not the test's.
    let timeless = |probes: &Probes| {
        let counts = probes.counts();
        assert!(counts.ended.is_some());
        ProbeCounts { ended: None, ..counts }
    };
    assert_eq!(timeless(&first.probes), counts(1, 0));
    let local = driver.verdicts.recv().await.unwrap();
    assert_eq!(timeless(&local.probes), counts(2, 1));
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    driver.expect_silence(Duration::from_secs(60)).await;
    let probes = script.starts(0).len() as u64;
    assert!(probes > 20);
    assert_eq!(
        timeless(&first.probes),
        counts(probes - 1, 1),
        "the first verdict knows of the last probe"
    );

    let script = Script::new(MILLI, |_, _| Err(Failure::Refused));
    let mut driver = Driver::start(script, targets(0..1, &check(HealthKind::Tcp)));
    let failed = driver.verdicts.recv().await.unwrap().probes.counts();
    assert_eq!((failed.failed, failed.succeeded, failed.last), (1, 0, Some(MILLI)));
    // Nothing was asked, so nothing is counted.
    let script = Script::new(MILLI, |_, _| Ok(Answer::NotProbed));
    let mut driver = Driver::start(script, targets(0..1, &check(HealthKind::None)));
    let none = driver.verdicts.recv().await.unwrap().probes.counts();
    assert_eq!(none, ProbeCounts::default());
}

#[tokio::test(start_paused = true)]
async fn a_first_failure_takes_down_at_once() {
    let script = Script::new(MILLI, |_, _| Err(status(503)));
    let mut driver = Driver::start(script, targets(0..1, &check(http("/"))));
    driver.expect(Health::Down, "status 503, wanted 2xx or 3xx").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_node_lacks_changes_the_reason_and_not_the_health() {
    let script = Script::new(MILLI, |_, n| match n {
        1 => Ok(Answer::Connected),
        _ => Err(Failure::Local("too many open files".to_owned())),
    });
    let mut driver = Driver::start(script, targets(0..1, &check(HealthKind::Tcp)));
    let reason = "this node could not probe: too many open files";
    driver.expect(Health::Unknown, reason).await;
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    driver.expect(Health::Up, reason).await;
    driver.expect_silence(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn the_weight_is_what_the_last_success_asked_for() {
    let script = Script::new(MILLI, |_, n| match n {
        0 => Ok(Answer::Weighs(5)),
        1 => Err(Failure::Refused),
        2 => Ok(Answer::Weighs(7)),
        _ => Ok(Answer::Exited),
    });
    let mut driver = Driver::start(script, targets(0..1, &check(HealthKind::Tcp)));
    for weight in [Some(5), Some(5), Some(7), None] {
        assert_eq!(driver.verdicts.recv().await.unwrap().weight, weight);
    }
    driver.expect_silence(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn the_unprobed_are_up_at_once_and_for_ever() {
    let script = Script::new(MILLI, |_, _| Err(Failure::Refused));
    let began = Instant::now();
    let mut driver = Driver::start(script.clone(), targets(0..1, &check(HealthKind::None)));
    driver.expect(Health::Up, "not probed").await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    driver.expect_silence(Duration::from_secs(60)).await;
    assert_eq!(script.starts(0), []);
}

#[tokio::test(start_paused = true)]
async fn targets_come_and_go() {
    let script = Script::new(MILLI, |_, _| Ok(Answer::Connected));
    let check = check(HealthKind::Tcp);
    let mut driver = Driver::start(script.clone(), targets(0..1, &check));
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    driver.targets.send_replace(targets(0..2, &check));
    let verdict = driver.verdicts.recv().await.unwrap();
    assert_eq!(verdict.member.backend, address(1), "only the new one has news");
    driver.targets.send_replace(targets(1..2, &check));
    driver.expect_silence(Duration::from_secs(60)).await;
    assert!(
        script.starts(0).len() <= 3 && script.starts(1).len() > 20,
        "the removed one is left alone"
    );
    driver.targets.send_replace(targets(0..2, &check));
    let verdict = driver.verdicts.recv().await.unwrap();
    assert_eq!(verdict.member.backend, address(0), "one that comes back is new");

    drop(driver.targets);
    timeout(Duration::from_secs(1), driver.task)
        .await
        .expect("ends with its input")
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_takes_verdicts() {
    let script = Script::new(MILLI, |_, _| Ok(Answer::Connected));
    let Driver {
        verdicts,
        task,
        targets: _targets,
    } = Driver::start(script, targets(0..3, &check(HealthKind::Tcp)));
    drop(verdicts);
    timeout(Duration::from_secs(1), task).await.expect("ends").unwrap();
}

#[tokio::test(start_paused = true)]
async fn new_timing_keeps_health_and_counts() {
    let script = Script::new(MILLI, |_, n| {
        if n == 0 {
            Ok(Answer::Connected)
        } else {
            Err(Failure::Refused)
        }
    });
    let mut slow = check(HealthKind::Tcp);
    slow.interval = Duration::from_secs(10);
    let mut driver = Driver::start(script.clone(), targets(0..1, &slow));
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    driver.expect(Health::Up, "connection refused (1 of 3 in a row)").await;

    driver.targets.send_replace(targets(0..1, &check(HealthKind::Tcp)));
    driver.expect(Health::Up, "connection refused (2 of 3 in a row)").await;
    let starts = script.starts(0);
    assert!(
        starts[2] - starts[1] < Duration::from_secs(3),
        "the new interval counts from the last probe"
    );
    driver.expect(Health::Down, "connection refused").await;
}

#[tokio::test(start_paused = true)]
async fn another_question_is_decided_by_its_first_answer_and_interrupts_nothing() {
    let script = Script::new(MILLI, |kind, _| match kind {
        HealthKind::Tcp => Ok(Answer::Connected),
        HealthKind::Http(probe) if probe.path == "/good" => Ok(Answer::Status(200)),
        _ => Err(status(404)),
    });
    let mut driver = Driver::start(script, targets(0..1, &check(HealthKind::Tcp)));
    driver.expect(Health::Up, "connected in 1.0 ms").await;
    driver.targets.send_replace(targets(0..1, &check(http("/good"))));
    driver.expect(Health::Up, "status 200 in 1.0 ms").await;
    driver.targets.send_replace(targets(0..1, &check(http("/bad"))));
    driver.expect(Health::Down, "status 404, wanted 2xx or 3xx").await;
    driver.targets.send_replace(targets(0..1, &check(HealthKind::None)));
    driver.expect(Health::Up, "not probed").await;
    driver.targets.send_replace(targets(0..1, &check(http("/bad"))));
    driver.expect(Health::Down, "status 404, wanted 2xx or 3xx").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_old_question_is_not_taken_for_one_to_the_new() {
    let script = Script::new(Duration::from_secs(1), |kind, _| match kind {
        HealthKind::Tcp => Err(Failure::Refused),
        _ => Ok(Answer::Status(200)),
    });
    let mut driver = Driver::start(script.clone(), targets(0..1, &check(HealthKind::Tcp)));
    while script.starts(0).is_empty() {
        tokio::time::advance(10 * MILLI).await;
        tokio::task::yield_now().await;
    }
    driver.targets.send_replace(targets(0..1, &check(http("/"))));
    driver.expect(Health::Up, "status 200 in 1.0 ms").await;
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_targets_are_probed_without_a_storm() {
    const TARGETS: u32 = 20_000;
    let script = Script::new(2 * MILLI, |_, _| Ok(Answer::Connected));
    let began = Instant::now();
    let mut driver = Driver::start(script.clone(), targets(0..TARGETS, &check(HealthKind::Tcp)));
    for _ in 0..TARGETS {
        driver.next().await;
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    let most = script.seen.most_in_flight.load(Ordering::SeqCst);
    assert!(most < 120, "spread, {most} at once are far fewer than the limit");
    driver.expect_silence(Duration::from_secs(20)).await;
    for n in 0..TARGETS {
        let probes = script.starts(n).len();
        assert!((9..14).contains(&probes), "{probes} probes of {n} in 20 s");
    }
}

#[tokio::test(start_paused = true)]
async fn when_nothing_answers_probes_wait_their_turn_and_do_not_pile_up() {
    const TARGETS: u32 = 2_000;
    let second = Duration::from_secs(1);
    let script = Script::new(second, |_, _| {
        Err(Failure::TimedOut {
            after: Duration::from_secs(1),
            phase: Phase::Connecting,
        })
    });
    let mut driver = Driver::start(script.clone(), targets(0..TARGETS, &check(HealthKind::Tcp)));
    for _ in 0..TARGETS {
        driver.next().await;
    }
    driver.expect_silence(80 * second).await;
    assert_eq!(script.seen.most_in_flight.load(Ordering::SeqCst), MAX_IN_FLIGHT);
    // 256 probes a second make a round of 7.8 s; everyone gets the same share.
    let counts: Vec<_> = (0..TARGETS).map(|n| script.starts(n).len()).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least >= 10 && most - least <= 2, "{least} to {most}");
    // The unprobed need no turn.
    driver
        .targets
        .send_modify(|all| all.extend(targets(TARGETS..TARGETS + 1, &check(HealthKind::None))));
    let now = Instant::now();
    driver.expect(Health::Up, "not probed").await;
    assert_eq!(now.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_full_channel_holds_back_verdicts_and_loses_none() {
    let script = Script::new(MILLI, |_, n| {
        if n == 0 {
            Ok(Answer::Connected)
        } else {
            Err(Failure::Refused)
        }
    });
    let mut driver = Driver::start(script, targets(0..100, &check(HealthKind::Tcp)));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let mut last = HashMap::new();
    for _ in 0..400 {
        let verdict = driver.verdicts.recv().await.unwrap();
        last.entry(verdict.member.backend)
            .or_insert_with(Vec::new)
            .push(verdict.health);
    }
    assert_eq!(last.len(), 100);
    assert!(
        last.values()
            .all(|seen| *seen == [Health::Up, Health::Up, Health::Up, Health::Down])
    );
}

#[tokio::test]
async fn a_real_backend_comes_and_goes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    let mut check = check(HealthKind::Tcp);
    check.interval = 20 * MILLI;
    check.timeout = Duration::from_secs(5);
    let member = MemberKey {
        service: "web".into(),
        backend,
    };
    let target = Target {
        member: member.clone(),
        name: "web1".into(),
        check,
        path: None,
    };
    let means = probe::Means::new(Net::here().unwrap(), Programs::default());
    let mut driver = Driver::start(Network { means }, vec![Arc::new(target)]);
    let until = async |driver: &mut Driver, wanted| loop {
        let (health, reason) = driver.next().await;
        if health == wanted {
            return reason;
        }
    };
    assert!(until(&mut driver, Health::Up).await.starts_with("connected in "));
    drop(listener);
    assert_eq!(until(&mut driver, Health::Down).await, "connection refused");
    let _listener = tokio::net::TcpListener::bind(backend).await.unwrap();
    assert!(until(&mut driver, Health::Up).await.starts_with("connected in "));
}
