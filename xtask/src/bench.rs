//! `cargo xtask bench`: measures in release builds, as root where that is needed. docs/bench.md says how to read it.

use std::ffi::OsString;

use anyhow::{Context, Result, anyhow, ensure};

use crate::bpf::{self, OBJECTS, digest};
use crate::workspace::{self, cargo};
use crate::{exec, privilege};

/// Measure, beside a reference in the same run
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What a packet costs in the XDP program, beside a minimal balancer
    Dataplane {
        /// Parts of the names of cases, and options such as --json or --quick: see --help behind `--`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FILTER")]
        args: Vec<OsString>,
    },
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Dataplane { args } => dataplane(args),
    }
}

fn dataplane(args: &[OsString]) -> Result<()> {
    let root = privilege::root().map_err(|why| anyhow!("running XDP programs needs root: {why}"))?;
    let checkout = workspace::root();
    let sources = digest::of(&checkout)?;
    for object in OBJECTS {
        let committed = bpf::committed_for(&checkout, object, &sources)?;
        ensure!(
            committed.is_some(),
            "{} does not belong to its sources, so figures would be those of another program: run `cargo xtask ebpf`",
            bpf::file_name(object)
        );
    }
    let built = workspace::build(&mut cargo([
        "build",
        "--release",
        "--package=lb-tests",
        "--bin=bench_dataplane",
    ]))?;
    let bench = built.iter().find(|program| program.name == "bench_dataplane");
    let bench = bench.context("cargo has built no bench_dataplane")?;
    Err(exec::replace(root.command(&bench.path).args(args)))
}
