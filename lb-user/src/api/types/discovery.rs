//! `GET /api/v1/sd`, in the form that Prometheus has laid down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Targets that share their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetGroup {
    /// Addresses with ports: one.
    pub targets: Vec<String>,
    /// By name. They begin with `__meta_`, so Prometheus drops those that relabelling has not taken over.
    pub labels: BTreeMap<String, String>,
}
