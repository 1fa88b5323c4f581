//! One round with one subject: throughput with its cost, and latency.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tokio::time::sleep;

use super::bed::{Bed, clients};
use super::cost::{Clocks, private_memory};
use super::model::{self, Latency, Quantiles};
use super::settings::Settings;
use super::subject::Subject;
use crate::lab::load::{self, End, NOT_SENT, Outcome, Pace, Plan, Running, Target};

/// Connections at a time in samples of latency, at most: requests that are due while all of them wait for an answer
/// wait as well, and that counts.
const CONNECTIONS: usize = 64;

/// 10 s for a request: a machine that stands still for seconds fails none. A server that was killed does not make anybody
/// wait, since its host is there, and refuses at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between looks at how many there are.
const PAUSE: Duration = Duration::from_millis(5);

/// An hour: whoever started it ends it.
pub(super) const EVER: Duration = Duration::from_secs(3600);

/// Requests that a sample has at least: where it would have fewer, it takes longer.
const LEAST: f64 = 10.0;

/// Longest wait for them, where requests come as they are answered.
const LONGEST: Duration = Duration::from_secs(10);

/// Failures that samples may have: one of a hundred. With more of them, a figure says nothing.
const TOLERABLE: u64 = 100;

/// Parts of requests for which the curve has a point.
const PARTS: [f64; 21] = [
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995,
    0.9999, 1.0,
];

/// Requests for `/`, as the subject's clients make them: over TLS or not, from all addresses in turn.
pub(super) fn plan(subject: &Subject) -> Plan {
    to(subject, subject.tls)
}

/// The same, with TLS or without.
pub(super) fn to(subject: &Subject, tls: bool) -> Plan {
    Plan {
        sources: clients(),
        timeout: PATIENCE,
        ..Plan::new(Target {
            tls,
            ..Target::at(subject.address(tls))
        })
    }
}

/// Makes the requests of a plan that ends by itself. Dropped, it ends at once.
pub(super) async fn carry_out(bed: &Bed, plan: &Plan) -> anyhow::Result<Outcome> {
    Ok(load::run(&bed.client.namespace, plan).await?)
}

/// Requests/s over connections that are kept; what they cost goes to `found`.
pub(super) async fn requests(
    bed: &Bed,
    settings: &Settings,
    subject: &Subject,
    found: &mut model::Subject,
) -> anyhow::Result<()> {
    let plan = Plan {
        connections: settings.connections,
        end: End::After(EVER),
        ..plan(subject)
    };
    let span = throughput(bed, settings, subject, &plan).await?;
    found.requests.push(span.rate()?);
    span.after.since(span.before, span.answered, &mut found.cost);
    if let Some(memory) = span.memory {
        let most = found.cost.memory.get_or_insert(0);
        *most = memory.max(*most);
    }
    Ok(())
}

/// Requests/s with a connection for each.
pub(super) async fn connections(bed: &Bed, settings: &Settings, subject: &Subject) -> anyhow::Result<f64> {
    let plan = Plan {
        connections: settings.connections,
        reuse: false,
        end: End::After(EVER),
        ..plan(subject)
    };
    throughput(bed, settings, subject, &plan).await?.rate()
}

/// What happened within a sample.
#[derive(Debug)]
struct Span {
    answered: u64,
    failed: u64,
    took: Duration,
    before: Clocks,
    after: Clocks,
    /// Of the balancer, just before.
    memory: Option<u64>,
    /// Reasons of failures, those before the sample included.
    why: String,
}

/// Makes requests, and looks at a part of the time when all connections are open and caches are warm.
async fn throughput(bed: &Bed, settings: &Settings, subject: &Subject, plan: &Plan) -> anyhow::Result<Span> {
    let mut running = Running::start(&bed.client.namespace, plan)?;
    let enough = async |from: u64| {
        let began = Instant::now();
        while running.progress().answered < from + LEAST as u64 && began.elapsed() < LONGEST {
            sleep(PAUSE).await;
        }
    };
    sleep(settings.warm_up()).await;
    enough(0).await;
    let memory = private_memory(bed)?;
    let (began, before, first) = (Instant::now(), Clocks::read(bed, subject)?, running.progress());
    sleep(settings.sample).await;
    enough(first.answered).await;
    let (took, last, after) = (began.elapsed(), running.progress(), Clocks::read(bed, subject)?);
    running.end();
    running.done().await;
    Ok(Span {
        answered: last.answered - first.answered,
        failed: last.failed - first.failed,
        took,
        before,
        after,
        memory,
        why: why(&running.wait()?),
    })
}

impl Span {
    /// Requests/s, if about all were answered.
    fn rate(&self) -> anyhow::Result<f64> {
        let Self { answered, failed, .. } = self;
        if *answered == 0 || failed * TOLERABLE > *answered {
            bail!("{failed} of {} requests failed: {}", failed + answered, self.why);
        }
        Ok(*answered as f64 / self.took.as_secs_f64())
    }
}

