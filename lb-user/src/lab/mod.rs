//! Labs: whole networks on one machine, made of network namespaces, for learning and for tests.
//!
//! `up` builds a lab and tells what happens in it; `down` removes everything. What a lab consists of is recorded
//! before it is made, so that `down` works after any crash, and a guardian runs `down` when `up` is killed. Nothing
//! outside the lab's own namespaces and its folder is touched.

pub mod args;
mod build;
mod compare;
mod daemon;
mod down;
mod exec;
mod forward;
mod guard;
mod list;
mod load;
mod pattern;
mod process;
mod quickstart;
mod report;
mod serve;
mod state;
mod topology;
mod up;

use std::process::ExitCode;

pub use args::LabCommand;

/// Runs a lab command. Needs a multi-threaded tokio runtime with time and I/O.
///
/// # Errors
/// For people: what could not be done, and why.
pub async fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::List => {
            list::labs();
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Up(args) => up::run(&args.name, args.keep).await,
        LabCommand::Down(args) => down::run(args.name.as_deref()).await,
        LabCommand::Exec(args) => exec::run(&args),
        LabCommand::Status(args) => list::status(args.name.as_deref()),
        LabCommand::Load(args) => load::command::run(&args).await,
        LabCommand::Serve(args) => serve::run(&args).await,
        LabCommand::Guard(args) => guard::run(&args.name).await,
        LabCommand::Forward(args) => forward::run(&args),
    }
}

/// Every lab, and what it shows.
const LABS: [(&str, &str); 1] = [(quickstart::NAME, quickstart::SUMMARY)];

/// The network of a lab.
fn topology(name: &str) -> anyhow::Result<topology::Topology> {
    match name {
        quickstart::NAME => Ok(quickstart::topology()),
        _ => {
            let known: Vec<&str> = LABS.iter().map(|(name, _)| *name).collect();
            anyhow::bail!("there is no lab {name}; there is: {}", known.join(", "))
        }
    }
}
