//! Challenges at port 80 of services that are not the proxy's: an authority finds the node, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::thread::JoinHandle;
use std::time::Duration;

use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::node::Daemon;
use lb_tests::open::Open;
use lb_tests::ordered::{PATIENCE, Place, SHOP, missing, web};
use lb_tests::peers::output;
use lb_tests::proxied::vip;
use lb_tests::segment::{Process, v4};
use lb_tests::toml::service;
use lb_user::api::types::Status;
use nix::sys::signal::Signal;

/// How often each connection speaks.
const PERIOD: Duration = Duration::from_millis(100);

/// Each backend that is asked is this one.
const PLAIN: SocketAddr = SocketAddr::new(v4(11), 80);

/// Waits until new connections to port 80 are the node's, or the backend's.
async fn until_steered(place: &Place, steered: bool) {
    let is_so = |status: &Status| {
        let backend = &status.services[1].backends[0];
        assert!(backend.serves(), "in one way or the other");
        (backend.slots == 0) == steered
    };
    place
        .segment
        .node
        .until_within(PATIENCE, "steered, or not", is_so)
        .await;
}

/// Of port 80, as it is scraped.
fn proxied(place: &Place, what: &str) -> u64 {
    let socket = place.segment.node.path("socket");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "http://node/metrics", "--unix-socket"])
        .arg(socket);
    let text = output(&place.segment.node.namespace, &mut curl);
    let series = format!("fulcrum_http_{what}{{service=\"plain\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap_or_else(|| panic!("{series}\n{text}")).parse().unwrap()
}

/// A node that has tried to order, and failed, and what is around it.
struct Tried {
    /// First, so that it is gone when what it has pinned is taken away with the place.
    daemon: Daemon,
    place: Place,
    /// What the backend runs.
    _processes: Vec<Process>,
}

impl Tried {
    async fn new(mode: &str, balance: &str) -> Self {
        let place = Place::new(7_776_000, 20).await;
        let Place { segment, pebble, .. } = &place;
        hold(&segment.backends[0], &VIPS).await;
        let mut processes = vec![segment.serve(0, &["0.0.0.0:80".to_owned()])];
        if mode == "tunnel" {
            processes.push(decap(&segment.backends[0], &[], "native"));
        }
        pebble.refuse(100);
        let node = &segment.node;
        let tls = web("web", 443).table("tls", pebble.acme(&[SHOP], ""));
        let plain = service("plain", mode, &[vip(80)])
            .with(format_args!("balance = \"{balance}\"\nsteer-challenges = true"))
            .unprobed()
            .backend_with(PLAIN, "name = \"web1\"");
        node.configure(&format!("{}{tls}{plain}", node.head("eth0")));
        let daemon = node.start().await;
        place.until("it was tried", |one| one.failures > 0).await;
        until_steered(&place, false).await;
        Self {
            daemon,
            place,
            _processes: processes,
        }
    }

    fn open(&self) -> Open {
        Open::start_http(&self.place.segment.client, vip(80), 20, PERIOD)
    }

    /// An authority is on its way, for as long as nothing of it arrives; and what the command says in the end that has it come.
    async fn authority_comes(&self) -> JoinHandle<Output> {
        self.place.pebble.hang();
        let node = &self.place.segment.node;
        let socket = node.path("socket").to_string_lossy().into_owned();
        let mut renew = node.command(&["certificate", "renew", "web", "--socket", &socket]);
        let renewed = std::thread::spawn(move || renew.output().unwrap());
        until_steered(&self.place, true).await;
        renewed
    }
}

async fn challenged(mode: &str, balance: &str) {
    let tried = Tried::new(mode, balance).await;
    let Tried { place, .. } = &tried;
    let asked = proxied(place, "connections_accepted_total");
    let before = tried.open();
    before.go_on(2, PATIENCE, "before").await;
    assert_eq!(
        proxied(place, "connections_accepted_total"),
        asked,
        "the backend has them"
    );

    let renewed = tried.authority_comes().await;
    let meanwhile = tried.open();
    meanwhile.go_on(1, PATIENCE, "while an authority is on its way").await;
    assert_eq!(
        proxied(place, "connections_open"),
        20,
        "all that are new are the node's"
    );
    // At once, since it gives up after some seconds.
    place.pebble.refuse(0);
    meanwhile.go_on(2, PATIENCE, "which the node has").await;
    before.go_on(2, PATIENCE, "which the backend has").await;

    place.issued().await;
    let renewed = renewed.join().unwrap();
    assert!(renewed.status.success(), "{renewed:?}");
    assert_eq!(place.ask(SHOP), "hello\n");
    until_steered(place, false).await;
    let accepted = proxied(place, "connections_accepted_total");
    let after = tried.open();
    after.go_on(5, PATIENCE, "after").await;
    meanwhile.go_on(5, PATIENCE, "which the node has kept").await;
    before.go_on(5, PATIENCE, "which the backend has kept").await;
    for open in [&before, &meanwhile, &after] {
        assert_eq!((open.living(), open.of(1)), (20, 20), "{mode}: {:?}", open.lost());
    }
    assert_eq!(proxied(place, "connections_open"), 20, "{mode}");
    assert_eq!(
        proxied(place, "connections_accepted_total"),
        accepted,
        "{mode}: new ones are the backend's again"
    );
    for said in [
        "new connections go through the proxy while an authority may come",
        "new connections go to the backends again",
    ] {
        let log = place.segment.node.log();
        assert!(log.contains(said), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_meanwhile_leaves_connections_where_they_are() {
    if missing() {
        return;
    }
    let tried = Tried::new("dsr", "maglev").await;
    let before = tried.open();
    before.go_on(2, PATIENCE, "before").await;
    drop(tried.authority_comes().await);
    let Tried {
        daemon,
        place,
        _processes,
    } = tried;
    daemon.end(Signal::SIGKILL);
    before.go_on(5, PATIENCE, "without a daemon").await;
    place.pebble.refuse(0);
    let _daemon = place.segment.node.start().await;
    // It has failed just now, and waits before it tries again.
    until_steered(&place, false).await;
    let after = Open::start_http(&place.segment.client, vip(80), 20, PERIOD);
    after.go_on(5, PATIENCE, "after").await;
    before.go_on(5, PATIENCE, "which the backend has kept").await;
    assert_eq!((before.living(), after.living()), (20, 20));
    place.issued().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dsr() {
    if !missing() {
        challenged("dsr", "maglev").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnel() {
    if !missing() {
        challenged("tunnel", "least-connections").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nat() {
    if !missing() {
        challenged("nat", "maglev").await;
    }
}
