//! The command line: arguments in, text or JSON out. Exit codes: 0 done, 1 refused or failed with one message on
//! standard error, 2 usage, 3 `plan` found changes.

mod announce;
mod args;
mod certificate;
mod check;
mod command;
mod decap;
mod deny;
mod detach;
mod doctor;
mod drain;
mod explain;
mod generate;
mod interrupt;
mod line;
mod log;
mod log_level;
mod node;
mod pcapng;
mod plan;
mod reload;
mod status;
mod table;
mod top;
mod trace;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::api::types::AdminState;
use crate::config::ConfigError;
use crate::daemon::{self, Confined};
use crate::lab;

use args::{Args, Command};
use log::Log;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let log = match &args.command {
        Command::Run(args) => log::start(&args.log),
        _ => log::start(&args::Log::default()),
    };
    match log.and_then(|log| run(args.command, &log)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", failure(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, log: &Log) -> Result<ExitCode> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all();
    let confined = match &command {
        // Before there are other threads.
        Command::Run(args) => Some(daemon::confine(&args.config.config)?),
        _ => None,
    };
    if let Some(confined) = confined.clone() {
        runtime.on_thread_start(move || confined.begin());
    }
    let runtime = runtime.build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(dispatch(command, log, confined.as_ref()));
    // A thread that waits for a file or a name must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, log: &Log, confined: Option<&Confined>) -> Result<ExitCode> {
    match command {
        Command::Run(args) => {
            let ended = tokio::select! {
                ended = daemon::run(&args.config.config, log.levels(), confined) => ended,
                never = log.tell() => match never {},
            };
            log.finish();
            ended.map(|()| ExitCode::SUCCESS)
        }
        Command::Check(args) => check::run(&args.config).await,
        Command::Status(args) => status::run(&args).await,
        Command::Top(args) => top::run(&args).await,
        Command::Reload(args) => reload::run(&args).await,
        Command::Plan(args) => plan::run(&args).await,
        Command::Drain(args) => drain::run(&args).await,
        Command::Enable(args) => command::state(&args, AdminState::Active).await,
        Command::Disable(args) => command::state(&args, AdminState::Disabled).await,
        Command::Weight(args) => command::weight(&args).await,
        Command::Node(args) => node::run(&args).await,
        Command::Deny(args) => deny::run(&args).await,
        Command::Certificate(args) => certificate::run(&args).await,
        Command::Announce(args) => announce::run(&args).await,
        Command::LogLevel(args) => log_level::run(&args).await,
        Command::Explain(args) => explain::run(&args).await,
        Command::Trace(args) => trace::run(&args).await,
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Decap(args) => decap::run(&args).await,
        Command::Detach(args) => detach::run(&args).await,
        Command::Generate { folder } => generate::run(&folder),
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

/// Prints an answer: as indented JSON, or as `text` says it to people.
fn show<T: serde::Serialize>(json: bool, answer: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    let text = match json {
        true => serde_json::to_string_pretty(answer)? + "\n",
        false => text(answer),
    };
    print(&text)
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
