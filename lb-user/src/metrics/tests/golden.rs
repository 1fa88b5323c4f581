//! Both formats, to the byte. A change here breaks dashboards and alerts. `FULCRUM_BLESS=1` rewrites the files.

use super::*;
use crate::model::golden;

fn small() -> Status {
    status(vec![service("web", vec![backend("web1"), unknown("web2")])])
}

fn check(format: Format, file: &str) {
    let made = encoded(small(), format)
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
        .replace(std::env::consts::ARCH, "ARCH");
    golden::check(&format!("src/metrics/tests/{file}"), &made);
}

#[test]
fn openmetrics() {
    check(Format::OpenMetrics, "small.openmetrics");
}

#[test]
fn text() {
    check(Format::Text, "small.prom");
}
