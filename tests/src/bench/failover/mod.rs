//! `cargo xtask bench failover`: for how long clients get no answers when the master of a virtual address dies, beside
//! keepalived with the same settings in the same run, where it is installed. docs/bench.md tells how it is measured and how
//! to read it.
//!
//! [`case`] lists what is measured, [`world`] is the network with its pairs, [`pair`] starts and kills their members,
//! [`probe`] asks all the time, [`report`] prints.
//!
//! [`told`] measures how far behind the other one is meanwhile in what it knows of flows.
//!
//! A figure counts only when the one that was killed was master, and the other one became it.

mod case;
mod pair;
mod probe;
mod report;
mod told;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

pub use report::Report;
pub use told::{Told, tell};

use super::Sampling;
use super::proxy::find;
use crate::node::DEADLINE;
use case::{Case, Death};
use pair::Pair;
use probe::Probe;
use world::World;

/// Answers that show that the address is held: before somebody is killed, and afterwards.
const ANSWERS: usize = 200;

/// Measures, and says what was seen.
///
/// # Errors
/// When a figure does not count.
pub async fn run(sampling: &Sampling) -> Result<Report> {
    let names: Vec<&str> = case::ALL.iter().map(|case| case.name).chain([told::NAME]).collect();
    let wanted = sampling.wanted(&names, |name| name)?;
    let mut report = Report::new(find("keepalived").is_some());
    if wanted.contains(&&told::NAME) {
        told::run(sampling, &mut report).await?;
    }
    for case in case::ALL.iter().filter(|case| wanted.contains(&&case.name)) {
        let mut world = World::new(case, report.has_reference()).await?;
        // The first turn is not counted: nothing has been started, killed and started again yet.
        for round in 0..=sampling.rounds() {
            for place in 0..world.pairs.len() {
                let subject = world.pairs[place].subject();
                let gap = sample(&mut world, place, case, sampling.seconds()).await;
                let gap = gap.with_context(|| format!("{}: {subject}", case.name))?;
                if round > 0 {
                    report.add(case.name, subject, gap);
                }
            }
        }
    }
    Ok(report)
}

/// Kills the master of a pair, and says for how long nobody answered. It is there again when this returns, as backup.
async fn sample(world: &mut World, place: usize, case: &Case, seconds: u32) -> Result<Duration> {
    let World {
        segment, switch, pairs, ..
    } = world;
    let pair = &mut pairs[place];
    pair.until_ready().await?;
    let probe = Probe::start(&segment.client, pair.address())?;
    answers(&probe, Instant::now(), pair).await?;
    // Not before: who was held up for some intervals is master no more.
    let master = pair.until_ready().await?;
    let killed = Instant::now();
    pair.kill(master)?;
    if case.death == Death::Machine {
        switch.set_down(pair.port(master)).await?;
    }
    pair.until_master(1 - master).await?;
    let taken = Instant::now();
    answers(&probe, taken, pair).await?;
    sleep(Duration::from_secs(seconds.into())).await;
    let gap = probe.end(killed)?;
    // What is away before any backup may miss it was not the master.
    ensure!(
        case.death == Death::Daemon || gap >= case.interval,
        "the one that was killed was not the master: only {gap:?} without an answer"
    );
    switch.set_up(pair.port(master)).await?;
    pair.bury(master).await?;
    pair.start(master).await?;
    Ok(gap)
}

/// Waits for enough answers to what was sent since then.
async fn answers(probe: &Probe, since: Instant, pair: &Pair) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while probe.answered(since) < ANSWERS {
        ensure!(Instant::now() < deadline, "nobody answers\n{}", pair.logs());
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
