//! The command line: arguments in, text or JSON out. Exit codes: 0 done, 1 refused or failed with one message on
//! standard error, 2 usage.

mod args;
mod check;
mod command;
mod decap;
mod detach;
mod explain;
mod pcapng;
mod reload;
mod status;
mod table;
mod trace;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::api::types::AdminState;
use crate::config::ConfigError;
use crate::{daemon, lab};

use args::{Args, Command};

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime.context("cannot start the runtime") {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(args.command));
            // A thread that waits for a file or a name must not keep the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{}", failure(&error));
        ExitCode::FAILURE
    })
}

async fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => daemon::run(&args.config).await.map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::run(&args.config).await,
        Command::Status(args) => status::run(&args).await,
        Command::Reload(args) => reload::run(&args).await,
        Command::Drain(args) => command::state(&args, AdminState::Drain).await,
        Command::Enable(args) => command::state(&args, AdminState::Active).await,
        Command::Disable(args) => command::state(&args, AdminState::Disabled).await,
        Command::Weight(args) => command::weight(&args).await,
        Command::Explain(args) => explain::run(&args).await,
        Command::Trace(args) => trace::run(&args).await,
        Command::Decap(args) => decap::run(&args).await,
        Command::Detach(args) => detach::run(&args).await,
        Command::Lab { command } => lab::run(command).await,
    }
}

/// An error as people read it: a configuration's with its place, others with their causes on one line.
fn failure(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ConfigError>() {
        Some(refused) => refused.render(colors(&io::stderr())),
        // A refusal of the daemon's may be such an error already.
        None => match format!("{error:#}") {
            text if text.starts_with("error: ") => text,
            text => format!("error: {text}"),
        },
    }
}

/// May this stream have colours?
fn colors(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints to standard output. A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints a value as indented JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Logs go to standard error; `FULCRUM_LOG` sets what is logged, such as `debug` or `lb_user::health=debug`.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("FULCRUM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_target(false)
        .with_env_filter(filter);
    subscriber.with_ansi(colors(&io::stderr())).init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
