//! Thousands of connections, and a SYN flood, through every kind of change: no connection to a living backend breaks, and
//! afterwards nothing is remembered.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::changing::{Case, IDLE, Setting, THREE, backend, dump, is_quiet, moving, serves, three_serve};
use lb_tests::flood::Flood;
use lb_tests::gate::{self, Gate, gate};
use lb_tests::node::DEADLINE;
use lb_tests::open::{Open, Seen};
use lb_user::api::types::{AdminState, Health, Status};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

/// Files that a process may have open, at the least: two for each connection of all cases here.
const FILES: u64 = 19_500;

/// How often a connection speaks, and one that is idle otherwise: so often that one that is held up for seconds still speaks
/// within [`IDLE`].
const PERIOD: Duration = Duration::from_secs(1);
const IDLE_PERIOD: Duration = Duration::from_millis(1500);

/// More than what is written down in a change here, and less.
const LARGE: u32 = 262_144;
const SMALL: u32 = 1024;

/// Longest life of what a flood leaves: an opening that nothing follows.
const OPENING: Duration = Duration::from_secs(60);

/// The ports of those that were reset.
fn reset(open: &Open) -> BTreeSet<u16> {
    let each = open.each().into_iter();
    let lost = each.filter_map(|seen| {
        let why = seen.lost?;
        assert!(why.starts_with("Connection reset"), "{}: {why}", seen.port);
        Some(seen.port)
    });
    lost.collect()
}

