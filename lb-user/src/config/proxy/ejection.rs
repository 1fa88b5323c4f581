//! `retry`, `eject` and `queue`: what is done when a backend does not do.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::fault::Checked;
use super::super::raw::Value;
use super::{contradiction, count, schema};
use crate::model::proxy::{Eject, Queue, Retry};

/// Most attempts after the first.
const MAX_ATTEMPTS: u32 = 10;

/// Most failures in a row that can be asked for.
const MAX_ERRORS: u32 = 1_000;

/// Limits of `slower`, in times: an answer that takes as long as the others' is nothing to eject for.
const SLOWER: RangeInclusive<f64> = 1.1..=1_000.0;

/// Limits of `base` and `max`.
const EJECTED: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3_600);

/// Most requests that wait, and for how long.
const MAX_QUEUE: u32 = 1_000_000;
const QUEUED: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3_600);

/// `false` is no attempt.
pub(super) fn retry(value: &Value<'_>) -> Checked<Retry> {
    let default = Retry::default();
    if let Some(truth) = value.truth() {
        let attempts = if truth { default.attempts } else { 0 };
        return Ok(Retry { attempts, ..default });
    }
    let table = value
        .table(&schema::RETRY)
        .map_err(|fault| or(fault, value, "retry = false, or retry = { attempts = 2, budget = 20 }"))?;
    Ok(Retry {
        attempts: match table.get("attempts") {
            Some(value) => value.whole(0..=MAX_ATTEMPTS)? as u8,
            None => default.attempts,
        },
        budget_percent: match table.get("budget") {
            Some(value) => value.whole(0..=100)? as u8,
            None => default.budget_percent,
        },
    })
}

/// `false` is `None`.
pub(super) fn eject(value: &Value<'_>) -> Checked<Option<Eject>> {
    let default = Eject::default();
    if let Some(truth) = value.truth() {
        return Ok(truth.then_some(default));
    }
    let table = value
        .table(&schema::EJECT)
        .map_err(|fault| or(fault, value, "eject = false, or eject = { errors = 5, base = \"10s\" }"))?;
    let (base, max) = (table.get("base"), table.get("max"));
    let duration = |value: &Option<Value<'_>>| value.as_ref().map(|value| value.duration(EJECTED)).transpose();
    let (first, most) = (duration(&base)?, duration(&max)?);
    let eject = Eject {
        errors: match table.get("errors") {
            Some(value) => count(&value, MAX_ERRORS)?,
            None => default.errors,
        },
        slower: match table.get("slower") {
            Some(value) => hundredths(&value)?,
            None => default.slower,
        },
        base: first.unwrap_or_else(|| default.base.min(most.unwrap_or(default.base))),
        max: most.unwrap_or_else(|| default.max.max(first.unwrap_or(default.max))),
    };
    if let (true, Some(base), Some(max)) = (eject.base > eject.max, &base, &max) {
        let message = "`max` is shorter than `base`";
        return Err(contradiction(max, message, base, "the first time").hint("`base` is how long it is the first time"));
    }
    Ok(Some(eject))
}

fn hundredths(value: &Value<'_>) -> Checked<Option<NonZeroU32>> {
    let times = value
        .number(SLOWER)
        .map_err(|fault| fault.hint("times the pool's median, as in slower = 3.0; without it nobody is too slow"))?;
    Ok(NonZeroU32::new((times * 100.0).round() as u32))
}

pub(super) fn queue(value: &Value<'_>) -> Checked<Queue> {
    let table = value.table(&schema::QUEUE)?;
    let default = Queue::default();
    Ok(Queue {
        length: match table.get("length") {
            Some(value) => value.whole(0..=MAX_QUEUE)?,
            None => default.length,
        },
        timeout: match table.get("timeout") {
            Some(value) => value.duration(QUEUED)?,
            None => default.timeout,
        },
    })
}

/// Another hint for what is no table at all.
fn or(fault: Box<super::super::fault::Fault>, value: &Value<'_>, forms: &str) -> Box<super::super::fault::Fault> {
    if value.is_table() {
        fault
    } else {
        fault.hint(format!("write {forms}"))
    }
}
