//! What is in the files of `monitoring/`, for tests of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// `monitoring/` of the repository.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitoring")
}

/// A file of it.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn file(path: &str) -> String {
    let path = folder().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The dashboard.
///
/// # Panics
/// When it is no JSON.
#[must_use]
pub fn dashboard() -> Value {
    serde_json::from_str(&file("grafana/fulcrum.json")).expect("the dashboard is JSON")
}

/// The panels of a dashboard, rows included.
#[must_use]
pub fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().map_or(&[], Vec::as_slice)
}

/// Each expression of the panels of a dashboard, with its panel's title.
#[must_use]
pub fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |panel: &Value| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let title = text(&panel["title"]);
        targets
            .into_iter()
            .map(move |target| (title.clone(), text(&target["expr"])))
    };
    panels(dashboard).iter().flat_map(of).collect()
}

/// What Grafana makes of an expression when all nodes, services and machines are chosen.
#[must_use]
pub fn asked(expression: &str, rate_interval: &str) -> String {
    let variables = ["job", "instance", "service", "machine"];
    let expression = expression.replace("$__rate_interval", rate_interval);
    variables
        .iter()
        .fold(expression, |text, name| text.replace(&format!("\"${name}\""), "\".*\""))
}

/// The names behind `key: ` in a file of rules: `alert` or `record`.
#[must_use]
pub fn named<'a>(rules: &'a str, key: &str) -> BTreeSet<&'a str> {
    let begin = format!("- {key}: ");
    rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix(&begin))
        .collect()
}

/// Every word of `text` that could be the name of a family of Fulcrum's.
#[must_use]
pub fn families(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("fulcrum_")).collect()
}
