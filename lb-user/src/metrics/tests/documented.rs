//! docs/metrics.md says what [`FAMILIES`] say. `FULCRUM_BLESS=1 cargo test -p lb-user metrics` rewrites it.

use std::fmt::Write as _;

use super::*;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

const HEAD: &str = "\
# Metrics

<!-- Made of lb-user/src/metrics/families.rs by `FULCRUM_BLESS=1 cargo test -p lb-user metrics`. -->

A running daemon answers `GET /metrics` on `[admin] listen` (by default `127.0.0.1:9465`), and on its Unix socket, in
OpenMetrics 1.0.0 or in Prometheus' text format 0.0.4, as `Accept` asks. Each answer is made of the state of that
moment; nothing is kept between scrapes.

```yaml
scrape_configs:
  - job_name: fulcrum
    static_configs:
      - targets: [\"127.0.0.1:9465\"]
```

Labels hold names of the file, or one of a few words; the number of series follows from the file, never from traffic.
Numbers of packets are counted by the XDP program: they go on while the daemon restarts, and a backend's begin anew when
it leaves the file and comes back. Probes, reloads, and what the proxy does are counted by the daemon, from its start.

`/readyz` says in words what most alerts want to know; see [the API](api.md).

| name | type | unit | labels | meaning |
| --- | --- | --- | --- | --- |
";

fn made() -> String {
    let mut text = HEAD.to_owned();
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            text,
            "| `{}` | {kind} | {} | {} | {}. |",
            family.name,
            family.unit.unwrap_or(""),
            labels.join(", "),
            family.help
        )
        .unwrap();
    }
    text.push_str("\nIn the text format, which has no `info`, that type is a gauge that is always 1.\n");
    text
}

#[test]
fn the_document_is_current() {
    if std::env::var_os("FULCRUM_BLESS").is_some() {
        std::fs::write(PATH, made()).unwrap();
    }
    let is = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        is == made(),
        "docs/metrics.md is stale: run FULCRUM_BLESS=1 cargo test -p lb-user metrics"
    );
}
