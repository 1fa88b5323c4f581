//! `fulcrum lab compare`: one workload, the same servers, and every way to balance that this machine has.
//!
//! [`bed`] is the lab, [`subject`] says what can be compared, [`run`] does it, [`model`] is what is found out, [`report`]
//! how it is shown. One subject runs at a time, in the same place of the same network.

mod bed;
mod client;
mod cost;
mod environment;
mod events;
mod kept;
mod model;
mod progress;
mod report;
mod run;
mod sample;
mod schedule;
mod seen;
mod settings;
mod slow;
mod spread;
mod subject;
mod timeline;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use self::bed::Bed;
use self::model::Comparison;
use self::settings::Settings;
use super::args;
use super::catalogue;
use super::file::File;
use super::state::Lab;
use super::up::{self, End};
use crate::dataplane::kernel::measure_run_time;

/// Bytes of an answer's body, as labs/compare.toml has it.
const BODY: usize = 100;

/// Compares, and shows what was found. An interrupted run shows what was found until then.
pub(super) async fn run(args: &args::Compare) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(args)?;
    let began = Instant::now();
    let mut found = Comparison {
        version: 1,
        begun: environment::now(),
        environment: environment::look(),
        settings: model::Settings {
            rounds: settings.rounds,
            seconds: settings.sample.as_secs_f64(),
            connections: settings.connections,
            rate: settings.rate.unwrap_or_default(),
            body: BODY,
            seed: settings.seed,
            quick: settings.quick,
        },
        ..Comparison::default()
    };
    let source = catalogue::compare()?;
    let work = async |lab: &Lab, own: &Path| measure(lab, source.file.clone(), own, &settings, &mut found).await;
    let (end, removed) = up::with(&source, false, work, |()| false).await?;
    found.took = began.elapsed().as_secs_f64();
    found.command = command(args, found.settings.rate);
    let code = match end {
        End::Done(()) if removed.is_none_or(|removed| removed.clean) => ExitCode::SUCCESS,
        End::Done(()) => ExitCode::FAILURE,
        End::Failed(error) => return Err(error),
        End::Told(number) => {
            found.interrupted = true;
            ExitCode::from(128 + number)
        }
    };
    if found.interrupted && found.subjects.is_empty() {
        eprintln!("Nothing was measured until then.");
    } else {
        show(args, &found)?;
    }
    Ok(code)
}

async fn measure(lab: &Lab, file: File, own: &Path, settings: &Settings, found: &mut Comparison) -> anyhow::Result<()> {
    up::make(lab, &file, own).await?;
    let bed = Bed::open(lab.clone(), file, own.to_owned())?;
    for name in ["web1", "web2"] {
        bed.start_server(name).await?;
    }
    let _measured = measure_run_time()?;
    run::Run::new(&bed, settings, found).all().await
}

/// Writes the reports that are wanted.
fn show(args: &args::Compare, found: &Comparison) -> anyhow::Result<()> {
    let write = |place: &Path, text: &str| {
        fs::write(place, text).with_context(|| format!("writing {}", place.display()))?;
        eprintln!("The report is in {}.", place.display());
        anyhow::Ok(())
    };
    if let Some(place) = &args.html {
        write(place, &report::html(found))?;
    }
    match &args.json {
        Some(place) if place.as_os_str() == "-" => println!("{}", report::json(found)?),
        Some(place) => {
            write(place, &report::json(found)?)?;
            print!("{}", report::text(found));
        }
        None => print!("{}", report::text(found)),
    }
    Ok(())
}

/// The command that repeats it, at the same rate.
fn command(args: &args::Compare, rate: f64) -> String {
    let mut words = vec!["fulcrum lab compare".to_owned()];
    if args.quick {
        words.push("--quick".to_owned());
    }
    if let Some(duration) = args.duration {
        words.push(format!("--duration {}", crate::config::duration::format(duration)));
    }
    if let Some(rounds) = args.rounds {
        words.push(format!("--rounds {rounds}"));
    }
    words.push(format!("--clients {}", args.clients));
    if rate > 0.0 {
        words.push(format!("--rate {rate:.0}"));
    }
    if !args.subject.is_empty() {
        words.push(format!("--subject {}", args.subject.join(",")));
    }
    words.push(format!("--seed {}", args.seed));
    words.join(" ")
}
