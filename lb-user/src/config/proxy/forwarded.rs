//! `forwarded`, and whom it is taken from.

use super::super::address;
use super::super::fault::{Checked, fault};
use super::super::raw::{Table, Value};
use crate::model::Prefix;
use crate::model::proxy::Forwarded;

/// Most prefixes of a list, each of which every connection is compared with.
const MAX_PREFIXES: usize = 1_024;

/// Names of headers by which backends are told of the client.
pub(super) fn headers(value: &Value<'_>) -> Checked<Vec<Forwarded>> {
    let mut chosen = Vec::new();
    for one in value.list() {
        let header = one.choice(&Forwarded::ALL.map(|header| (header.label(), header)))?;
        if chosen.contains(&header) {
            return Err(one.fault(format!("{} stands here twice", header.label())));
        }
        chosen.push(header);
    }
    Ok(chosen)
}

/// The prefixes that a key names, none where it is missing.
pub(super) fn prefixes(http: &Table<'_>, key: &'static str) -> Checked<Vec<Prefix>> {
    let Some(value) = http.get(key) else {
        return Ok(Vec::new());
    };
    let mut prefixes: Vec<Prefix> = Vec::new();
    for (span, text) in value.string_or_strings()? {
        let prefix = address::prefix(&span, text)?;
        if prefixes.contains(&prefix) {
            return Err(fault(span, format!("{prefix} stands here twice")));
        }
        if prefixes.len() == MAX_PREFIXES {
            return Err(fault(span, format!("`{key}` has at most {MAX_PREFIXES} prefixes")));
        }
        prefixes.push(prefix);
    }
    Ok(prefixes)
}
