//! Backends that change their mind all the time: as many changes as `rise` and `fall` allow, no flow of anybody else is
//! touched, and the log stays readable. And one that comes back slowly.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use lb_tests::backing::{VIPS, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Node};
use lb_tests::open::{Open, Server};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::{Service, service};
use lb_user::api::types::{Health, Status};
use lb_user::model::fsm::{Machine, Outcome};

/// Turns of each of the two.
const TURNS: u64 = 12;

/// So many successes bring a backend up, and so many failures take it down: more than there are in a row in `web2`, even if a
/// busy machine makes two probes more too late.
const RISE: u32 = 2;
const FALL: u32 = 5;

/// Probes of `web1` from turn to turn.
const LONG: u64 = 6;

/// The probes of `web1` turn every six, and two of six fail in `web2`; the others are content. Each counts its own in a file,
/// from when [`begin`] says so; until then all are content.
fn script(node: &Node) -> String {
    let folder = node.path("probes");
    fs::create_dir(&folder).unwrap();
    let script = format!(
        "cd {}; [ -e begun ] || exit 0; \
         n=$(cat $FULCRUM_BACKEND 2>/dev/null || echo 0); n=$((n + 1)); echo $n > new.$FULCRUM_BACKEND; \
         mv new.$FULCRUM_BACKEND $FULCRUM_BACKEND; \
         case $FULCRUM_BACKEND in web1) test $((n / {LONG} % 2)) = 0;; web2) test $((n % {LONG})) -lt 4;; esac",
        folder.display()
    );
    format!(
        "kind = \"script\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\ninterval = \"400ms\"\ntimeout = \"400ms\"\n\
         rise = {RISE}\nfall = {FALL}"
    )
}

/// Has the probes turn from now on.
fn begin(node: &Node) {
    fs::write(node.path("probes/begun"), "").unwrap();
}

/// Probes of a backend that have begun since then.
fn probes(node: &Node, name: &str) -> u64 {
    let count = fs::read_to_string(node.path("probes").join(name)).unwrap_or_default();
    count.trim().parse().unwrap_or(0)
}

/// How often the health of `web1`, which is up, changes within its first probes.
fn changes(probes: u64) -> usize {
    let mut machine = Machine::new(NonZeroU32::new(RISE).unwrap(), NonZeroU32::new(FALL).unwrap());
    let outcome = |n: u64| {
        if (n / LONG).is_multiple_of(2) {
            Outcome::Success
        } else {
            Outcome::Failure
        }
    };
    (1..=probes).filter_map(|n| machine.observe(outcome(n))).count() - 1
}

fn web(segment: &Segment, health: &str) -> Service {
    let web = service("web", "dsr", &[SocketAddr::new(VIPS[0], 80)])
        .with("table-size = 1024")
        .table("health", health);
    (1..).zip(&segment.backends).fold(web, |web, (number, _)| {
        web.backend_with(
            SocketAddr::new(v4(10 + number), 80),
            format_args!("name = \"web{number}\""),
        )
    })
}