async fn nobody_notices(case: Case) {
    let Case {
        name,
        flow_table,
        count,
        period,
        ..
    } = case;
    let begun = Instant::now();
    let mut setting = Setting::new(case).await;
    let daemon = setting.start().await;
    let written = setting.node().client().status().await.unwrap().flows.flows.written;

    let (_attacker, flood) = setting.flood().await;
    let open = setting.open(count, period);
    open.go_on(1, 2 * DEADLINE, "they open").await;
    assert_eq!(open.lost(), [], "they open");
    assert_eq!([1, 2, 3].map(|n| open.of(n)).iter().sum::<usize>(), count);
    eprintln!("{name}: open after {:?}", begun.elapsed());
    until_flooded(&flood).await;
    // While nothing changes, neither the flood nor the connections are remembered.
    assert_eq!(dump(setting.node()), BTreeSet::new());
    let status = setting.node().client().status().await.unwrap();
    assert_eq!(status.flows.flows.written, written);

    let patience = period + DEADLINE;
    setting.config(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    setting.node().until("a fourth serves", |s| serves(s, "web4")).await;
    open.go_on(2, patience, "a backend more").await;

    setting.patch(1, AdminState::Drain).await;
    open.go_on(2, patience, "one drains").await;
    assert_eq!(open.lost(), [], "a backend more, and one that drains");

    setting.config(&[(1, 1), (2, 3), (3, 1), (4, 1)]);
    let heavier = |s: &Status| backend(s, "web2").is_some_and(|b| b.weight == 3);
    setting.node().until("another weight", heavier).await;
    open.go_on(2, patience, "another weight").await;
    assert_eq!(open.lost(), [], "another weight");

    // Its own connections end with it, and no others.
    let its = open.of(3);
    setting.die(3);
    let down = |s: &Status| backend(s, "web3").is_some_and(|b| b.health == Health::Down && b.slots == 0);
    setting.node().until("one is down", down).await;
    open.go_on(1, patience, "one is down").await;
    setting.serve(3);
    setting.node().until("it is back", |s| serves(s, "web3")).await;
    open.go_on(2, patience, "it is back").await;

    // The manager dies as soon as the first slots of a change have moved.
    setting.config(&[(1, 1), (2, 1), (3, 2), (4, 1)]);
    let lighter = |s: &Status| backend(s, "web2").is_some_and(|b| b.weight == 1) && moving(s) > 0;
    setting.node().until("a change begins", lighter).await;
    daemon.end(Signal::SIGKILL);
    let _daemon = setting.node().start().await;
    open.go_on(2, patience, "the manager has died").await;

    // Back to what was, and so the slots too.
    setting.patch(1, AdminState::Active).await;
    setting.config(&THREE);
    let back = |s: &Status| three_serve(s) && backend(s, "web4").is_none_or(|b| b.slots == 0);
    setting.node().until("all is as it was", back).await;
    open.go_on(2, patience, "all is as it was").await;
    let lost = open.lost();
    assert!(lost.iter().all(|(backend, _)| *backend == 3), "{lost:?}");
    assert_eq!(lost.len(), its);
    let full = setting.node().client().status().await.unwrap().flows.flows;
    eprintln!("{name}: all is as it was after {:?}: {full:?}", begun.elapsed());
    assert_eq!(full.no_room > 0, flow_table == SMALL, "{full:?}");

    // While openings find no room no window closes; otherwise the flood goes on, and nothing new is written.
    let flood = (flow_table == LARGE).then_some(flood);
    setting
        .node()
        .until_within(2 * IDLE + DEADLINE, "nothing moves", |s| moving(s) == 0)
        .await;
    open.go_on(1, patience, "nothing moves").await;
    assert_eq!(open.lost().len(), its, "nothing moves");
    let patience = IDLE + OPENING + DEADLINE;
    setting
        .node()
        .until_within(patience, "nothing is remembered", is_quiet)
        .await;
    assert_eq!(dump(setting.node()), BTreeSet::new());
    assert_eq!(open.lost().len(), its, "nothing is remembered");
    drop(flood);
    eprintln!("{name}: nothing is remembered after {:?}", begun.elapsed());
}

/// Waits until a flood has been going on for some time.
async fn until_flooded(flood: &Flood) {
    let deadline = Instant::now() + DEADLINE;
    while flood.sent() < 20_000 {
        assert!(Instant::now() < deadline, "a flood of {} in all", flood.sent());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Some connections speak within `idle-timeout`, and others say nothing from before the first change until the last
/// window has closed. Who has had another backend put in its place meanwhile is reset by that one, and nobody else is.
async fn only_the_silent_are_forgotten(case: Case) {
    let begun = Instant::now();
    let setting = Setting::new(case).await;
    let daemon = setting.start().await;
    let (_attacker, _flood) = setting.flood().await;
    let [lively, silent] = [(); 2].map(|()| setting.open(case.count / 2, case.period));
    for open in [&lively, &silent] {
        open.go_on(1, 2 * DEADLINE, "they open").await;
    }
    silent.fall_silent();
    let patience = case.period + DEADLINE;
    // Meanwhile the last answers to the silent ones are acknowledged.
    lively.go_on(3, patience, "the others are silent").await;
    assert_eq!(dump(setting.node()), BTreeSet::new());

    // One more, one that drains, another weight, and a manager that dies in the middle of that.
    setting.config(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    setting.node().until("a fourth serves", |s| serves(s, "web4")).await;
    lively.go_on(1, patience, "a backend more").await;
    setting.patch(1, AdminState::Drain).await;
    let drained = |s: &Status| backend(s, "web1").is_some_and(|b| b.slots == 0);
    setting.node().until("one drains", drained).await;
    setting.config(&[(1, 1), (2, 3), (3, 1), (4, 1)]);
    let heavier = |s: &Status| backend(s, "web2").is_some_and(|b| b.weight == 3) && moving(s) > 0;
    setting.node().until("another weight", heavier).await;
    daemon.end(Signal::SIGKILL);
    let _daemon = setting.node().start().await;
    lively.go_on(1, patience, "the manager has died").await;
    let closed = |s: &Status| drained(s) && serves(s, "web4") && moving(s) == 0;
    setting
        .node()
        .until_within(2 * IDLE + DEADLINE, "the last window has closed", closed)
        .await;

    // Those that spoke are known and stay; of the others only the slot says where they go.
    assert_eq!(setting.led_astray(&lively).await, BTreeMap::new());
    let known = setting.known();
    let ports = |open: &Open| open.each().iter().map(|seen| seen.port).collect::<BTreeSet<_>>();
    assert!(!known.is_empty() && known.is_subset(&ports(&lively)), "{known:?}");
    let astray = setting.led_astray(&silent).await;
    let leaves = |seen: &Seen| seen.backend == 1;
    let mut drained = silent.each().into_iter().filter(leaves);
    assert!(silent.of(1) > 0 && drained.all(|seen| astray.contains_key(&seen.port)));
    assert!(astray.len() < silent.living(), "some slots have not changed hands");
    let resets = setting.resets();
    silent.speak_again();
    silent.go_on(1, patience, "they speak again").await;
    let forgotten: BTreeSet<u16> = astray.keys().copied().collect();
    assert_eq!(reset(&silent), forgotten);
    for (number, (before, after)) in (1..).zip(resets.into_iter().zip(setting.resets())) {
        // One that is repeated is answered again.
        let here = astray.values().filter(|&&whose| whose == number).count() as u64;
        assert!(
            after - before >= here,
            "{here} are led to backend {number}: {before} to {after}"
        );
        assert_eq!(after > before, here > 0, "backend {number}: {before} to {after}");
    }
    assert_eq!(lively.lost(), []);
    let known = setting.known();
    assert!(known.is_subset(&ports(&lively)), "{known:?}");
    eprintln!(
        "{}: {} of {} are reset after {:?}",
        case.name,
        astray.len(),
        case.count / 2,
        begun.elapsed()
    );

    // The others fall silent for too long now, and are forgotten.
    lively.fall_silent();
    setting
        .node()
        .until_within(IDLE + OPENING + DEADLINE, "nothing is remembered", is_quiet)
        .await;
    let astray = setting.led_astray(&lively).await;
    assert_eq!(
        astray.keys().copied().collect::<BTreeSet<_>>(),
        known,
        "who was known had to be"
    );
    assert!(known.len() < lively.living());
    for open in [&lively, &silent] {
        open.speak_again();
        open.go_on(1, patience, "they speak again").await;
    }
    assert_eq!(reset(&lively), known);
    assert_eq!(reset(&silent), forgotten);
    assert_eq!(dump(setting.node()), BTreeSet::new());
    assert!(is_quiet(&setting.node().client().status().await.unwrap()));
    eprintln!("{}: nothing is remembered after {:?}", case.name, begun.elapsed());
}

const DSR: Case = Case {
    name: "dsr",
    mode: "dsr",
    ipv6: false,
    flow_table: LARGE,
    count: 5000,
    period: PERIOD,
};

/// What the flood has left lives for a minute, and so each of these takes 90 s.
const CASES: [Case; 4] = [
    DSR,
    Case {
        name: "tunnel",
        mode: "tunnel",
        count: 1500,
        ..DSR
    },
    Case {
        name: "dsr over IPv6",
        ipv6: true,
        count: 1500,
        ..DSR
    },
    // Changes are delayed, that is all.
    Case {
        name: "dsr with a full table, for those who speak now and then",
        flow_table: SMALL,
        count: 800,
        period: IDLE_PERIOD,
        ..DSR
    },
];

const SILENT: Case = Case {
    name: "dsr, for those who say nothing",
    count: 600,
    period: IDLE_PERIOD,
    ..DSR
};

/// All of them wait most of the time, and so they run beside each other, however few processors there are.
#[test]
fn nobody_notices_changes_but_who_is_silent_for_too_long() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let few = (most < FILES).then_some("needs 19,500 open files, see `ulimit -Hn`");
    if gate::root() == Gate::Skip || gate(few) == Gate::Skip {
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    thread::scope(|scope| {
        let beside = |case: Case, test: AsyncTest| {
            let thread = thread::Builder::new().name(case.name.to_owned());
            let test = move || Runtime::new().unwrap().block_on(test(case));
            thread.spawn_scoped(scope, test).unwrap();
        };
        for case in CASES {
            beside(case, |case| Box::pin(nobody_notices(case)));
        }
        beside(SILENT, |case| Box::pin(only_the_silent_are_forgotten(case)));
    });
}

type AsyncTest = fn(Case) -> Pin<Box<dyn Future<Output = ()>>>;
