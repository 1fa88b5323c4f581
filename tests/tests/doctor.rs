//! `fulcrum doctor` on a machine that is well, and on ones that are not.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::net::{SocketAddr, TcpListener};

use lb_tests::backing::{VIPS, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::Status;
use lb_user::net::Net;
use serde_json::Value;

/// Exit code, and what was found: level, subject and cause, but for what is fine.
fn doctor(segment: &Segment) -> (Option<i32>, Vec<(String, String, String)>) {
    let config = segment.node.path("fulcrum.toml");
    let mut command = segment
        .node
        .command(&["doctor", "--json", "-c", &config.to_string_lossy()]);
    let output = command.output().unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let findings = findings.as_array().unwrap().iter();
    let of = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let wrong = findings.filter(|f| f["level"] != "fine" && f["subject"] != "tests" && f["subject"] != "clock");
    let wrong = wrong.map(|f| (of(f, "level"), of(f, "subject"), of(f, "cause")));
    (output.status.code(), wrong.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_are_found() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let node = &segment.node;
    let mut servers = Vec::new();
    for (index, host) in segment.backends.iter().enumerate() {
        hold(host, &VIPS).await;
        let listen = [v4(11 + index as u8), VIPS[0]].map(|ip| SocketAddr::new(ip, 80).to_string());
        servers.push(segment.serve(index, &listen));
    }
    let web = service("web", "dsr", &[SocketAddr::new(VIPS[0], 80)]).with("table-size = 64");
    // As long as `fulcrum doctor` waits for an answer at most.
    let web = web.table("health", "kind = \"none\"\ntimeout = \"2s\"");
    let web = web.backend_with(SocketAddr::new(v4(11), 80), "name = \"web1\"");
    let web = web.backend_with(SocketAddr::new(v4(12), 80), "name = \"web2\"");
    node.configure(&format!("{}{web}", node.head("eth0")));

    // Nobody balances yet.
    let (code, found) = doctor(&segment);
    assert!(
        code == Some(1) && found.len() == 1 && found[0].1 == "daemon",
        "{found:?}"
    );

    let daemon = node.start().await;
    let reached = |s: &Status| {
        s.services[0]
            .backends
            .iter()
            .all(|b| b.next_hop.is_some() && b.slots > 0)
    };
    node.until("all serve", reached).await;
    assert_eq!(doctor(&segment), (Some(0), Vec::new()));

    // A program in the way of tests, and a backend that is gone.
    let beside = node
        .namespace
        .run_inside(|| TcpListener::bind("0.0.0.0:80"))
        .unwrap()
        .unwrap();
    let (code, found) = doctor(&segment);
    assert_eq!(
        (code, found[0].0.as_str(), found[0].1.as_str()),
        (Some(0), "note", "web"),
        "{found:?}"
    );
    drop(beside);
    let more = web.backend_with(SocketAddr::new(v4(99), 80), "name = \"web9\"");
    node.configure(&format!("{}{more}", node.head("eth0")));
    let unreached = |s: &Status| {
        let web9 = s.services[0].backends.iter().find(|b| b.name == "web9");
        web9.is_some_and(|b| b.next_hop.is_none() && b.next_hop_reason.as_deref().is_some_and(|r| r.contains("99")))
    };
    node.until("one is not reached", unreached).await;
    let (_, found) = doctor(&segment);
    assert!(
        found
            .iter()
            .any(|(_, subject, cause)| subject == "web/web9" && cause.contains("10.8.0.99")),
        "{found:?}"
    );

    // The daemon dies, and what it leaves goes on; then the interface goes.
    drop(daemon);
    let (code, found) = doctor(&segment);
    let levels: Vec<_> = found
        .iter()
        .map(|(level, subject, _)| (level.as_str(), subject.as_str()))
        .collect();
    assert_eq!(
        (code, levels),
        (
            Some(1),
            vec![("note", "eth0"), ("failure", "daemon"), ("failure", "web/web9")]
        )
    );
    let net = Net::inside(&node.namespace).unwrap();
    net.set_down(net.index("eth0").await.unwrap()).await.unwrap();
    let (code, found) = doctor(&segment);
    assert!(
        code == Some(1) && found.iter().any(|(_, _, cause)| cause == "it is switched off"),
        "{found:?}"
    );
}
