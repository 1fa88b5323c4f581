//! A comparison for programs.

use anyhow::Context;

use super::super::model::Comparison;

/// All that was found out, as JSON.
///
/// # Errors
/// When a value cannot be written down.
pub(in crate::lab) fn json(comparison: &Comparison) -> anyhow::Result<String> {
    serde_json::to_string_pretty(comparison).context("cannot write the comparison as JSON")
}
