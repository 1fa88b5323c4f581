//! What requests came to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Servers that are remembered in the order of requests.
const FIRST: u64 = 32;

/// 60 s, in nanoseconds: what takes longer counts as this.
const LONGEST: u64 = 60_000_000_000;

/// Of requests that were due and for which no connection became free in time.
pub(in crate::lab) const NOT_SENT: &str = "not sent in time";

/// What many requests came to.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Outcome {
    pub(in crate::lab) answered: u64,
    /// By reason.
    pub(in crate::lab) failed: BTreeMap<String, u64>,
    /// Those of failures too.
    pub(in crate::lab) statuses: BTreeMap<u16, u64>,
    /// Answers by server, as `x-served-by` says.
    pub(in crate::lab) served: BTreeMap<String, u64>,
    /// Whom servers took for the client, as `x-saw-client` says.
    pub(in crate::lab) seen: BTreeSet<IpAddr>,
    /// Who answered the first requests, by their number.
    first: BTreeMap<u64, String>,
    /// Opened.
    pub(in crate::lab) connections: u64,
    /// Of answers as they were before TLS: bodies and, of HTTP/1.1, heads.
    pub(in crate::lab) bytes: u64,
    /// From the beginning to the last answer or failure.
    pub(in crate::lab) took: Duration,
    /// Of those that were answered, in nanoseconds, from when they were due.
    pub(in crate::lab) latency: Histogram<u64>,
    /// In the order of being due, if the plan wants them.
    pub(in crate::lab) events: Vec<Made>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Made {
    pub(in crate::lab) due: Instant,
    /// From then on until it was answered or had failed.
    pub(in crate::lab) took: Duration,
    /// The server (empty where it has not said who it is), or why there was no answer.
    pub(in crate::lab) outcome: Result<String, String>,
}

/// An answer, as far as it counts. Used again for the next, so that nothing is allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::lab) struct Answer {
    pub(in crate::lab) status: u16,
    pub(in crate::lab) server: String,
    pub(in crate::lab) saw: Option<IpAddr>,
    pub(in crate::lab) bytes: u64,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            answered: 0,
            failed: BTreeMap::new(),
            statuses: BTreeMap::new(),
            served: BTreeMap::new(),
            seen: BTreeSet::new(),
            first: BTreeMap::new(),
            connections: 0,
            bytes: 0,
            took: Duration::ZERO,
            latency: Histogram::new_with_bounds(1, LONGEST, 3).expect("three digits fit between these"),
            events: Vec::new(),
        }
    }
}

impl Outcome {
    /// Who answered the first 32 requests, in the order of requests; those that failed are left out.
    pub(in crate::lab) fn order(&self) -> impl Iterator<Item = &str> {
        self.first.values().map(String::as_str)
    }

    /// All that failed.
    pub(in crate::lab) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// So large a part of the answers took no longer.
    pub(in crate::lab) fn percentile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(part))
    }

    /// Counts request `number` as answered.
    pub(super) fn answer(&mut self, number: u64, took: Duration, answer: &Answer) {
        self.answered += 1;
        self.latency
            .saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
        if answer.server.is_empty() {
            return;
        }
        count(&mut self.served, &answer.server, 1);
        if number < FIRST {
            self.first.insert(number, answer.server.clone());
        }
    }

    /// Counts what has come, whether it is fine or not.
    pub(super) fn note(&mut self, answer: &Answer) {
        *self.statuses.entry(answer.status).or_default() += 1;
        self.bytes += answer.bytes;
        self.seen.extend(answer.saw);
    }

    /// Counts failures.
    pub(super) fn fail(&mut self, reason: &str, times: u64) {
        count(&mut self.failed, reason, times);
    }

    /// What another thread's requests came to counts here.
    pub(super) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        for (reason, times) in &other.failed {
            count(&mut self.failed, reason, *times);
        }
        for (status, times) in other.statuses {
            *self.statuses.entry(status).or_default() += times;
        }
        for (server, times) in &other.served {
            count(&mut self.served, server, *times);
        }
        self.seen.extend(other.seen);
        self.first.extend(other.first);
        self.connections += other.connections;
        self.bytes += other.bytes;
        self.took = self.took.max(other.took);
        self.latency.add(&other.latency).expect("both have the same bounds");
        self.events.extend(other.events);
    }
}

/// Allocates only for what is new.
fn count(counts: &mut BTreeMap<String, u64>, key: &str, times: u64) {
    match counts.get_mut(key) {
        Some(count) => *count += times,
        None => {
            counts.insert(key.to_owned(), times);
        }
    }
}
