//! What `cargo xtask bench control` runs as root: see `lb_tests::bench::control`.

use anyhow::Result;
use clap::Parser;
use lb_tests::bench::Figures as _;
use lb_tests::bench::control::{Options, run};

/// Measure what the manager costs at scale
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench control")]
struct Cli {
    /// Print rows of JSON, one a line
    #[arg(long)]
    json: bool,
    /// Say only whether it works: the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Services, each with a VIP of its own
    #[arg(long, default_value_t = Options::default().services)]
    services: u32,
    /// Backends of each service
    #[arg(long, default_value_t = Options::default().backends)]
    backends: u32,
    /// How packets reach the backends: `tunnel` or `nat`
    #[arg(long, default_value_t = Options::default().mode)]
    mode: String,
    /// Starts of the daemon, on new maps and on those of the run before
    #[arg(long, default_value_t = Options::default().starts)]
    starts: u32,
    /// Reloads of either kind
    #[arg(long, default_value_t = Options::default().reloads)]
    reloads: u32,
    /// Periods of probing
    #[arg(long, default_value_t = Options::default().periods)]
    periods: u32,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let options = if cli.quick {
        Options::quick(&cli.mode)
    } else {
        Options {
            services: cli.services,
            backends: cli.backends,
            mode: cli.mode,
            starts: cli.starts,
            reloads: cli.reloads,
            periods: cli.periods,
        }
    };
    run(&options).await?.print(cli.json);
    Ok(())
}
