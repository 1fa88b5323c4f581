//! docs/metrics.md says what [`FAMILIES`] say. `FULCRUM_BLESS=1 cargo test -p lb-user metrics` rewrites it.

use std::fmt::Write as _;

use super::*;
use lb_common::stats::DropReason;

use crate::model::http_status::ServiceHttp;
use crate::model::refused::ProtectionStatus;
use crate::model::{Enforcement, drops, golden};

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

Labels hold names of the file, or one of a few words; the number of series follows from the file, never from traffic. A
client's address, a path or a header is never a label. Of a node there are at most

```text
SERIES
```

series. Node and machine are no labels: Prometheus adds `instance` and `job`. Rules, alerts and a dashboard over these
families: [monitoring](monitoring.md).

Numbers of packets are counted by the XDP program: they go on while the daemon restarts, and a backend's begin anew when
it leaves the file and comes back. Probes, reloads, and what the proxy does are counted by the daemon, from its start.

`/readyz` says in words what most alerts want to know; see [the API](api.md).

| name | type | unit | labels | meaning |
| --- | --- | --- | --- | --- |
";

/// How many series there are at most, by what they are of: counted in texts that differ by one of it.
fn series() -> String {
    let counted = |services: Vec<ServiceStatus>, http: Vec<ServiceHttp>, protection: Option<ProtectionStatus>| {
        let drops = DropReason::ALL.iter().map(|&reason| (reason, 0)).collect();
        let status = Status {
            http,
            drops,
            protection,
            ..status(services)
        };
        let text = encoded(status, Format::Text);
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let count = |services, http| counted(services, http, None);
    let web = |backends: &[BackendStatus]| vec![service("web", backends.to_vec())];
    // One for HTTP of the first service of `shop`, with so many of its backends and certificates.
    let shop = |backends: usize, certificates: usize| {
        let mut shop = http::shop();
        shop.truncate(1);
        shop[0].backends.truncate(backends);
        let tls = shop[0].clients.as_mut().unwrap().tls.as_mut().unwrap();
        tls.certificates.truncate(certificates);
        shop
    };
    let direct = BackendStatus {
        nat: None,
        ..backend("web1")
    };
    let interface = 2;
    let node = count(Vec::new(), Vec::new()) - interface;
    let bare = count(web(&[]), Vec::new());
    let service = bare - node - interface;
    let of_nat = count(web(&[backend("web1")]), Vec::new()) - bare;
    let of_direct = count(web(&[direct]), Vec::new()) - bare;
    let proxied = count(web(&[]), shop(0, 0)) - bare;
    let certificate = count(web(&[]), shop(0, 1)) - bare - proxied;
    let of_proxy = count(web(&[]), shop(1, 0)) - bare - proxied;
    let protecting = counted(web(&[]), Vec::new(), Some(protection::all())) - bare;
    let protected = |mode| {
        let web = ServiceStatus {
            mode,
            ..super::service("web", Vec::new())
        };
        let web = protection::protected(web, Enforcement::Enforce);
        count(vec![web], Vec::new()) - bare
    };
    let (by_rungs, with_cookies) = (protected(Mode::Dsr), protected(Mode::Proxy) - protected(Mode::Dsr));
    format!(
        "{node} + {interface} × interfaces + {service} × services + {of_nat} × backends of nat + {of_direct} × other backends\n\
         + {proxied} × services of proxy + {certificate} × certificates + {of_proxy} × backends of proxy\n\
         and where something is protected {protecting} + {by_rungs} × services that are + {with_cookies} × services of proxy that are"
    )
}

fn made() -> String {
    let mut text = HEAD.replace("SERIES", &series());
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
    text.push_str("\n## Drops by reason\n\n| `reason` | |\n| --- | --- |\n");
    for reason in DropReason::ALL {
        writeln!(text, "| `{}` | {}. |", reason.label(), drops::explanation(*reason)).unwrap();
    }
    text
}

#[test]
fn the_document_is_current() {
    golden::check("../docs/metrics.md", &made());
}
