//! `cargo xtask bench proxy`: what the proxy costs beside HAProxy and nginx, which do the same for the same clients and
//! backends in the same run. docs/bench.md tells how it is measured and how to read it.
//!
//! [`case`] lists what is measured; [`world`] builds a machine with backends; [`subject`] says how the three proxies are
//! configured, and starts them; [`process`] looks at a process from outside; [`load`] runs clients of others, [`client`]
//! and [`pace`] are clients of our own; [`report`] prints.
//!
//! A figure counts only when every request of its sample was answered as it should be.

mod case;
mod client;
mod load;
mod pace;
mod process;
mod report;
mod subject;
mod world;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub(super) use load::{h2load, wrk};
pub(super) use process::{Core, Process};
pub use report::Report;

use super::Sampling;
pub(super) use subject::{nginx, nginx_file};
pub(super) use world::certificate;

use case::{Case, Kind};
use report::Figure;
use subject::{Running, Subject};
use world::World;

/// What the bench runs besides Fulcrum: the program, and the Debian package it comes in.
const PROGRAMS: [(&str, &str); 5] = [
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("openssl", "openssl"),
];

/// Where programs are that not everybody has in PATH.
const SYSTEM: &str = "/usr/sbin";

/// Part of what the slowest can do that all are asked for at a fixed rate.
const SHARE: f64 = 0.3;

/// Connections that idle where it is only to be seen whether that works.
const FEW: usize = 50;

/// Descriptors that a proxy has for something else than clients and backends.
const SPARE: u64 = 2000;

/// Which cases, how often and how long, and what is the proxy's own.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// See there.
    #[command(flatten)]
    pub sampling: Sampling,
    /// Connections that idle, if the limit on open files lets all three have as many
    #[arg(long, default_value_t = 10_000)]
    pub idle: usize,
}

impl Options {
    /// Says whether these cases work, or all: the figures mean nothing.
    #[must_use]
    pub fn quick(cases: Vec<String>) -> Self {
        Self {
            sampling: Sampling::quick(cases),
            idle: FEW,
        }
    }

    fn idle(&self) -> usize {
        if self.sampling.quick { FEW } else { self.idle }
    }
}

/// What this machine lacks for the bench, and how to get it.
#[must_use]
pub fn missing() -> Option<String> {
    lacks(&PROGRAMS)
}

/// The same for a bench that runs these programs.
pub(super) fn lacks(programs: &[(&str, &str)]) -> Option<String> {
    if let Err(few) = Core::two() {
        return Some(few.to_string());
    }
    let absent = programs.iter().filter(|(program, _)| find(program).is_none());
    let names: Vec<&str> = absent.map(|&(_, package)| package).collect();
    (!names.is_empty()).then(|| {
        format!(
            "the bench needs {}: see `cargo xtask setup --for bench`",
            names.join(", ")
        )
    })
}

pub(super) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new(SYSTEM).to_owned()]);
    folders.map(|folder| folder.join(program)).find(|place| place.is_file())
}

/// Measures, and says what was seen.
///
/// # Errors
/// When something is missing, or a request is not answered as it should be.
pub async fn run(options: &Options) -> Result<Report> {
    ensure!(options.idle() > 0, "there is nothing to measure");
    if let Some(missing) = missing() {
        anyhow::bail!(missing);
    }
    let cases = options.sampling.wanted(&case::ALL, |case| case.name)?;
    let descriptors = raise_descriptors()?;
    let connections = descriptors.saturating_sub(SPARE) / 2;
    ensure!(
        connections > 100,
        "{descriptors} open files are too few: see `ulimit -Hn`"
    );
    let mut report = Report::default();
    let world = World::new(connections).await?;
    for case in cases {
        match case.kind {
            Kind::Load(load) => {
                let running = start_all(&world)?;
                requests(options, &world, &running, case, load, &mut report).with_context(|| case.name)?;
            }
            Kind::Idle => {
                let idle = options.idle().min(connections as usize - 100);
                idling(options, &world, idle, case, &mut report).with_context(|| case.name)?;
            }
            Kind::Latency => {
                let running = start_all(&world)?;
                latency(options, &world, &running, case, &mut report).with_context(|| case.name)?;
            }
        }
    }
    Ok(report)
}

