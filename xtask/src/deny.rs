//! What the workspace is built of, by cargo-deny and deny.toml: licences, sources and bans, which `cargo xtask lint` checks;
//! and `cargo xtask audit`, which asks for advisories.
//!
//! The database of advisories is a repository of its own, which no registry of packages has. Where it cannot be reached,
//! nothing is known, and that is said; it is no reason to refuse a change.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{exec, workspace};

/// cargo-deny's version.
pub(crate) const VERSION: &str = "0.20.2";

/// How cargo-deny says that it has not got the database.
const UNREACHED: &str = "failed to fetch advisory database";

/// Ask for advisories about the crates of the lock file, where the database can be reached
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail where the database cannot be reached
    #[arg(long)]
    strict: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    ensure!(
        is_installed(&root),
        "cargo-deny {VERSION} is missing: run `cargo xtask setup --yes --for lint`"
    );
    let mut deny = command(&root, &["advisories"]);
    let output = deny.stdin(Stdio::null()).output().with_context(|| exec::shown(&deny))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match judge(output.status.success(), &said) {
        Asked::Clean => println!("No advisory is about a crate of the lock file."),
        Asked::Unreached if args.strict => bail!("the database of advisories cannot be reached"),
        Asked::Unreached => println!(
            "NOT ASKED: the database of advisories cannot be reached from here, so nothing is known of advisories. Run \
             `cargo xtask audit` where it can be."
        ),
        Asked::Refused => {
            eprint!("{said}");
            bail!("{}: {}", exec::shown(&deny), output.status);
        }
    }
    Ok(())
}

/// Checks licences, sources and bans.
pub(crate) fn check(root: &Path) -> Result<()> {
    exec::run(command(root, &["licenses", "bans", "sources"]).args(["--hide-inclusion-graph"]))
}

/// Is cargo-deny there, in its version?
pub(crate) fn is_installed(root: &Path) -> bool {
    exec::ask(Command::new(tool(root)).arg("--version")).is_some_and(|text| text.trim().ends_with(VERSION))
}

fn tool(root: &Path) -> PathBuf {
    root.join(".tools/bin/cargo-deny")
}

fn command(root: &Path, checks: &[&str]) -> Command {
    let mut deny = Command::new(tool(root));
    deny.current_dir(root).args(["--locked", "check"]).args(checks);
    deny
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Clean,
    /// There is something, or it failed in another way.
    Refused,
    Unreached,
}

fn judge(success: bool, said: &str) -> Asked {
    match success {
        true => Asked::Clean,
        false if said.contains(UNREACHED) => Asked::Unreached,
        false => Asked::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_out_of_reach_is_told_from_an_advisory() {
        assert_eq!(judge(true, "advisories ok"), Asked::Clean);
        let unreached =
            "2026-01-01 00:00:00 [ERROR] failed to fetch advisory database somewhere with cli: failed to clone";
        assert_eq!(judge(false, unreached), Asked::Unreached);
        assert_eq!(
            judge(false, "error[vulnerability]: a bad one\nadvisories FAILED"),
            Asked::Refused
        );
    }
}
