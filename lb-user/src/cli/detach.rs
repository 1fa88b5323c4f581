//! `fulcrum detach`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::args::Detach;
use crate::control::addresses::take_off;
use crate::dataplane::kernel::Lock;
use crate::net::Net;
use crate::{config, daemon};

/// Takes the VIPs off, then the program, which forgets whose they are; a second time there is nothing to do.
pub(super) async fn run(args: &Detach) -> Result<ExitCode> {
    let pin_dir = match &args.pin_dir {
        Some(folder) => folder.clone(),
        None => config::load(&args.config)?.config.node.pin_dir,
    };
    if let Some(missing) = daemon::missing_privileges() {
        bail!("{missing}");
    }
    let mut report = String::new();
    if let Some(lock) = Lock::take_existing(&pin_dir)? {
        let net = Net::here().context("cannot open a netlink socket")?;
        let (addresses, unreadable) = lock.owned_addresses()?;
        for folder in unreadable {
            eprintln!(
                "warning: {} holds maps of another version: VIPs that it put on the node stay; `ip address` shows them",
                folder.display()
            );
        }
        for vip in addresses {
            if take_off(&net, vip)
                .await
                .with_context(|| format!("cannot take {vip} off the node"))?
            {
                writeln!(report, "{vip}: taken off the node")?;
            }
        }
        for interface in lock.detach()? {
            writeln!(report, "{interface}: program taken off")?;
        }
    }
    if report.is_empty() {
        writeln!(report, "nothing of Fulcrum was attached below {}", pin_dir.display())?;
    }
    super::print(&report)?;
    Ok(ExitCode::SUCCESS)
}
