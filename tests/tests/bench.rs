//! The bench works: packets come to the ends that they should, and rows come out. What they cost is not looked at.

use lb_tests::bench::setting::Setting;
use lb_tests::bench::{Figures as _, Options, Sampling, reference, run};
use lb_tests::bench::{control, failover, load, proxy};
use lb_tests::gate::{self, Gate};
use lb_tests::packet::{self, ACK, checksum};
use lb_tests::rig::{CLIENT, NODE};

#[tokio::test(flavor = "multi_thread")]
async fn the_bench_runs_and_checks_actions() {
    if gate::root() == Gate::Skip {
        return;
    }
    const CASES: [&str; 3] = [
        "dsr maglev: for nobody",
        "nat maglev: established, 64 k flows",
        "tunnel maglev: established, 1 flow, sent",
    ];
    let filters = CASES.map(str::to_owned).to_vec();
    // An error where a packet is not what it should be: see `lb_tests::bench`.
    let report = run(&Options::quick(filters)).await.unwrap_or_else(|e| panic!("{e:?}"));
    let rows = report.rows();
    for case in CASES {
        let row = rows.iter().find(|row| row.case == case);
        let row = row.unwrap_or_else(|| panic!("no row for {case}: {rows:?}"));
        assert_eq!(
            (&*row.subject, row.reference, row.unit),
            ("fulcrum", Some("ipip"), "ns/packet")
        );
    }
    let verified = rows.iter().find(|row| row.case == "verified, fulcrum");
    assert!(verified.is_some_and(|row| row.min > 0.0), "{rows:?}");
    assert_eq!(report.json().lines().count(), rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_is_measured_in_every_mode_that_a_router_reaches() {
    if gate::root() == Gate::Skip {
        return;
    }
    for mode in ["tunnel", "nat"] {
        // An error where the node is not whole: see `lb_tests::bench::control`.
        let report = control::run(&control::Options::quick(mode)).await;
        let report = report.unwrap_or_else(|e| panic!("{mode}: {e:?}"));
        let rows = report.rows();
        let compared = rows
            .iter()
            .filter(|row| row.reference == Some("goal") && row.ratio().is_some());
        assert_eq!(compared.count(), 8, "{rows:?}");
        assert_eq!(report.json().lines().count(), rows.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_measured_beside_others() {
    if gate::gate(proxy::missing().as_deref()) == Gate::Skip || gate::root() == Gate::Skip {
        return;
    }
    const CASES: [&str; 2] = ["TLS, HTTP/1.1 with keep-alive", "TLS, idle connections"];
    let filters = CASES.map(str::to_owned).to_vec();
    // An error where a request is not answered as it should be: see `lb_tests::bench::proxy`.
    let report = proxy::run(&proxy::Options::quick(filters)).await;
    let report = report.unwrap_or_else(|e| panic!("{e:?}"));
    let rows = report.rows();
    for (case, unit) in CASES.into_iter().zip(["us/request", "bytes/connection"]) {
        let of_case = rows.iter().filter(|row| row.case == case && row.unit == unit);
        let seen: Vec<_> = of_case.map(|row| (&*row.subject, row.reference)).collect();
        let expected = [
            ("fulcrum", Some("haproxy")),
            ("haproxy", None),
            ("nginx", Some("haproxy")),
        ];
        assert_eq!(seen, expected, "{rows:?}");
    }
    let measured = |row: &&lb_tests::bench::Row| row.subject != "client";
    assert!(
        rows.iter()
            .filter(measured)
            .all(|row| row.min > 0.0 && row.min <= row.median),
        "{rows:?}"
    );
    assert_eq!(report.json().lines().count(), rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generator_is_measured_beside_others() {
    if gate::gate(load::missing().as_deref()) == Gate::Skip || gate::root() == Gate::Skip {
        return;
    }
    // An error where a request is not answered: see `lb_tests::bench::load`.
    let report = load::run(&Sampling::quick(Vec::new())).await;
    let report = report.unwrap_or_else(|e| panic!("{e:?}"));
    let rows = report.rows();
    let seen: Vec<_> = rows.iter().map(|row| (&*row.subject, row.reference)).collect();
    let with = |reference| [("fulcrum", Some(reference)), (reference, None)];
    assert_eq!(
        seen,
        [with("wrk"), with("wrk"), with("wrk"), with("h2load")].concat(),
        "{rows:?}"
    );
    assert_eq!(report.json().lines().count(), rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_measured_beside_keepalived() {
    if gate::root() == Gate::Skip {
        return;
    }
    // An error where the one that was killed was not master, or nobody took over: see `lb_tests::bench::failover`.
    let report = failover::run(&Sampling::quick(vec!["1 s".to_owned(), "behind".to_owned()])).await;
    let report = report.unwrap_or_else(|e| panic!("{e:?}"));
    let rows = report.rows();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (&*row.case, &*row.subject, row.reference, row.unit))
        .collect();
    let expected = ["machine dies, 1 s", "daemon dies, 1 s"].map(|case| {
        [
            (case, "fulcrum", Some("keepalived"), "ms"),
            (case, "keepalived", None, "ms"),
        ]
    });
    let mut expected = expected.concat();
    expected.push(("peer is behind, 10,000 new flows a second", "fulcrum", None, "ms"));
    assert_eq!(seen, expected, "{rows:?}");
    assert_eq!(report.json().lines().count(), rows.len());
}

/// It is compared with, so it has to do its work.
#[test]
fn the_minimal_balancer_encapsulates() {
    if gate::root() == Gate::Skip {
        return;
    }
    const TX: u32 = 3;
    const PASS: u32 = 2;
    for v6 in [false, true] {
        let setting = Setting {
            v6,
            ..Setting::new("tunnel", "maglev")
        };
        let client = if v6 {
            "[2001:db8:1::7]:40000"
        } else {
            "198.51.100.7:40000"
        };
        let client = client.parse().expect("an address");
        let frame = |vip| packet::frame(NODE, CLIENT, &packet::tcp(client, vip, ACK, b"data"));
        let input = frame(setting.vip(0));
        let (action, output) = reference(&setting, &input).expect("a run");
        assert_eq!(action, TX);
        let header = if v6 { 40 } else { 20 };
        let (outer, inner) = output[14..].split_at(header);
        assert_eq!(inner, &input[14..]);
        let length = usize::from(u16::from_be_bytes([
            outer[if v6 { 4 } else { 2 }],
            outer[if v6 { 5 } else { 3 }],
        ]));
        if v6 {
            assert_eq!((outer[0], length, outer[6]), (0x60, inner.len(), 41));
        } else {
            assert_eq!((outer[0], length, outer[9]), (0x45, header + inner.len(), 4));
            assert_eq!(checksum(outer), 0, "the header's checksum");
        }
        assert_eq!(output[6..12], NODE.0);
        assert_eq!(
            output[5],
            outer[header - 1],
            "MAC and address are those of the same backend"
        );
        let other = frame(setting.nobody());
        assert_eq!(reference(&setting, &other).expect("a run"), (PASS, other));
    }
}
