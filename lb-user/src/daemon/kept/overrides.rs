//! What commands have set above the file: `overrides.json`.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::control::{Override, Overrides};
use crate::model::{AdminState, MemberKey};

/// What the file's `version` says.
const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    /// The node drains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    draining: bool,
    overrides: Vec<Entry>,
}

/// One backend.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    service: String,
    backend: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
}

pub(super) fn parse(text: &[u8]) -> Result<Overrides> {
    let kept: Kept = serde_json::from_slice(text)?;
    if kept.version != VERSION {
        bail!("its version is {}, not {VERSION}", kept.version);
    }
    let entry = |entry: Entry| {
        let member = MemberKey {
            service: entry.service.into(),
            backend: entry.backend,
        };
        let named = |name: String| {
            let state = AdminState::ALL.into_iter().find(|state| state.label() == name);
            state.with_context(|| format!("{name:?} is not a state"))
        };
        let state = entry.state.map(named).transpose()?;
        let weight = entry.weight;
        Ok((member, Override { state, weight }))
    };
    let mut overrides = kept.overrides.into_iter().map(entry).collect::<Result<Overrides>>()?;
    overrides.draining = kept.draining;
    Ok(overrides)
}

pub(super) fn format(overrides: &Overrides) -> Result<Vec<u8>> {
    let entry = |(member, said): (&MemberKey, &Override)| Entry {
        service: member.service.as_ref().to_owned(),
        backend: member.backend,
        state: said.state.map(|state| state.label().to_owned()),
        weight: said.weight,
    };
    let mut text = serde_json::to_vec_pretty(&Kept {
        version: VERSION,
        draining: overrides.draining,
        overrides: overrides.iter().map(entry).collect(),
    })?;
    text.push(b'\n');
    Ok(text)
}
