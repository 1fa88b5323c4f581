//! What the proxy counts.

use super::*;
use crate::model::golden;
use crate::model::http_status::{BackendHttp, ClientsHttp, Durations, ServiceHttp, TlsHttp};

fn durations() -> Durations {
    let mut buckets = [0; 14];
    (buckets[0], buckets[2], buckets[13]) = (3, 4, 1);
    Durations {
        buckets,
        sum: 6_000_250,
    }
}

/// A service with TLS, a log and a backend, and the pool that its routes lead to.
pub(super) fn shop() -> Vec<ServiceHttp> {
    let backend = |name: &str| BackendHttp {
        name: name.into(),
        active: 1,
        connections: 2,
        connects: 3,
        connect_errors: 4,
        requests: 5,
        responses: [6, 7, 8, 9, 10],
        failures: 11,
        retries: 12,
        ejections: 13,
        ejected: true,
        sent: 14,
        received: 15,
        latency: durations(),
    };
    let clients = ClientsHttp {
        connections: 16,
        accepted: 17,
        refused: 18,
        requests: [19, 20],
        responses: [21, 22, 23, 24, 25],
        invalid: 26,
        received: 27,
        sent: 28,
        latency: durations(),
        tls: Some(TlsHttp {
            full: 29,
            resumed: 30,
            failed: 31,
            certificates: vec![
                ("shop.example".into(), 1_800_000_000),
                ("www.shop.example".into(), 1_900_000_000),
            ],
        }),
        log_lost: Some(32),
    };
    let service = |name: &str, clients, backends| ServiceHttp {
        name: name.into(),
        queued: 33,
        waiting: 34,
        clients,
        backends,
    };
    vec![
        service("shop", Some(clients), vec![backend("shop1")]),
        service("api", None, vec![backend("api1")]),
    ]
}

fn text(format: Format, http: Vec<ServiceHttp>) -> String {
    let status = Status {
        http,
        ..status(Vec::new())
    };
    let text = encoded(status, format);
    let is_of_proxy = |line: &&str| {
        ["_http_", "_tls_", "fulcrum_certificate_", "_access_log_"]
            .iter()
            .any(|part| line.contains(part))
    };
    text.lines()
        .filter(is_of_proxy)
        .map(|line| format!("{line}\n"))
        .collect()
}

fn check(format: Format, file: &str) {
    golden::check(&format!("src/metrics/tests/{file}"), &text(format, shop()));
}

#[test]
fn openmetrics() {
    check(Format::OpenMetrics, "http.openmetrics");
}

#[test]
fn prometheus() {
    check(Format::Text, "http.prom");
}

#[test]
fn no_series_of_what_there_is_not() {
    let mut plain = shop();
    let clients = plain[0].clients.as_mut().unwrap();
    (clients.tls, clients.log_lost) = (None, None);
    let text = text(Format::Text, plain);
    let samples = || text.lines().filter(|line| !line.starts_with('#'));
    assert!(samples().all(|line| !line.starts_with("fulcrum_tls") && !line.starts_with("fulcrum_certificate")));
    assert!(samples().all(|line| !line.starts_with("fulcrum_access_log")));
    let of_pool: Vec<&str> = samples()
        .filter(|line| line.contains("service=\"api\"") && !line.contains("backend="))
        .collect();
    assert_eq!(
        of_pool,
        [
            "fulcrum_http_requests_queued_total{service=\"api\"} 33",
            "fulcrum_http_requests_waiting{service=\"api\"} 34"
        ],
        "clients do not come to a pool"
    );
}

#[test]
fn buckets_are_of_all_that_took_no_longer() {
    let text = text(Format::Text, shop());
    let of = |what: &str| {
        let begin = format!("fulcrum_http_request_duration_seconds_{what}");
        let lines = text.lines().filter(move |line| line.starts_with(&begin));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("bucket")[..4], ["3", "3", "7", "7"]);
    assert_eq!((of("bucket").len(), &*of("bucket")[13]), (14, "8"));
    assert_eq!(
        (of("count"), of("sum")),
        (vec!["8".to_owned()], vec!["6.00025".to_owned()])
    );
}
