//! `fulcrum lab compare`: what it finds out of ways to balance that differ in kind, and that nothing is left of it.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::lab::{LabTurn, fulcrum};
use lb_user::net::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const FOLDER: &str = "/run/fulcrum/lab/compare";

fn assert_gone() {
    assert!(!Path::new(FOLDER).exists(), "the folder is left");
    let left: Vec<String> = Namespace::names().unwrap();
    assert!(left.iter().all(|name| !name.starts_with("fl-compare-")), "{left:?}");
}

fn subject<'v>(found: &'v Value, name: &str) -> &'v Value {
    let mut subjects = found["subjects"].as_array().unwrap().iter();
    subjects
        .find(|subject| subject["name"] == name)
        .unwrap_or_else(|| panic!("no {name}: {found:#}"))
}

fn event<'v>(subject: &'v Value, of: &str) -> &'v Value {
    let mut events = subject["events"].as_array().unwrap().iter();
    events
        .find(|event| event["of"] == of)
        .unwrap_or_else(|| panic!("nothing {of}: {subject:#}"))
}

/// How many servers got requests of this kind.
fn servers(subject: &Value, of: &str) -> usize {
    let mut spreads = subject["spread"].as_array().unwrap().iter();
    let spread = spreads.find(|spread| spread["of"] == of).unwrap();
    let served = spread["served"].as_object().unwrap().values();
    served.filter(|count| count.as_u64().unwrap() > 0).count()
}

#[test]
fn what_differs_in_kind_is_seen() {
    let Some(_turn) = LabTurn::take(&["compare"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let names = [
        "direct",
        "dsr",
        "tunnel",
        "nat",
        "proxy",
        "proxy-tls",
        "haproxy-http",
        "nginx-stream",
        "nftables",
    ];
    let output = fulcrum()
        .args([
            "lab",
            "compare",
            "--quick",
            "--duration",
            "100ms",
            "--rounds",
            "2",
            "--json",
            "-",
        ])
        .args(["--subject", &names.join(",")])
        .arg("--html")
        .arg(&page)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_gone();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found["interrupted"], &found["missing"]),
        (&false.into(), &serde_json::json!([])),
        "{said}"
    );
    for name in names {
        let subject = subject(&found, name);
        for figures in ["requests", "connections"] {
            let figures = subject[figures].as_array().unwrap();
            assert!(
                figures.len() == 2 && figures.iter().all(|figure| figure.as_f64().unwrap() > 0.0),
                "{name}"
            );
        }
        assert_eq!(subject["latency"]["rounds"].as_array().unwrap().len(), 2, "{name}");
        assert!(
            subject["cost"]["machine_per_request"].as_array().unwrap().len() == 2,
            "{name}"
        );
        let killed = event(subject, "killed");
        assert!(
            killed["answered"].as_u64().unwrap() + killed["failed"].as_u64().unwrap() > 100,
            "{name}: {killed}"
        );
    }

    // The client's address: kept by those that do not touch it, told in a header by the proxies.
    for name in ["direct", "dsr", "tunnel"] {
        let seen = &subject(&found, name)["seen"];
        assert_eq!(seen["client"], seen["as_client"], "{name}");
    }
    for name in ["nat", "proxy", "haproxy-http", "nginx-stream", "nftables"] {
        let seen = &subject(&found, name)["seen"];
        assert_ne!(seen["client"], seen["as_client"], "{name}");
    }
    assert!(
        subject(&found, "proxy")["seen"]["added"]
            .to_string()
            .contains("x-forwarded-for")
    );
    assert_eq!(subject(&found, "nat")["seen"]["added"], serde_json::json!([]));

    // One connection of HTTP/2: to one server at layer 4, over both at layer 7.
    for (name, expected) in [
        ("dsr", 1),
        ("nat", 1),
        ("nginx-stream", 1),
        ("proxy-tls", 2),
        ("haproxy-http", 2),
    ] {
        assert_eq!(servers(subject(&found, name), "http2"), expected, "{name}");
        assert_eq!(servers(subject(&found, name), "short"), 2, "{name}");
    }

    // A program costs time where there is one, a process where there is one.
    for (name, program, process) in [
        ("dsr", true, true),
        ("haproxy-http", false, true),
        ("nftables", false, false),
    ] {
        let cost = &subject(&found, name)["cost"];
        let some = |kind: &str| cost[kind].as_array().is_some_and(|rounds| !rounds.is_empty());
        assert_eq!(
            (some("program_per_packet"), some("process_per_request")),
            (program, process),
            "{name}: {cost}"
        );
    }

    // Who dies is missed at layer 4, and not at layer 7; who is drained is missed nowhere.
    assert!(event(subject(&found, "nftables"), "killed")["failed"].as_u64() > Some(0));
    for name in ["proxy", "proxy-tls"] {
        let killed = event(subject(&found, name), "killed");
        assert_eq!(killed["failed"], 0, "{name}: {killed}");
    }
    for name in ["dsr", "tunnel", "nat", "proxy", "proxy-tls"] {
        let drained = event(subject(&found, name), "drained");
        assert_eq!(
            (&drained["failed"], &drained["kept"]["cut"]),
            (&0.into(), &0.into()),
            "{name}: {drained}"
        );
    }

    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("proxy-tls") && !page.contains("NaN"));
}

#[test]
fn an_interrupted_comparison_cleans_up() {
    let Some(_turn) = LabTurn::take(&["compare"]) else {
        return;
    };
    let compare = fulcrum()
        .args(["lab", "compare", "--quick", "--json", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let record = Path::new(FOLDER).join("processes/lb.balancer.json");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !record.exists() {
        assert!(Instant::now() < deadline, "no balancer was started");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(compare.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = compare.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_gone();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["interrupted"], true);
    // Of what was done until then, `direct` is the first.
    assert!(subject(&found, "direct")["seen"].is_object());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let mut nonsense = Command::new(fulcrum().get_program());
    let output = nonsense
        .args(["lab", "compare", "--subject", "dsr,katran"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("katran") && said.contains("haproxy-http"),
        "{said}"
    );
}
