//! Rates of the last hour, per service and per drop reason. Pure: time is an argument.
//!
//! What was counted becomes rates by what had been counted before. One that has become smaller has begun anew, and then
//! nothing is known of the time between. What has gone from the file is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::model::tally::{ServiceTally, Tally};

/// Time between two points.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// Points that are kept: an hour. 4 bytes each, for three series of a service.
const POINTS: usize = 360;

/// What is known of the last hour.
#[derive(Debug, Default)]
pub(super) struct History {
    before: Option<Before>,
    /// When the last point was taken, in seconds since 1970.
    end: u64,
    /// Points that there have been, up to [`POINTS`]: a series with fewer began later.
    points: usize,
    services: BTreeMap<Arc<str>, BTreeMap<&'static str, Series>>,
    drops: BTreeMap<&'static str, Series>,
}

/// The counters of the last point.
#[derive(Debug)]
struct Before {
    at: Instant,
    services: BTreeMap<Arc<str>, Vec<(&'static str, u64)>>,
    drops: Vec<(&'static str, u64)>,
}

/// Rates per second; the last is the newest. Not a number where nothing is known.
type Series = VecDeque<f32>;

/// As `history` of `GET /api/v1/events`.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    step_seconds: u64,
    end: u64,
    services: BTreeMap<&'a str, BTreeMap<&'static str, Vec<Option<f64>>>>,
    drops: BTreeMap<&'static str, Vec<Option<f64>>>,
}

impl History {
    /// Takes the point of `now`. Times that were missed, since the machine slept, are points of which nothing is known.
    pub(super) fn take(&mut self, tally: &Tally, now: SystemTime, at: Instant) {
        let counted = Before {
            at,
            services: tally
                .services
                .iter()
                .map(|(name, of)| (Arc::clone(name), counters(*of)))
                .collect(),
            drops: tally
                .drops
                .iter()
                .map(|(reason, packets)| (reason.label(), *packets))
                .collect(),
        };
        self.end = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Some(before) = self.before.replace(counted) else {
            return;
        };
        let Some(counted) = &self.before else { return };
        let passed = at.saturating_duration_since(before.at).as_secs_f64();
        let missed = ((passed / STEP.as_secs_f64()).round() as usize).clamp(1, POINTS) - 1;
        self.points = (self.points + missed + 1).min(POINTS);
        self.services.retain(|name, _| counted.services.contains_key(name));
        for (name, counters) in &counted.services {
            let known = self.services.entry(Arc::clone(name)).or_default();
            known.retain(|kind, _| counters.iter().any(|(other, _)| other == kind));
            let of_before = before.services.get(name).map_or(&[][..], Vec::as_slice);
            for &(kind, count) in counters {
                push(
                    known.entry(kind).or_default(),
                    missed,
                    rate(of_before, kind, count, passed),
                );
            }
        }
        for &(reason, count) in &counted.drops {
            let rate = rate(&before.drops, reason, count, passed);
            match self.drops.get_mut(reason) {
                Some(series) => push(series, missed, rate),
                None if rate > 0.0 => push(self.drops.entry(reason).or_default(), 0, rate),
                None => {}
            }
        }
        self.drops.retain(|_, series| series.iter().any(|rate| *rate > 0.0));
    }

    /// All of it, every series with as many points.
    pub(super) fn shown(&self) -> Shown<'_> {
        let fill = |series: &Series, unknown| {
            let missing = std::iter::repeat_n(unknown, self.points.saturating_sub(series.len()));
            missing
                .chain(series.iter().map(|rate| rate.is_finite().then(|| hundredths(*rate))))
                .collect()
        };
        let services = self.services.iter().map(|(name, kinds)| {
            let kinds = kinds.iter().map(|(kind, series)| (*kind, fill(series, None)));
            (name.as_ref(), kinds.collect())
        });
        Shown {
            step_seconds: STEP.as_secs(),
            end: self.end,
            services: services.collect(),
            // A reason that is new had no drops before.
            drops: self
                .drops
                .iter()
                .map(|(reason, series)| (*reason, fill(series, Some(0.0))))
                .collect(),
        }
    }
}

fn push(series: &mut Series, missed: usize, rate: f32) {
    series.extend(std::iter::repeat_n(f32::NAN, missed));
    series.push_back(rate);
    series.drain(..series.len().saturating_sub(POINTS));
}

/// Per second, since it was counted before.
fn rate(before: &[(&'static str, u64)], kind: &str, count: u64, passed: f64) -> f32 {
    let before = before.iter().find(|(other, _)| *other == kind);
    let grown = before.and_then(|(_, before)| count.checked_sub(*before));
    match grown {
        Some(grown) if passed > 0.0 => (grown as f64 / passed) as f32,
        _ => f32::NAN,
    }
}

/// As it is shown.
fn hundredths(rate: f32) -> f64 {
    (f64::from(rate) * 100.0).round() / 100.0
}

/// What is followed of a service.
fn counters(of: ServiceTally) -> Vec<(&'static str, u64)> {
    match of {
        ServiceTally::Balanced(counted) => vec![
            ("packets", counted.packets),
            ("bytes", counted.bytes),
            ("new_flows", counted.new_flows),
        ],
        ServiceTally::Proxied { requests, bytes } => vec![("requests", requests), ("bytes", bytes)],
    }
}
