//! Labs: whole networks on one machine, made of network namespaces, for learning and for tests.
//!
//! A lab is a file ([`file`]) that says what hosts there are, how they are wired and what they run ([`program`]), what has to
//! hold, and what there is to see. `up` builds it, `tour` shows it, `down` removes everything. What a lab consists of is
//! recorded before it is made, so that `down` works after any crash, and a guardian runs `down` when `up` is killed.
//! Nothing outside the lab's own namespaces and its folder is touched.

pub mod args;
mod asset;
mod build;
mod catalogue;
mod certificate;
mod compare;
mod daemon;
mod down;
mod echo;
mod exec;
mod file;
mod forward;
mod guard;
mod host;
mod inside;
mod list;
mod load;
mod logs;
mod pattern;
mod process;
mod program;
mod report;
mod serve;
mod start;
mod state;
mod tour;
mod up;

use std::process::ExitCode;

pub use args::LabCommand;

/// Runs a lab command. Needs a multi-threaded tokio runtime with time and I/O.
///
/// # Errors
/// For people: what could not be done, and why.
pub async fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::List => list::labs(),
        LabCommand::Up(args) => up::run(&args).await,
        LabCommand::Down(args) => down::run(args.name.as_deref()).await,
        LabCommand::Tour(args) => up::tour(&args).await,
        LabCommand::Compare(args) => compare::run(&args).await,
        LabCommand::Exec(args) => exec::run(&args),
        LabCommand::Status(args) => list::status(args.name.as_deref()),
        LabCommand::Logs(args) => logs::run(&args).await,
        LabCommand::Load(args) => load::command::run(&args).await,
        LabCommand::Serve(args) => serve::run(&args).await,
        LabCommand::Guard(args) => guard::run(&args.name).await,
        LabCommand::Forward(args) => forward::run(&args),
    }
}
