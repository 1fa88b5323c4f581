//! Where the checkout is, and cargo on it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

use crate::{bpf, exec};

/// The checkout's folder: that of the `cargo xtask` call, also when the checkout has moved since xtask was built.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask)
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// cargo of the active toolchain, in the checkout.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(bpf::tools::cargo());
    command.current_dir(root()).args(args);
    command
}

/// Makes a cargo command one about fuzz/, a workspace of its own, with the same folder for what is built.
pub(crate) fn of_fuzz(command: &mut Command) -> &mut Command {
    command.args(["--manifest-path=fuzz/Cargo.toml", "--target-dir=target", "--locked"])
}

/// A program that cargo has built.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The target's name: of a binary, a test file, or the library that unit tests belong to.
    pub(crate) name: String,
    /// The executable.
    pub(crate) path: PathBuf,
    /// It runs tests, and is not a program that tests run.
    pub(crate) is_test: bool,
}

/// Runs a cargo command that builds, and returns the programs that it built or found fresh.
pub(crate) fn build(command: &mut Command) -> Result<Vec<Built>> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let json = exec::output(command)?;
    let mut built = Vec::new();
    for message in Message::parse_stream(json.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message.context("cargo's messages")?
            && let Some(path) = artifact.executable
        {
            built.push(Built {
                name: artifact.target.name,
                path: path.into(),
                is_test: artifact.profile.test,
            });
        }
    }
    Ok(built)
}

/// Builds the `fulcrum` binary and returns its path.
pub(crate) fn build_fulcrum(release: bool) -> Result<PathBuf> {
    let mut command = cargo(["build", "--package", "lb-user", "--bin", "fulcrum"]);
    if release {
        command.arg("--release");
    }
    let mut built = build(&mut command)?;
    built.retain(|program| program.name == "fulcrum");
    ensure!(
        built.len() == 1,
        "{}: built {} programs named fulcrum",
        exec::shown(&command),
        built.len()
    );
    Ok(built.remove(0).path)
}
