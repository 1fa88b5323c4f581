//! What `cargo xtask bench dataplane` runs as root: see `lb_tests::bench`.

use anyhow::{Result, ensure};
use clap::Parser;
use lb_tests::bench::{Figures as _, Options, run};

/// Measure what a packet costs
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench dataplane")]
struct Cli {
    /// Print rows of JSON, one a line
    #[arg(long)]
    json: bool,
    /// Say only whether it works: the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Loads of the programs; a figure is the median of the minima of all of them
    #[arg(long, default_value_t = 5)]
    loads: u32,
    /// Samples of each case and load
    #[arg(long, default_value_t = 15)]
    samples: u32,
    /// Packets of a sample
    #[arg(long, default_value_t = 100_000)]
    packets: u32,
    /// Only cases whose name contains one of these
    filters: Vec<String>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(
        cli.loads > 0 && cli.samples > 0 && cli.packets > 0,
        "there is nothing to measure"
    );
    let options = if cli.quick {
        Options::quick(cli.filters)
    } else {
        Options {
            filters: cli.filters,
            loads: cli.loads,
            samples: cli.samples,
            packets: cli.packets,
        }
    };
    run(&options).await?.print(cli.json);
    Ok(())
}
