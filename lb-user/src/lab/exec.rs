//! `fulcrum lab exec`: becomes a command on a host of a lab.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use super::args::Exec;
use super::state::Lab;
use crate::net::Namespace;

/// Replaces this process by the command; comes back only when that fails.
pub(super) fn run(args: &Exec) -> anyhow::Result<ExitCode> {
    let (lab, host, command) = split(args)?;
    namespace(&lab, &host)?
        .enter()
        .with_context(|| format!("entering host {host} of lab {lab}"))?;
    let [program, arguments @ ..] = command.as_slice() else {
        bail!("no command given")
    };
    let refused = Command::new(program).args(arguments).exec();
    Err(refused).with_context(|| format!("running {}", program.display()))
}

/// Of a host of a lab that is up.
pub(super) fn namespace(lab: &str, host: &str) -> anyhow::Result<Namespace> {
    let Some(lab) = Lab::find(lab)? else {
        bail!("lab {lab} is not up; `fulcrum lab up {lab} --keep` builds it and leaves it up");
    };
    let facts = lab.facts()?;
    let Some(namespace) = facts.namespaces.get(host) else {
        let known: Vec<&str> = facts.namespaces.keys().map(String::as_str).collect();
        bail!("lab {} has no host {host}; it has {}", lab.name(), known.join(", "));
    };
    Ok(Namespace::open(namespace)?)
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
