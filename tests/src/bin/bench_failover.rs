//! What `cargo xtask bench failover` runs as root: see `lb_tests::bench::failover`.

use anyhow::Result;
use clap::Parser;
use lb_tests::bench::failover::run;
use lb_tests::bench::{Figures as _, Sampling};

/// Measure for how long nobody answers when a master dies, beside keepalived
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench failover")]
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
