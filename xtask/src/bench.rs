//! `cargo xtask bench`: measures in release builds, as root where that is needed. docs/bench.md says how to read it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};

use crate::bpf::{self, OBJECTS, digest};
use crate::workspace::{self, cargo};
use crate::{exec, privilege, setup};

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
    /// What the manager costs at scale, beside the goals that it has
    Control {
        /// Options such as --json, --quick or --mode: see --help behind `--`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        args: Vec<OsString>,
    },
    /// For how long nobody answers when the master of a virtual address dies, beside keepalived
    Failover {
        /// Options such as --json, --quick or --case: see --help behind `--`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        args: Vec<OsString>,
    },
    /// How many requests `fulcrum lab load` makes, beside wrk and h2load
    Load {
        /// Options such as --json, --quick or --case: see --help behind `--`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        args: Vec<OsString>,
    },
    /// What the L7 proxy costs, beside HAProxy and nginx
    Proxy {
        /// Options such as --json, --quick or --case: see --help behind `--`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        args: Vec<OsString>,
    },
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Dataplane { args } => dataplane(args),
        What::Control { args } => daemon("bench_control", args),
        What::Failover { args } => daemon("bench_failover", args),
        What::Load { args } => {
            setup::expect_for_bench()?;
            daemon("bench_load", args)
        }
        What::Proxy { args } => {
            setup::expect_for_bench()?;
            daemon("bench_proxy", args)
        }
    }
}

fn root() -> Result<privilege::Root> {
    privilege::root().map_err(|why| anyhow!("running XDP programs needs root: {why}"))
}

fn dataplane(args: &[OsString]) -> Result<()> {
    let root = root()?;
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
    let bench = build("bench_dataplane")?;
    Err(exec::replace(root.command(&bench).args(args)))
}

/// Runs a bench of the daemon, in a release build of both.
fn daemon(bench: &str, args: &[OsString]) -> Result<()> {
    let root = root()?;
    let fulcrum = workspace::build_fulcrum(true)?;
    let bench = build(bench)?;
    let variables = [("FULCRUM_BIN", fulcrum.as_os_str())];
    Err(exec::replace(root.command_with(&variables, &bench).args(args)))
}

/// Builds one of the tests' programs in release; where it is.
fn build(name: &str) -> Result<PathBuf> {
    let bin = format!("--bin={name}");
    let built = workspace::build(&mut cargo(["build", "--release", "--package=lb-tests", &bin]))?;
    let program = built.into_iter().find(|program| program.name == name);
    Ok(program.with_context(|| format!("cargo has built no {name}"))?.path)
}
