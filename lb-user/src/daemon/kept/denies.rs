//! What commands deny: `denies.json`.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::config;
use crate::control::Denies;
use crate::control::denies::MOST;
use crate::model::protection::Deny;

/// What the file's `version` says.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    denies: Vec<Entry>,
}

/// One prefix.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prefix: String,
    /// All, where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// In seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

pub(super) fn parse(text: &[u8]) -> Result<Denies> {
    let kept: Kept = serde_json::from_slice(text)?;
    if kept.version != VERSION {
        bail!("its version is {}, not {VERSION}", kept.version);
    }
    if kept.denies.len() > MOST {
        bail!("it has more than {MOST} prefixes");
    }
    let entry = |entry: Entry| {
        let until = |second| {
            UNIX_EPOCH
                .checked_add(Duration::from_secs(second))
                .with_context(|| format!("{second} is not a time"))
        };
        Ok(Deny {
            prefix: config::prefix(&entry.prefix).map_err(anyhow::Error::msg)?,
            service: entry.service.map(Into::into),
            until: entry.until.map(until).transpose()?,
        })
    };
    kept.denies.into_iter().map(entry).collect()
}

pub(super) fn format(denies: &Denies) -> Result<Vec<u8>> {
    let entry = |deny: Deny| Entry {
        prefix: deny.prefix.to_string(),
        service: deny.service.map(|service| service.as_ref().to_owned()),
        until: deny
            .until
            .map(|until| until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
    };
    let mut text = serde_json::to_vec_pretty(&Kept {
        version: VERSION,
        denies: denies.iter().map(entry).collect(),
    })?;
    text.push(b'\n');
    Ok(text)
}
