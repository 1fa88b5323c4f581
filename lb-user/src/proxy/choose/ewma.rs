//! How long a backend's answers have taken of late.
//!
//! [`Peak`] is that of Finagle and linkerd ("Beyond Round Robin: Load Balancing for Latency", 2016): an exponentially
//! weighted moving average which a slow answer lifts at once, and which falls slowly, as time goes on without one like it.
//! A backend's cost is that times its requests under way, and one more for the one that is to come. [`Mean`] is the plain
//! average, for who asks whether a backend is slower than others.
//!
//! Both are what one thread has seen: a thread that serves half of the requests learns half as quickly.

/// Microseconds in which what was learnt loses 1 - 1/e of its weight.
const DECAY: f64 = 10e6;
/// What one who has never answered costs while somebody waits for it: more than anybody who has.
const UNKNOWN: f64 = 1e12;

/// Sensitive to peaks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Peak {
    /// Microseconds; 0: nothing is known.
    cost: f64,
    at: u64,
}

impl Peak {
    /// An answer has taken so long.
    pub(super) fn observe(&mut self, took: u64, now: u64) {
        // 0 is for who has not answered.
        let took = took.max(1) as f64;
        self.cost = if took > self.cost {
            took
        } else {
            let keep = kept(self.at, now);
            self.cost * keep + took * (1.0 - keep)
        };
        self.at = now;
    }

    /// What one more would cost, with `active` under way. Who is not asked is forgiven, as time goes on.
    pub(super) fn load(&self, active: u32, now: u64) -> f64 {
        let cost = self.cost * kept(self.at, now);
        match (self.cost > 0.0, active) {
            (false, 0) => 0.0,
            (false, _) => UNKNOWN * f64::from(active),
            (true, _) => cost * (f64::from(active) + 1.0),
        }
    }
}

/// Plain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mean {
    sum: f64,
    weight: f64,
    at: u64,
}

impl Mean {
    /// An answer has taken so long.
    pub(super) fn observe(&mut self, took: u64, now: u64) {
        let keep = kept(self.at, now);
        self.sum = self.sum * keep + took as f64;
        self.weight = self.weight * keep + 1.0;
        self.at = now;
    }

    /// Microseconds; `None` when less than `least` answers have been seen of late.
    pub(super) fn get(&self, least: f64, now: u64) -> Option<f64> {
        (self.weight * kept(self.at, now) >= least).then(|| self.sum / self.weight)
    }
}

fn kept(at: u64, now: u64) -> f64 {
    (-(now.saturating_sub(at) as f64) / DECAY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_peak_counts_at_once_and_is_forgiven_slowly() {
        let mut peak = Peak::default();
        peak.observe(1_000, 0);
        peak.observe(50_000, SECOND);
        assert_eq!(peak.load(0, SECOND), 50_000.0);
        assert_eq!(peak.load(3, SECOND), 200_000.0);
        peak.observe(1_000, 2 * SECOND);
        let after_one = peak.load(0, 2 * SECOND);
        assert!((40_000.0..50_000.0).contains(&after_one), "{after_one}");
        let later = peak.load(0, 12 * SECOND);
        assert!((later / after_one - (-1.0f64).exp()).abs() < 1e-9);
    }

    #[test]
    fn who_has_not_answered_is_asked_once() {
        let peak = Peak::default();
        assert_eq!(peak.load(0, 0), 0.0);
        assert!(peak.load(1, 0) > 60e6);
        assert!(peak.load(2, 0) > peak.load(1, 0));
    }

    #[test]
    fn a_mean_is_of_late() {
        let mut mean = Mean::default();
        assert_eq!(mean.get(1.0, 0), None);
        mean.observe(100, 0);
        mean.observe(300, 0);
        assert_eq!(mean.get(2.0, 0), Some(200.0));
        assert_eq!(mean.get(2.0, SECOND), None, "they weigh less than two now");
        mean.observe(1_000, 200 * SECOND);
        let now = mean.get(1.0, 200 * SECOND).unwrap();
        assert!((now - 1_000.0).abs() < 0.001, "{now}");
    }
}
