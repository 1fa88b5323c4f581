//! `cargo xtask lab`: builds Fulcrum as the user, and becomes the tour of a lab, as root.

use std::ffi::OsString;

use anyhow::{Result, anyhow};

use crate::{exec, privilege, workspace};

/// Build Fulcrum and show a lab, quickstart if none is named: real traffic through the XDP program, in network namespaces
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which lab; `fulcrum lab list` shows them
    #[arg(default_value = "quickstart")]
    lab: OsString,
    /// For `fulcrum lab tour`, such as --keep; without any, it goes through all steps without waiting
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    // First, so that nobody waits for a build to learn it.
    let root = privilege::root().map_err(|why| anyhow!("the lab needs root for namespaces and XDP: {why}"))?;
    let fulcrum = workspace::build_fulcrum(true)?;
    let quietly = args.args.is_empty().then(|| OsString::from("--yes"));
    // Not as a child: Ctrl-C would end this process while the lab still cleans up, and give the prompt back too early.
    let mut lab = root.command(fulcrum);
    Err(exec::replace(
        lab.args(["lab", "tour"]).arg(&args.lab).args(quietly).args(&args.args),
    ))
}
