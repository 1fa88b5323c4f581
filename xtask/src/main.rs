//! The project's verbs, `cargo xtask VERB`: what people run and what CI runs are the same.

#![forbid(unsafe_code)]

mod bench;
mod bpf;
mod deny;
mod dist;
mod ebpf;
mod exec;
mod fuzz;
mod lab;
mod layers;
mod lint;
mod parts;
mod privilege;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fulcrum's own verbs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Setup(setup::Args),
    Lab(lab::Args),
    Test(test::Args),
    Vm(vm::Args),
    Bench(bench::Args),
    Lint(lint::Args),
    Fuzz(fuzz::Args),
    Dist(dist::Args),
    Layers(layers::Args),
    Audit(deny::Args),
    Ebpf(ebpf::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Setup(args) => setup::run(&args),
        Verb::Lab(args) => lab::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Vm(args) => vm::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Dist(args) => dist::run(&args),
        Verb::Layers(args) => layers::run(&args),
        Verb::Audit(args) => deny::run(&args),
        Verb::Ebpf(args) => ebpf::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
