//! That requests have a say in which backend they get, and backends too. How is tested where the choice is made.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use super::rig::{Backend, Rig};
use crate::model::MemberKey;

/// Backends that answer with a number each, from 0.
async fn numbered(count: usize) -> Vec<Backend> {
    let mut backends = Vec::new();
    for number in 0..count {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
        backends.push(Backend::answering(answer).await);
    }
    backends
}

/// Who answers a request for this path with these lines.
async fn asked(rig: &Rig, path: &str, lines: &str) -> Vec<u8> {
    let answers = rig
        .ask(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"
        ))
        .await;
    assert_eq!(answers[0].status(), 200);
    answers[0].body.clone()
}

#[tokio::test]
async fn a_ring_is_asked_with_what_the_file_says() {
    let backends = numbered(3).await;
    let backends: Vec<&Backend> = backends.iter().collect();
    // Each with what is to count of request `n`, and what is not.
    type Lines = fn(usize) -> (String, String);
    let cases: [(&str, Lines, Lines); 3] = [
        (
            "path",
            |n| (format!("/{n}?{n}"), String::new()),
            |n| (String::new(), format!("X-A: {n}\r\n")),
        ),
        (
            "header:X-A",
            |n| (String::new(), format!("x-a: {n}\r\n")),
            |n| (format!("/{n}"), String::new()),
        ),
        (
            "cookie:c",
            |n| (String::new(), format!("Cookie: b=1; c={n}\r\n")),
            |n| (format!("/{n}"), String::new()),
        ),
    ];
    for (on, counts, does_not) in cases {
        let text = format!("balance = \"maglev\"\n[service.http]\nhash-on = \"{on}\"\n");
        let rig = Rig::with(&text, &backends).await;
        let ask = async |n: usize, other: usize| {
            let ((path, lines), (other_path, other_lines)) = (counts(n), does_not(other));
            let path = if path.is_empty() { other_path } else { path };
            let path = if path.is_empty() { "/" } else { &path };
            asked(&rig, path, &(lines + &other_lines)).await
        };
        let mut seen = BTreeSet::new();
        for n in 0..60 {
            let who = ask(n, 0).await;
            for other in 1..4 {
                assert_eq!(ask(n, other).await, who, "{on} {n}");
            }
            seen.insert(who);
        }
        assert_eq!(seen.len(), 3, "{on}: {seen:?}");
    }
}

#[tokio::test]
async fn backends_report_their_idle_slots() {
    let report = |ready: u32| {
        let report = format!("X-Heartbeat: v=1&ready={ready}&busy=0");
        format!("HTTP/1.1 200 OK\r\n{report}\r\nContent-Length: 0\r\n\r\n")
    };
    let (idle, busy) = (
        Backend::answering(report(10)).await,
        Backend::answering(report(0)).await,
    );
    let rig = Rig::with("balance = \"heartbeat\"\n", &[&idle, &busy]).await;
    // Of one that has not been heard it is not known, so it is asked now and then.
    while busy.seen().is_empty() || idle.seen().is_empty() {
        asked(&rig, "/", "").await;
    }
    let before = busy.seen().len();
    for _ in 0..100 {
        asked(&rig, "/", "").await;
    }
    assert_eq!(busy.seen().len(), before);
}

#[tokio::test]
async fn how_long_answers_take_is_learnt() {
    let backends = numbered(1).await;
    let rig = Rig::with("balance = \"peak-ewma\"\n", &[&backends[0]]).await;
    for _ in 0..5 {
        asked(&rig, "/", "").await;
    }
    let address: SocketAddr = backends[0].address;
    let key = MemberKey {
        service: "site".into(),
        backend: address,
    };
    let latency = &rig.traffic.backend(&key).latency;
    let counted: u64 = latency.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum();
    assert_eq!(counted, 5);
}

#[tokio::test]
async fn clients_are_as_many_as_may_be() {
    let backends = numbered(1).await;
    let rig = Rig::with("[service.http]\nlimits = { connections = 1 }\n", &[&backends[0]]).await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = rig.client().await;
    first.send(get).await;
    assert_eq!(first.response(false).await.unwrap().status(), 200);
    let mut second = rig.client().await;
    assert!(second.is_ended().await, "it is one too many");
    first.send(get).await;
    assert_eq!(first.response(false).await.unwrap().status(), 200);
    let traffic = rig.traffic.service(&"site".into());
    assert_eq!((traffic.refused.load(Relaxed), traffic.accepted.load(Relaxed)), (1, 2));
}
