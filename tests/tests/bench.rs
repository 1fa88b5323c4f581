//! The bench works: packets come to the ends that they should, and rows come out. What they cost is not looked at.

use lb_tests::bench::{Options, run};
use lb_tests::gate::{self, Gate};

#[tokio::test(flavor = "multi_thread")]
async fn the_bench_runs_and_checks_actions() {
    if gate::root() == Gate::Skip {
        return;
    }
    const CASES: [&str; 2] = ["dsr maglev: for nobody", "nat maglev: established, 64 k flows"];
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
