//! `fulcrum enable`, `disable` and `weight`: what is wanted of one backend.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Result, bail};

use super::args::{Backend, Weight};
use super::status::{client, in_force, row_health};
use crate::api::types::{AdminState, BackendPatch, Overridden};
use crate::model::count;

/// A backend as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: String,
    /// Its name or its address.
    pub(super) backend: String,
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((service, backend)) if !service.is_empty() && !backend.is_empty() && !backend.contains('/') => {
                Ok(Self {
                    service: service.to_owned(),
                    backend: backend.to_owned(),
                })
            }
            _ => Err("write SERVICE/BACKEND, as in web/web1 or web/10.0.0.6:80"),
        }
    }
}

pub(super) async fn state(args: &Backend, state: AdminState) -> Result<ExitCode> {
    let patch = BackendPatch {
        state: Some(state),
        ..BackendPatch::default()
    };
    run(args, patch).await
}

pub(super) async fn weight(args: &Weight) -> Result<ExitCode> {
    let patch = BackendPatch {
        weight: Some(args.weight),
        ..BackendPatch::default()
    };
    run(&args.backend, patch).await
}

async fn run(args: &Backend, patch: BackendPatch) -> Result<ExitCode> {
    let Target { service, backend } = &args.target;
    let done = client(&args.asked.daemon)?.patch(service, backend, patch).await?;
    super::show(args.asked.json, &done, text)?;
    warn(&done);
    if let Some(fault) = &done.fault {
        bail!(
            "it is noted, but may not be in force yet, since the kernel is not as wanted; the daemon tries again: {fault}"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why a restart may forget it.
pub(super) fn warn(done: &Overridden) {
    if let Some(fault) = &done.overrides_fault {
        eprintln!("warning: {fault}");
    }
}

/// The backend for people.
fn text(done: &Overridden) -> String {
    let backend = &done.backend;
    let has = match backend.proxy {
        Some(proxy) => count(proxy.active, "request"),
        None => format!("{} slots", backend.slots),
    };
    format!(
        "{}/{}: {}, weight {}, {has}; {}\n",
        done.service,
        backend.name,
        in_force(&backend.state, backend.state_in_file),
        in_force(&backend.weight, backend.weight_in_file),
        row_health(backend),
    )
}
