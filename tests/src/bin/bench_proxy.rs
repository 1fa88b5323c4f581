//! What `cargo xtask bench proxy` runs as root: see `lb_tests::bench::proxy`.

use anyhow::Result;
use clap::Parser;
use lb_tests::bench::Figures as _;
use lb_tests::bench::proxy::{Options, run};

/// Measure what the proxy costs, beside HAProxy and nginx
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench proxy")]
struct Cli {
    /// Print rows of JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    run(&cli.options).await?.print(cli.json);
    Ok(())
}
