//! `fulcrum log-level`.

use std::process::ExitCode;

use anyhow::Result;

use super::args::LogLevel as Args;
use super::status::client;
use crate::api::types::LogLevels;

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let client = client(&args.asked.daemon)?;
    let now = match &args.levels {
        Some(levels) => {
            let levels = levels.clone();
            client.set_log_levels(&LogLevels { levels }).await?
        }
        None => client.log_levels().await?,
    };
    super::show(args.asked.json, &now, |now| format!("{}\n", now.levels))?;
    Ok(ExitCode::SUCCESS)
}
