//! What `cargo xtask bench load` runs as root: see `lb_tests::bench::load`.

use anyhow::Result;
use clap::Parser;
use lb_tests::bench::load::run;
use lb_tests::bench::{Figures as _, Sampling};

/// Measure how many requests fulcrum lab load makes, beside wrk and h2load
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench load")]
struct Cli {
    /// Print rows of JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: Sampling,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    run(&cli.sampling).await?.print(cli.json);
    Ok(())
}