async fn serving(segment: &Segment) -> Vec<Server> {
    let mut servers = Vec::new();
    for (number, host) in (1..).zip(&segment.backends) {
        hold(host, &VIPS[..1]).await;
        servers.push(Server::start(host, SocketAddr::new(VIPS[0], 80), number));
    }
    servers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_flaps_disturbs_nobody_else() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(3).await;
    let node = &segment.node;
    let _servers = serving(&segment).await;
    node.configure(&format!("{}{}", node.head("eth0"), web(&segment, &script(node))));
    let _daemon = node.start().await;
    node.until("all serve", |s: &Status| {
        let mut all = s.services[0].backends.iter();
        all.all(|b| b.slots > 0 && b.health == Health::Up)
    })
    .await;
    let open = Open::start(
        &segment.client,
        SocketAddr::new(VIPS[0], 80),
        90,
        Duration::from_millis(200),
    );
    open.go_on(1, DEADLINE, "they open").await;
    let others = [2, 3].map(|number| open.of(number));
    assert!(others.iter().all(|&count| count > 8), "{others:?}");
    let before = node.log().lines().count();
    begin(node);

    // To the middle of a turn, where it does not matter to the count of changes whether a probe was too late.
    let enough = |_: &Status| probes(node, "web1") >= LONG * TURNS + LONG / 2 && probes(node, "web2") >= LONG * TURNS;
    node.until_within(Duration::from_secs(120), "they have turned often", enough)
        .await;
    // Those that began on a backend that is gone are told so, and nobody else notices.
    open.go_on(3, DEADLINE, "the others go on").await;
    assert_eq!([2, 3].map(|number| open.of(number)), others);
    assert!(
        open.lost().iter().all(|(backend, _)| *backend == 1),
        "{:?}",
        open.lost()
    );

    // As many changes as there have to be, one line for each, and no other line.
    let least = changes(probes(node, "web1") - 1);
    let log = node.log();
    let most = changes(probes(node, "web1"));
    let (mut changed, mut other) = (Vec::new(), Vec::new());
    for line in log.lines().skip(before) {
        let of_web1 = line.contains("health changed") && line.contains(&v4(11).to_string());
        if of_web1 { &mut changed } else { &mut other }.push(line);
    }
    assert!(
        (least..=most).contains(&changed.len()),
        "{least} to {most}, not {}:\n{log}",
        changed.len()
    );
    assert!(changed.len() as u64 >= TURNS - 2, "{log}");
    assert_eq!(other, [] as [&str; 0], "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_starts_slowly_and_a_backup_steps_aside() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(3).await;
    let node = &segment.node;
    let mut servers = serving(&segment).await;
    let health = "interval = \"100ms\"\nslow-start = \"8s\"\nquorum = 2";
    // Probes go to the backend's own address.
    let mut own: Vec<_> = (11..)
        .zip(&segment.backends)
        .map(|(number, host)| Some(Server::start(host, SocketAddr::new(v4(number), 80), number - 10)))
        .collect();
    let text = web(&segment, health).to_string();
    let text = text.replace("name = \"web3\"", "name = \"web3\"\nrole = \"backup\"");
    node.configure(&format!("{}{text}", node.head("eth0")));
    let _daemon = node.start().await;
    let slots = |s: &Status| s.services[0].backends.iter().map(|b| b.slots).collect::<Vec<_>>();
    let up = |s: &Status| {
        s.services[0]
            .backends
            .iter()
            .map(|b| b.health == Health::Up)
            .collect::<Vec<_>>()
    };
    let status = node.until("two serve", |s| slots(s) == [512, 512, 0] && up(s)[2]).await;
    assert!(status.services[0].healthy && status.services[0].ready == 3);

    for index in 0..2 {
        own[index] = None;
        let alone = [[0, 1024, 0], [0, 0, 1024]][index];
        node.until("one less", |s| slots(s) == alone).await;
    }
    let status = node.client().status().await.unwrap();
    assert!(!status.services[0].healthy && status.services[0].ready == 1);
    let open = Open::start(
        &segment.client,
        SocketAddr::new(VIPS[0], 80),
        20,
        Duration::from_millis(100),
    );
    open.go_on(1, DEADLINE, "the backup answers").await;
    assert_eq!(open.of(3), 20);

    // The first one has all that is new, the second one comes beside it step by step; the backup keeps what it has.
    own[0] = Some(Server::start(&segment.backends[0], SocketAddr::new(v4(11), 80), 1));
    node.until("the first is back", |s| slots(s) == [1024, 0, 0]).await;
    node.until("it has its whole weight", |s| {
        s.services[0].backends[0].slow_start_tenths.is_none()
    })
    .await;
    own[1] = Some(Server::start(&segment.backends[1], SocketAddr::new(v4(12), 80), 2));
    let mut seen = Vec::new();
    loop {
        let status = node.client().status().await.unwrap();
        let second = &status.services[0].backends[1];
        let share = (second.slow_start_tenths, second.slots);
        if seen.last() != Some(&share) && second.slots > 0 {
            seen.push(share);
        }
        if share == (None, 512) {
            break;
        }
        assert!(seen.len() < 20, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(seen.len() > 3 && seen.is_sorted_by_key(|(_, slots)| *slots), "{seen:?}");
    open.go_on(3, DEADLINE, "they finish").await;
    assert_eq!((open.of(3), open.lost()), (20, vec![]));
    servers.clear();
}
