//! `cargo xtask bench load`: how many requests `fulcrum lab load` makes beside wrk and h2load, with the same connections to
//! the same server in the same run. docs/bench.md tells how it is measured and how to read it.
//!
//! [`case`] lists what is measured, [`world`] is the server, [`client`] runs the programs, [`report`] prints.
//!
//! A figure counts only when every request of its sample was answered.

mod case;
mod client;
mod report;
mod world;

use anyhow::{Context as _, Result};

pub use report::Report;

use super::Sampling;
use super::proxy::lacks;
use world::World;

/// What the bench runs besides Fulcrum: the program, and the Debian package it comes in.
const PROGRAMS: [(&str, &str); 3] = [("nginx", "nginx-light"), ("wrk", "wrk"), ("h2load", "nghttp2-client")];

/// What this machine lacks for the bench, and how to get it.
#[must_use]
pub fn missing() -> Option<String> {
    lacks(&PROGRAMS)
}

/// Measures, and says what was seen.
///
/// # Errors
/// When something is missing, or a request is not answered as it should be.
pub async fn run(sampling: &Sampling) -> Result<Report> {
    if let Some(missing) = missing() {
        anyhow::bail!(missing);
    }
    let cases = sampling.wanted(&case::ALL, |case| case.name)?;
    let world = World::new().await?;
    let mut report = Report::default();
    for case in cases {
        // The first turn is not counted: processors and caches have come from something else.
        for round in 0..=sampling.rounds() {
            for (subject, client) in [(report::FULCRUM, &case.fulcrum), (case.reference, &case.other)] {
                let done = client::run(&world, client, case.scheme, sampling.seconds());
                let rate = done.with_context(|| format!("{}: {subject}", case.name))?;
                if round > 0 {
                    report.add(case, subject, rate);
                }
            }
        }
    }
    Ok(report)
}
