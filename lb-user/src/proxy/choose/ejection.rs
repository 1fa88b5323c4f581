//! Passive health: backends are set aside for what they do to requests, though their probes pass.
//!
//! - One that fails so many times in a row, on whatever threads: no connection, no answer or half of one, 502, 503, 504.
//! - One whose answers take so many times as long as the median of those that serve, on a thread that has had [`LEAST`]
//!   answers of late from each that is compared. Looked at once a second.
//!
//! It is set aside for `base`, and as often as it happens again, for so many times as long, up to `max`; who has kept
//! quiet for `max` after it was let in begins anew, as does who was down meanwhile. Of those that serve, no more than half
//! are set aside at a time, so one alone never is. A backend that fails while it may not be set aside is, once it may, with
//! its next failure.

use std::sync::atomic::Ordering::Relaxed;

use super::member::Known;
use super::shared::Common;
use super::{Member, Shared, micros};
use crate::model::proxy::Eject;

/// Answers of late that make an average.
const LEAST: f64 = 10.0;
/// Microseconds between two looks at latencies.
pub(super) const LOOK: u64 = 1_000_000;

/// Those who may be set aside, and what decides.
#[derive(Clone, Copy)]
pub(super) struct Jury<'a> {
    pub(super) shared: &'a Shared,
    pub(super) members: &'a [Member],
    /// Who would serve if nobody were set aside.
    pub(super) serving: &'a [usize],
    pub(super) rules: Eject,
}

impl Jury<'_> {
    /// A request of this one has failed, or has not.
    pub(super) fn observe(self, known: &Known, failed: bool, now: u64) {
        let common = &known.common;
        if !failed {
            if common.failing.load(Relaxed) != 0 {
                common.failing.store(0, Relaxed);
            }
        } else if !common.is_ejected(now) {
            // What was begun before it was set aside says nothing new.
            let failing = common.failing.fetch_add(1, Relaxed).saturating_add(1);
            if failing >= self.rules.errors.get() {
                self.eject(known, now);
            }
        }
    }

    /// Sets aside who is too slow.
    pub(super) fn compare(self, now: u64) {
        let Some(slower) = self.rules.slower else { return };
        let mean = |&i: &usize| Some((i, self.members[i].known.mean.get().get(LEAST, now)?));
        let means: Vec<(usize, f64)> = self.serving.iter().filter_map(mean).collect();
        let mut sorted: Vec<f64> = means.iter().map(|&(_, mean)| mean).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        // Of an even number the lower one: of two, the slow one is to be compared with the other.
        let Some(median) = sorted.len().checked_sub(1).map(|last| sorted[last / 2]) else {
            return;
        };
        for (i, mean) in means {
            let known = &self.members[i].known;
            if mean * 100.0 > median * f64::from(slower.get()) && self.eject(known, now) {
                known.mean.take();
            }
        }
    }

    /// Sets it aside, unless it is, or half of them are.
    fn eject(self, known: &Known, now: u64) -> bool {
        let _alone = self.shared.ejecting();
        let ejected = |i: &&usize| self.members[**i].known.common.is_ejected(now);
        let is_known = |&i: &usize| std::ptr::eq(&*self.members[i].known, known);
        let room = self.serving.len() / 2;
        let common = &known.common;
        if common.is_ejected(now)
            || !self.serving.iter().any(is_known)
            || self.serving.iter().filter(ejected).count() >= room
        {
            return false;
        }
        let before = common.ejected_until.load(Relaxed);
        let quiet = now.saturating_sub(before) >= micros(self.rules.max);
        let times = if quiet { 0 } else { common.ejected_times.load(Relaxed) }.saturating_add(1);
        let how_long = self.rules.base.saturating_mul(times).min(self.rules.max);
        let until = now.saturating_add(micros(how_long));
        common.failing.store(0, Relaxed);
        common.ejected_times.store(times, Relaxed);
        common.ejected_until.store(until, Relaxed);
        self.shared.ejected_until.fetch_max(until, Relaxed);
        known.traffic.ejections.fetch_add(1, Relaxed);
        known.traffic.ejected.store(1, Relaxed);
        true
    }
}

/// What it did to requests is explained by what its probes found: when it is up again, it begins anew.
pub(super) fn forget(common: &Common) {
    common.failing.store(0, Relaxed);
    common.ejected_times.store(0, Relaxed);
    common.ejected_until.store(0, Relaxed);
}

/// Says in the counters who is let in again.
pub(super) fn let_in(shared: &Shared, members: &[Member], now: u64) {
    let mut back = members.iter().map(|member| &member.known);
    let is_back = |known: &Known| known.traffic.ejected.load(Relaxed) != 0 && !known.common.is_ejected(now);
    if back.any(|known| is_back(known)) {
        let _alone = shared.ejecting();
        for member in members.iter().filter(|member| is_back(&member.known)) {
            member.known.traffic.ejected.store(0, Relaxed);
        }
    }
}