/// About how many requests/s a subject answers: a try before the rounds, which is not a sample.
pub(super) async fn trial(bed: &Bed, settings: &Settings, subject: &Subject) -> anyhow::Result<f64> {
    let plan = Plan {
        connections: settings.connections,
        end: End::After(EVER),
        ..plan(subject)
    };
    throughput(bed, settings, subject, &plan).await?.rate()
}

/// What so many requests a second take, while connections are open: how long each took, and how many failed.
pub(super) async fn latency(
    bed: &Bed,
    settings: &Settings,
    subject: &Subject,
    rate: f64,
) -> anyhow::Result<(Histogram<u64>, u64)> {
    let plan = Plan {
        connections: CONNECTIONS,
        pace: Pace::Open { rate },
        end: End::After(settings.warm_up() + settings.sample.max(Duration::from_secs_f64(LEAST / rate))),
        record: true,
        ..plan(subject)
    };
    let began = Instant::now();
    let outcome = carry_out(bed, &plan).await?;
    let (took, failed) = since(&outcome, began + settings.warm_up());
    if took.is_empty() {
        bail!("no request was answered: {}", why(&outcome));
    }
    Ok((took, failed))
}

/// What requests took that were due at `first` or later, and how many of them failed. Those that were never sent count,
/// whenever they were due.
fn since(outcome: &Outcome, first: Instant) -> (Histogram<u64>, u64) {
    let mut took = Outcome::default().latency;
    let mut failed = outcome.failed.get(NOT_SENT).copied().unwrap_or_default();
    for made in outcome.events.iter().filter(|made| made.due >= first) {
        match made.outcome {
            Ok(_) => took.saturating_record(u64::try_from(made.took.as_nanos()).unwrap_or(u64::MAX).max(1)),
            Err(_) => failed += 1,
        }
    }
    (took, failed)
}

/// Adds a round to what is known of latency; `all` has those of all rounds.
pub(super) fn add_latency(
    found: &mut Latency,
    took: &Histogram<u64>,
    failed: u64,
    all: &mut Histogram<u64>,
) -> anyhow::Result<()> {
    all.add(took).context("adding what requests took")?;
    let at = |part| took.value_at_quantile(part) as f64 / 1000.0;
    found.rounds.push(Quantiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: took.max() as f64 / 1000.0,
    });
    found.failed += failed;
    found.curve = PARTS
        .iter()
        .map(|&part| (part, all.value_at_quantile(part) as f64 / 1000.0))
        .collect();
    Ok(())
}

/// Why requests failed, the most frequent reason first.
pub(super) fn why(outcome: &Outcome) -> String {
    let mut reasons: Vec<_> = outcome.failed.iter().collect();
    reasons.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(reason, times)| format!("{times} x {reason}"))
        .collect();
    reasons.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::load::Made;

    #[test]
    fn rounds_add_up_to_a_curve() {
        let mut all = Outcome::default().latency;
        let mut found = Latency::default();
        for time in [1_000_u64, 3_000] {
            let mut took = Outcome::default().latency;
            took.record_n(time, 500).unwrap();
            add_latency(&mut found, &took, 2, &mut all).unwrap();
        }
        let medians: Vec<f64> = found.rounds.iter().map(|round| round.p50.round()).collect();
        assert_eq!(medians, [1.0, 3.0]);
        assert_eq!(found.failed, 4);
        assert!(
            found.curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
            "{:?}",
            found.curve
        );
        assert_eq!(found.curve.last().unwrap().1.round(), 3.0);
    }

    #[test]
    fn what_is_due_before_a_sample_does_not_count() {
        let first = Instant::now();
        let made = |ms: i64, outcome: Result<&str, &str>| Made {
            due: if ms < 0 {
                first - Duration::from_millis(ms.unsigned_abs())
            } else {
                first + Duration::from_millis(ms as u64)
            },
            took: Duration::from_millis(7),
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
        };
        let mut outcome = Outcome::default();
        outcome.events = vec![
            made(-1, Ok("web1")),
            made(-1, Err("reset")),
            made(0, Ok("web1")),
            made(1, Err("reset")),
        ];
        outcome.failed.insert(NOT_SENT.to_owned(), 3);
        let (took, failed) = since(&outcome, first);
        assert_eq!((took.len(), failed), (1, 4));
    }

    #[test]
    fn failures_void_a_figure() {
        let span = |failed| Span {
            answered: 1000,
            failed,
            took: Duration::from_millis(500),
            before: Clocks::default(),
            after: Clocks::default(),
            memory: None,
            why: "11 x refused".to_owned(),
        };
        assert_eq!(span(10).rate().unwrap(), 2000.0);
        let error = span(11).rate().unwrap_err().to_string();
        assert_eq!(error, "11 of 1011 requests failed: 11 x refused");
        let mut outcome = Outcome::default();
        outcome.failed.insert("reset".to_owned(), 10);
        outcome.failed.insert("refused".to_owned(), 11);
        assert_eq!(why(&outcome), "11 x refused, 10 x reset");
    }
}
