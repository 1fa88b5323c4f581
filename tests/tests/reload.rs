//! Reloads while connections are open: what cannot be done is refused, and nobody notices.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::backing::{VIPS, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, refused};
use lb_tests::open::{Open, Server};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::Status;

const SERVER: SocketAddr = SocketAddr::new(VIPS[0], 80);

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_should_become_smaller_is_refused() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let node = &segment.node;
    let mut servers = Vec::new();
    for (number, host) in (1..).zip(&segment.backends) {
        hold(host, &VIPS[..1]).await;
        servers.push(Server::start(host, SERVER, number));
    }
    let config = |slots: u32, weight: u16| {
        let web = service("web", "dsr", &[SERVER])
            .with(format_args!("table-size = {slots}"))
            .unprobed()
            .backend_with(SocketAddr::new(v4(11), 80), format_args!("weight = {weight}"))
            .backend(SocketAddr::new(v4(12), 80));
        node.configure(&format!("{}{web}", node.head("eth0")));
    };
    // Slots of the ring and of each backend, when both are reached.
    let slots = |s: &Status| {
        let web = s.services.first()?;
        let slots = web.backends.iter().map(|b| b.next_hop.as_ref().map(|_| b.slots));
        Some((web.table_size, slots.collect::<Option<Vec<_>>>()?))
    };
    config(1024, 1);
    let _daemon = node.start().await;
    let even = |s: &Status| slots(s) == Some((1024, vec![512, 512]));
    let before = node.until("both backends serve", even).await;
    let open = Open::start(&segment.client, SERVER, 100, Duration::from_millis(200));
    open.go_on(1, DEADLINE, "they open").await;

    // Smaller, and something else that would be seen.
    config(512, 3);
    let status = node.until("it is refused", |s| s.refused_reload.is_some()).await;
    let reason = status.refused_reload.clone().unwrap();
    let file = node.path("fulcrum.toml").display().to_string();
    assert_eq!(
        reason,
        format!(
            "{file}: service `web`: table-size cannot become smaller while its flows are to keep their backends; leave it \
             as it is, or take the service out of the file for one reload, which ends its flows"
        )
    );
    assert!(even(&status) && status.fault.is_none(), "{status:?}");
    open.go_on(3, DEADLINE, "it is refused").await;
    let log = node.log();
    assert_eq!(log.matches("reload refused").count(), 1, "{log}");
    assert!(!log.contains(" WARN "), "{log}");
    // Who asks for it is told the same.
    let socket = node.path("socket");
    let said = refused(&mut node.command(&["reload", "--socket", &socket.to_string_lossy()]));
    assert_eq!(said.matches(&reason).count(), 1, "{said}");
    open.go_on(3, DEADLINE, "it is refused again").await;
    let status = node.client().status().await.unwrap();
    assert!(even(&status), "{status:?}");
    assert_eq!(
        status.services[0].slot_states, before.services[0].slot_states,
        "no slot has changed"
    );
    assert_eq!(open.lost(), []);

    // Larger it may become, and nobody notices that either.
    config(2048, 3);
    let larger = |s: &Status| slots(s) == Some((2048, vec![1536, 512])) && s.refused_reload.is_none();
    node.until("it is larger", larger).await;
    open.go_on(3, DEADLINE, "it is larger").await;
    assert_eq!(open.lost(), []);

    // What the message advises.
    node.configure(&node.head("eth0"));
    node.until("there is no service", |s| s.services.is_empty()).await;
    config(512, 3);
    let smaller = |s: &Status| slots(s) == Some((512, vec![384, 128]));
    node.until("it is smaller", smaller).await;
    let open = Open::start(&segment.client, SERVER, 100, Duration::from_millis(200));
    open.go_on(1, DEADLINE, "they open").await;
    assert!(open.lost().is_empty() && open.of(1) > open.of(2));
}