fn start_all(world: &World) -> Result<Vec<Running>> {
    Subject::ALL
        .iter()
        .map(|&subject| Running::start(world, subject))
        .collect()
}

/// The processor time of a request: all subjects in turn, again and again. The first turn is not counted: it opens
/// connections to backends.
fn requests(
    options: &Options,
    world: &World,
    running: &[Running],
    case: &Case,
    load: load::Load,
    report: &mut Report,
) -> Result<()> {
    let before = running.iter().map(|proxy| proxy.requests_logged(world));
    let mut expected = before.collect::<Result<Vec<u64>>>()?;
    for round in 0..=options.sampling.rounds() {
        for (proxy, expected) in running.iter().zip(&mut expected) {
            let before = proxy.process.processor_time()?;
            let done = load::run(world, load, proxy.subject.address(), options.sampling.seconds())
                .with_context(|| proxy.log())?;
            let spent = proxy.process.processor_time()?.saturating_sub(before);
            *expected += if load.is_logged() { done } else { 0 };
            if round > 0 {
                report.add(case.name, proxy.subject, Figure::micros(case.unit, spent, done));
            }
        }
    }
    for (proxy, expected) in running.iter().zip(expected) {
        proxy.expect_logged(world, expected)?;
    }
    Ok(())
}

/// The memory of a connection that idles. A proxy is started anew for each sample, so that it has not kept memory from
/// the last.
fn idling(options: &Options, world: &World, idle: usize, case: &Case, report: &mut Report) -> Result<()> {
    report.setting(case.name, "connections", idle as f64);
    for _ in 0..options.sampling.rounds().min(3) {
        for subject in Subject::ALL {
            let proxy = Running::start(world, subject)?;
            world
                .as_client(client::idle(subject.address(), idle.div_ceil(100)))?
                .with_context(|| proxy.log())?;
            let before = proxy.process.private_memory()?;
            let after = world.as_client(async {
                let open = client::open(subject.address(), idle).await?;
                let after = proxy.process.private_memory()?;
                client::ask_all(open).await?;
                anyhow::Ok(after)
            })?;
            let after = after.with_context(|| proxy.log())?;
            let bytes = after.saturating_sub(before) as f64 / idle as f64;
            report.add(
                case.name,
                subject,
                Figure {
                    unit: case.unit,
                    value: bytes,
                },
            );
        }
    }
    Ok(())
}

/// How long answers take at a rate that all can keep.
fn latency(options: &Options, world: &World, running: &[Running], case: &Case, report: &mut Report) -> Result<()> {
    let mut slowest = f64::INFINITY;
    for proxy in running {
        let done = load::run(
            world,
            load::TLS_HTTP1,
            proxy.subject.address(),
            options.sampling.seconds(),
        )?;
        slowest = slowest.min(done as f64 / f64::from(options.sampling.seconds()));
    }
    let rate = ((slowest * SHARE / 100.0).floor() * 100.0).max(100.0);
    report.setting(case.name, "requests/s", rate);
    for round in 0..=options.sampling.rounds() {
        for proxy in running {
            let took = pace::run(proxy.subject.address(), rate, options.sampling.seconds());
            let took = world.as_client(took)?.with_context(|| proxy.log())?;
            if round == 0 {
                continue;
            }
            for (label, part) in [("p50", 0.5), ("p99", 0.99)] {
                let value = pace::percentile(&took, part).as_secs_f64() * 1e6;
                report.add(
                    &format!("{}: {label}", case.name),
                    proxy.subject,
                    Figure { unit: case.unit, value },
                );
            }
        }
    }
    Ok(())
}

/// Lets this process, and those that it starts, have as many open files as they may; how many.
fn raise_descriptors() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(50_000);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}
