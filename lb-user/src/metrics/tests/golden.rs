//! Both formats, to the byte. A change here breaks dashboards and alerts. `FULCRUM_BLESS=1` rewrites the files.

use super::*;

fn small() -> Status {
    status(vec![service("web", vec![backend("web1"), unknown("web2")])])
}

fn check(format: Format, file: &str) {
    let path = format!("{}/src/metrics/tests/{file}", env!("CARGO_MANIFEST_DIR"));
    let made = encode(small(), format)
        .unwrap()
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
        .replace(std::env::consts::ARCH, "ARCH");
    if std::env::var_os("FULCRUM_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert_eq!(made, std::fs::read_to_string(&path).unwrap());
}

#[test]
fn openmetrics() {
    check(Format::OpenMetrics, "small.openmetrics");
}

#[test]
fn text() {
    check(Format::Text, "small.prom");
}
