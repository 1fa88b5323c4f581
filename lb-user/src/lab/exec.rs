//! `fulcrum lab exec`: becomes a command on a host of a lab.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use super::args::Exec;
use super::catalogue;
use super::host::Host;
use super::state::Lab;

/// Replaces this process by the command; comes back only when that fails.
pub(super) fn run(args: &Exec) -> anyhow::Result<ExitCode> {
    let (lab, host, command) = split(args)?;
    let host = self::host(&lab, &host)?;
    let [program, arguments @ ..] = command.as_slice() else {
        bail!("no command given")
    };
    let refused = host.confine(Command::new(program).args(arguments))?.exec();
    Err(refused).with_context(|| format!("running {}", program.display()))
}

/// A host of a lab that is up.
///
/// # Errors
/// When there is none.
pub(super) fn host(lab: &str, host: &str) -> anyhow::Result<Host> {
    let lab = up(lab)?;
    let file = catalogue::of(&lab)?;
    Host::open(&lab, file.machine(host)?.name.get_ref())
}

/// A lab that is up.
///
/// # Errors
/// When it is not, with the way to get it up.
pub(super) fn up(name: &str) -> anyhow::Result<Lab> {
    match Lab::find(name)? {
        Some(lab) => Ok(lab),
        None => bail!("lab {name} is not up; `fulcrum lab up {name}` builds it"),
    }
}

/// Lab, host and command line, in either way of writing.
pub(super) fn split(args: &Exec) -> anyhow::Result<(String, String, Vec<OsString>)> {
    let mut rest = args.command.iter().cloned().peekable();
    let (lab, host) = match args.target.split_once('/') {
        Some((lab, host)) => (lab.to_owned(), host.to_owned()),
        None => {
            let host = rest
                .next()
                .and_then(|host| host.into_string().ok())
                .context("no host given")?;
            (args.target.clone(), host)
        }
    };
    rest.next_if(|word| word == "--");
    Ok((lab, host, rest.collect()))
}
