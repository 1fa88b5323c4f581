//! Files that users get with Fulcrum, and that labs show at work: a lab file names them, so that there is no copy.

use serde::Deserialize;

/// One of them. `monitoring/` in the repository has them all.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Asset {
    /// Recording and alerting rules for Prometheus.
    PrometheusRules,
    /// The dashboard for Grafana.
    GrafanaDashboard,
}

impl Asset {
    /// What is in it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::PrometheusRules => include_str!("../../../monitoring/prometheus/fulcrum.rules.yml"),
            Self::GrafanaDashboard => include_str!("../../../monitoring/grafana/fulcrum.json"),
        }
    }
}
