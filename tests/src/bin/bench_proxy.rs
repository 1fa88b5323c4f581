//! What `cargo xtask bench proxy` runs as root: see `lb_tests::bench::proxy`.

use anyhow::{Result, ensure};
use clap::Parser;
use lb_tests::bench::proxy::{Options, run};

/// Measure what the proxy costs, beside HAProxy and nginx
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench proxy")]
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
    /// Samples of each proxy and case
    #[arg(long, default_value_t = Options::default().rounds)]
    rounds: u32,
    /// How long a sample takes
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: u32,
    /// Connections that idle, if the limit on open files lets all three have as many
    #[arg(long, default_value_t = Options::default().idle)]
    idle: usize,
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
            idle: cli.idle,
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
