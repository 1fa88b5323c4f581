//! What `cargo xtask bench load` runs as root: see `lb_tests::bench::load`.

use anyhow::{Result, ensure};
use clap::Parser;
use lb_tests::bench::load::{Options, run};

/// Measure how many requests fulcrum lab load makes, beside wrk and h2load
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench load")]
struct Cli {
    /// Print rows of JSON, one a line
    #[arg(long)]
    json: bool,
    /// Say only whether it works: the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Samples of each program and case
    #[arg(long, default_value_t = Options::default().rounds)]
    rounds: u32,
    /// How long a sample takes
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: u32,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(cli.rounds > 0 && cli.seconds > 0, "there is nothing to measure");
    let options = if cli.quick {
        Options::quick(cli.cases)
    } else {
        Options {
            filters: cli.cases,
            rounds: cli.rounds,
            seconds: cli.seconds,
        }
    };
    let report = run(&options).await?;
    if cli.json {
        print!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(())
}
