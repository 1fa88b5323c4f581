//! `cargo xtask bench control`: what the manager costs at scale, beside the goals that it has. docs/bench.md tells how it
//! is measured and how to read it.
//!
//! [`world`] builds a machine with many services, and backends that answer; [`process`] starts the daemon on it and looks
//! at the process from outside; [`scrape`] asks for its metrics; [`report`] prints.
//!
//! A figure counts only when the node is whole: every backend up, nothing refused, no fault.

mod process;
mod report;
mod scrape;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

pub use report::Report;

use process::Running;
use report::Figure;
use scrape::Scraping;
use world::World;

/// How large, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Services, each with a VIP of its own.
    pub services: u32,
    /// Backends of each of them.
    pub backends: u32,
    /// `mode` of the services: `tunnel` or `nat`.
    pub mode: String,
    /// Starts of the daemon, on maps that are new and on those of the one before.
    pub starts: u32,
    /// Reloads of either kind.
    pub reloads: u32,
    /// Periods of probing: every backend once.
    pub periods: u32,
}

impl Default for Options {
    /// 1,000 services of 20 backends.
    fn default() -> Self {
        Self {
            services: 1000,
            backends: 20,
            mode: "tunnel".to_owned(),
            starts: 3,
            reloads: 5,
            periods: 3,
        }
    }
}

impl Options {
    /// Says whether it works: the figures mean nothing.
    #[must_use]
    pub fn quick(mode: &str) -> Self {
        Self {
            services: 5,
            backends: 4,
            mode: mode.to_owned(),
            starts: 1,
            reloads: 1,
            periods: 1,
        }
    }
}

/// Between two probes of a backend.
const INTERVAL: Duration = Duration::from_secs(5);

/// Measures, and says what was seen.
///
/// # Errors
/// When the machine cannot be built, or a node does not become whole.
pub async fn run(options: &Options) -> Result<Report> {
    ensure!(
        options.services > 0 && options.backends > 0 && options.starts > 0,
        "there is nothing to measure"
    );
    let mut report = Report::default();
    let mut world = World::new(options).await?;
    for start in 0..options.starts {
        world.detach()?;
        let running = Running::start(&world).await?;
        report.add(Figure::FirstStart, seconds(running.ready_after));
        report.add(Figure::StartWork, seconds(running.processor_time()?));
        running.stop()?;
        let running = Running::start(&world).await?;
        report.add(Figure::Restart, seconds(running.ready_after));
        if start + 1 == options.starts {
            look(options, &mut world, &running, &mut report).await?;
        }
        running.stop()?;
    }
    Ok(report)
}

/// What is seen of a daemon that runs.
async fn look(options: &Options, world: &mut World, running: &Running, report: &mut Report) -> Result<()> {
    let backends = u64::from(world.backends);
    for _ in 0..options.periods {
        let before = running.processor_time()?;
        world.probes.wait_for(backends)?;
        report.add(
            Figure::Probing,
            seconds(running.processor_time()?.saturating_sub(before)),
        );
    }
    for _ in 0..options.reloads {
        let weight = world.change()?;
        let began = Instant::now();
        world.write();
        running.reload().await?;
        report.add(Figure::AskedReload, millis(began.elapsed()));
        running.expect_weight(weight)?;
    }
    for _ in 0..options.reloads {
        let weight = world.change()?;
        let began = Instant::now();
        world.write();
        running.wait_for_weight(weight)?;
        report.add(Figure::NoticedReload, millis(began.elapsed()));
        // The rest of its work is not the next one's.
        running.reload().await?;
    }
    let memory = running.memory()?;
    report.add(Figure::Anonymous, memory.anonymous);
    report.add(Figure::Resident, memory.resident);
    for _ in 0..options.reloads {
        let began = Instant::now();
        scrape::scrape(&world.node.namespace)?;
        report.add(Figure::Scrape, millis(began.elapsed()));
    }
    let scraping = Scraping::start(&world.node.namespace);
    for _ in 0..options.reloads {
        let weight = world.change()?;
        scraping.wait_for_next()?;
        let began = Instant::now();
        world.write();
        running.reload().await?;
        report.add(Figure::ScrapedReload, millis(began.elapsed()));
        running.expect_weight(weight)?;
    }
    scraping.end()?;
    running.expect_whole().await?;
    let after = running.memory()?;
    report.add(Figure::Scraped, after.anonymous);
    report.add(Figure::Peak, after.peak);
    Ok(())
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
