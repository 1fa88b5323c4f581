//! `fulcrum detach`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::args::Detach;
use crate::control::addresses::take_off;
use crate::dataplane::kernel;
use crate::net::Net;
use crate::{config, daemon};

/// Takes the program off, then the VIPs; a second time there is nothing to do.
pub(super) async fn run(args: &Detach) -> Result<ExitCode> {
    let pin_dir = match &args.pin_dir {
        Some(folder) => folder.clone(),
        None => config::load(&args.config)?.config.node.pin_dir,
    };
    if let Some(missing) = daemon::missing_privileges() {
        bail!("{missing}");
    }
    let detached = kernel::detach(&pin_dir)?;
    let mut report = String::new();
    for interface in &detached.interfaces {
        writeln!(report, "{interface}: program taken off")?;
    }
    let net = Net::here().context("cannot open a netlink socket")?;
    for &vip in &detached.addresses {
        take_off(&net, vip)
            .await
            .with_context(|| format!("cannot take {vip} off the node"))?;
        writeln!(report, "{vip}: taken off the node")?;
    }
    if report.is_empty() {
        writeln!(report, "nothing of Fulcrum was attached below {}", pin_dir.display())?;
    }
    super::print(&report)?;
    Ok(ExitCode::SUCCESS)
}
