//! One round with one subject: throughput with its cost, and latency.

use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tokio::time::sleep;

use super::bed::{Bed, clients};
use super::cost::{Clocks, private_memory};
use super::model::{self, Latency, Quantiles};
use super::settings::Settings;
use super::subject::Subject;
use crate::lab::load::{End, Outcome, Pace, Plan, Running, Target};

/// Connections at a time in samples of latency, at most: requests that are due while all of them wait for an answer
/// wait as well, and that counts.
const CONNECTIONS: usize = 64;

/// 2 s for a request, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// An hour: whoever started it ends it.
pub(super) const EVER: Duration = Duration::from_secs(3600);

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
    let mut running = Running::start(&bed.client.namespace, plan)?;
    running.done().await;
    Ok(running.wait()?)
}

/// Requests/s over connections that are kept; what they cost goes to `subject`.
pub(super) async fn requests(
    bed: &Bed,
    settings: &Settings,
    subject: &Subject,
    found: &mut model::Subject,
) -> anyhow::Result<()> {
    let mut plan = Plan {
        connections: settings.connections,
        end: End::After(EVER),
        ..plan(subject)
    };
    let mut warming = Running::start(&bed.client.namespace, &plan)?;
    sleep(settings.warm_up()).await;
    if let Some(memory) = private_memory(bed)? {
        let most = found.cost.memory.get_or_insert(0);
        *most = memory.max(*most);
    }
    warming.end();
    warming.done().await;
    warming.wait()?;
    plan.end = End::After(settings.sample);
    let before = Clocks::read(bed, subject)?;
    let outcome = carry_out(bed, &plan).await?;
    let after = Clocks::read(bed, subject)?;
    found.requests.push(rate(&outcome)?);
    after.since(before, outcome.answered, &mut found.cost);
    Ok(())
}

/// Requests/s with a connection for each.
pub(super) async fn connections(bed: &Bed, settings: &Settings, subject: &Subject) -> anyhow::Result<f64> {
    let plan = Plan {
        connections: settings.connections,
        reuse: false,
        end: End::After(settings.sample),
        ..plan(subject)
    };
    rate(&carry_out(bed, &plan).await?)
}

/// What so many requests a second take.
pub(super) async fn latency(bed: &Bed, settings: &Settings, subject: &Subject, rate: f64) -> anyhow::Result<Outcome> {
    let mut plan = Plan {
        connections: CONNECTIONS,
        pace: Pace::Open { rate },
        end: End::After(settings.warm_up()),
        ..plan(subject)
    };
    carry_out(bed, &plan).await?;
    plan.end = End::After(settings.sample);
    let outcome = carry_out(bed, &plan).await?;
    if outcome.answered == 0 {
        bail!("no request was answered: {}", why(&outcome));
    }
    Ok(outcome)
}

/// Adds a round to what is known of latency; `all` has those of all rounds.
pub(super) fn add_latency(found: &mut Latency, outcome: &Outcome, all: &mut Histogram<u64>) -> anyhow::Result<()> {
    all.add(&outcome.latency).context("adding what requests took")?;
    let at = |part| outcome.latency.value_at_quantile(part) as f64 / 1000.0;
    found.rounds.push(Quantiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: outcome.latency.max() as f64 / 1000.0,
    });
    found.failed += outcome.failures();
    found.curve = PARTS
        .iter()
        .map(|&part| (part, all.value_at_quantile(part) as f64 / 1000.0))
        .collect();
    Ok(())
}

/// Requests/s, if about all were answered.
pub(super) fn rate(outcome: &Outcome) -> anyhow::Result<f64> {
    let failed = outcome.failures();
    if outcome.answered == 0 || failed * TOLERABLE > outcome.answered {
        bail!(
            "{failed} of {} requests failed: {}",
            failed + outcome.answered,
            why(outcome)
        );
    }
    Ok(outcome.answered as f64 / outcome.took.as_secs_f64())
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

    #[test]
    fn rounds_add_up_to_a_curve() {
        let mut all = Outcome::default().latency;
        let mut found = Latency::default();
        for took in [1_000_u64, 3_000] {
            let mut outcome = Outcome::default();
            outcome.latency.record_n(took, 500).unwrap();
            outcome.failed.insert("timed out".to_owned(), 2);
            add_latency(&mut found, &outcome, &mut all).unwrap();
        }
        let medians: Vec<f64> = found.rounds.iter().map(|round| round.p50.round()).collect();
        assert_eq!(medians, [1.0, 3.0]);
        assert_eq!(found.failed, 4);
        assert!(found.curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{:?}", found.curve);
        assert_eq!(found.curve.last().unwrap().1.round(), 3.0);
    }

    #[test]
    fn failures_void_a_figure() {
        let mut outcome = Outcome {
            answered: 1000,
            took: Duration::from_millis(500),
            ..Outcome::default()
        };
        outcome.failed.insert("reset".to_owned(), 10);
        assert_eq!(rate(&outcome).unwrap(), 2000.0);
        outcome.failed.insert("refused".to_owned(), 11);
        let error = rate(&outcome).unwrap_err().to_string();
        assert_eq!(error, "21 of 1021 requests failed: 11 x refused, 10 x reset");
        assert!(rate(&Outcome::default()).is_err());
    }
}
