//! `fulcrum reload`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::args::Reload as Args;
use super::status::client;

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let reloaded = client(&args.daemon)?.reload().await?;
    if args.json {
        super::print_json(&reloaded)?;
    } else {
        super::print(if reloaded.changed {
            "reloaded\n"
        } else {
            "nothing has changed\n"
        })?;
    }
    if let Some(fault) = &reloaded.fault {
        bail!("the kernel is not as the file wants it yet; the daemon tries again: {fault}");
    }
    Ok(ExitCode::SUCCESS)
}
