//! `cargo xtask lint`: formatting, clippy on both sides, layers, and what is built of.

use anyhow::Result;

use crate::bpf::{build::TARGET, tools};
use crate::parts::Parts;
use crate::workspace::{self, cargo};
use crate::{deny, exec, layers};

/// Check formatting, clippy, layers, and licences and sources of crates
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_: &Args) -> Result<()> {
    let mut parts = Parts::new("lint");
    parts.run("fmt", || exec::run(&mut cargo(["fmt", "--all", "--check"])));
    parts.run("fmt: fuzz", || {
        exec::run(&mut cargo(["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"]))
    });
    parts.run("clippy", || {
        let mut clippy = cargo(["clippy", "--quiet", "--locked", "--all-targets"]);
        clippy.args([
            "--package=lb-common",
            "--package=lb-user",
            "--package=xtask",
            "--package=lb-tests",
        ]);
        exec::run(clippy.args(["--", "-Dwarnings"]))
    });
    parts.run("clippy: fuzz", || {
        let mut clippy = cargo(["clippy", "--quiet", "--all-targets"]);
        exec::run(workspace::of_fuzz(&mut clippy).args(["--", "-Dwarnings"]))
    });
    const EBPF: &str = "clippy: lb-ebpf";
    match tools::rust_src(&tools::sysroot()?) {
        Some(_) => parts.run(EBPF, lint_ebpf),
        None => parts.skip(EBPF, "rust-src is missing, see `cargo xtask setup`"),
    }
    parts.run("layers", || layers::check(&workspace::root()));
    const DENY: &str = "licences, sources and bans";
    match deny::is_installed(&workspace::root()) {
        true => parts.run(DENY, || deny::check(&workspace::root())),
        false => parts.skip(DENY, "cargo-deny is missing, see `cargo xtask setup`"),
    }
    parts.finish()
}

/// Alone and on its own target: beside a package of the host it would be compiled for the host, with two panic handlers.
fn lint_ebpf() -> Result<()> {
    let mut clippy = cargo(["clippy", "--quiet", "--locked", "--package=lb-ebpf", "--profile=bpf"]);
    clippy.args([
        "--target",
        TARGET,
        "-Zbuild-std=core",
        "--target-dir=target/bpf",
        "--",
        "-Dwarnings",
    ]);
    exec::run(clippy.env("RUSTC_BOOTSTRAP", "1"))
}
