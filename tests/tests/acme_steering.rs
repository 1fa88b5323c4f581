//! Challenges at port 80 of services that are not the proxy's: an authority finds the node, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use lb_tests::backing::{VIPS, decap, hold};
use lb_tests::open::Open;
use lb_tests::ordered::{PATIENCE, Place, SHOP, missing, web};
use lb_tests::peers::output;
use lb_tests::proxied::vip;
use lb_tests::segment::v4;
use lb_tests::toml::service;
use lb_user::api::types::Status;

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

async fn challenged(mode: &str, balance: &str) {
    let place = Place::new(7_776_000, 20).await;
    let Place { segment, pebble, .. } = &place;
    hold(&segment.backends[0], &VIPS).await;
    let _opened = (mode == "tunnel").then(|| decap(&segment.backends[0], &[], "native"));
    let _server = segment.serve(0, &["0.0.0.0:80".to_owned()]);
    pebble.refuse(100);

    let node = &segment.node;
    let tls = web("web", 443).table("tls", pebble.acme(&[SHOP], ""));
    let plain = service("plain", mode, &[vip(80)])
        .with(format_args!("balance = \"{balance}\"\nsteer-challenges = true"))
        .unprobed()
        .backend_with(PLAIN, "name = \"web1\"");
    node.configure(&format!("{}{tls}{plain}", node.head("eth0")));
    let _daemon = node.start().await;
    place.until("it was tried", |one| one.failures > 0).await;
    until_steered(&place, false).await;
    let asked = proxied(&place, "connections_accepted_total");
    let before = Open::start_http(&segment.client, vip(80), 20, PERIOD);
    before.go_on(2, PATIENCE, "before").await;
    assert_eq!(
        proxied(&place, "connections_accepted_total"),
        asked,
        "the backend's own"
    );

    // An authority is on its way, for as long as nothing of it arrives.
    pebble.hang();
    let renewing = node.command(&[
        "certificate",
        "renew",
        "web",
        "--socket",
        &node.path("socket").to_string_lossy(),
    ]);
    let renewing = std::thread::spawn(move || {
        let mut renewing = renewing;
        renewing.output().unwrap()
    });
    until_steered(&place, true).await;
    let meanwhile = Open::start_http(&segment.client, vip(80), 20, PERIOD);
    meanwhile.go_on(2, PATIENCE, "while an authority is on its way").await;
    assert_eq!(
        proxied(&place, "connections_open"),
        20,
        "all that are new are the node's"
    );
    before.go_on(2, PATIENCE, "which the backend has").await;

    pebble.refuse(0);
    place.issued().await;
    let renewed = renewing.join().unwrap();
    assert!(renewed.status.success(), "{renewed:?}");
    assert_eq!(place.ask(SHOP), "hello\n");
    until_steered(&place, false).await;
    let accepted = proxied(&place, "connections_accepted_total");
    let after = Open::start_http(&segment.client, vip(80), 20, PERIOD);
    after.go_on(5, PATIENCE, "after").await;
    meanwhile.go_on(5, PATIENCE, "which the node has kept").await;
    before.go_on(5, PATIENCE, "which the backend has kept").await;
    for open in [&before, &meanwhile, &after] {
        assert_eq!((open.living(), open.of(1)), (20, 20), "{mode}: {:?}", open.lost());
    }
    assert_eq!(proxied(&place, "connections_open"), 20, "{mode}");
    assert_eq!(
        proxied(&place, "connections_accepted_total"),
        accepted,
        "{mode}: new ones are the backend's again"
    );
    for said in [
        "new connections go through the proxy while an authority may come",
        "new connections go to the backends again",
    ] {
        assert!(node.log().contains(said), "{}", node.log());
    }
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
