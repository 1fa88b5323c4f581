//! `fulcrum reload`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::args::Asked as Args;
use super::status::client;

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let reloaded = client(&args.daemon)?.reload().await?;
    super::show(args.json, &reloaded, |reloaded| {
        let said = if reloaded.changed {
            "reloaded\n"
        } else {
            "nothing has changed\n"
        };
        said.to_owned()
    })?;
    if let Some(fault) = &reloaded.fault {
        bail!("the kernel is not as the file wants it yet; the daemon tries again: {fault}");
    }
    Ok(ExitCode::SUCCESS)
}
