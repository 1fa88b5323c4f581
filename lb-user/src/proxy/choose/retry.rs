//! How many requests may be tried again: as many as budgets of Finagle and linkerd allow.
//!
//! Retries help while few requests fail, and when a whole pool is slow or broken they are what keeps it so. Of the last ten
//! seconds, a percentage of requests may have been retries, and ten a second on top, so that a service with little
//! traffic has some at all.
//!
//! The tally has a cell for each second. A thread that comes to a cell of long ago empties it, and another that counts in
//! it at this very moment may lose its count: a budget is an estimate, and locks would cost more than it is worth.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Seconds that are looked back on.
const WINDOW: u64 = 10;
/// Retries that are allowed in every one of them, whatever the traffic.
const FLOOR: u64 = 10;

/// Of one service, for all threads.
#[derive(Debug, Default)]
pub(super) struct Budget {
    cells: [Cell; WINDOW as usize],
}

/// One second.
#[derive(Debug, Default)]
struct Cell {
    /// Which, plus one.
    second: AtomicU64,
    requests: AtomicU32,
    retries: AtomicU32,
}

impl Budget {
    /// A request has come: the first attempt.
    pub(super) fn request(&self, micros: u64) {
        self.cell(micros).requests.fetch_add(1, Relaxed);
    }

    /// May another one be tried again? It counts if so.
    pub(super) fn retry(&self, percent: u8, micros: u64) -> bool {
        let now = self.cell(micros);
        now.retries.fetch_add(1, Relaxed);
        let second = second(micros);
        let (mut requests, mut retries) = (0, 0);
        for cell in &self.cells {
            let age = second.saturating_sub(cell.second.load(Relaxed));
            if age < WINDOW {
                requests += u64::from(cell.requests.load(Relaxed));
                retries += u64::from(cell.retries.load(Relaxed));
            }
        }
        let allowed = retries <= FLOOR * WINDOW + requests * u64::from(percent) / 100;
        if !allowed {
            now.retries.fetch_sub(1, Relaxed);
        }
        allowed
    }

    fn cell(&self, micros: u64) -> &Cell {
        let second = second(micros);
        let cell = &self.cells[(second % WINDOW) as usize];
        let was = cell.second.load(Relaxed);
        if was < second && cell.second.compare_exchange(was, second, Relaxed, Relaxed).is_ok() {
            cell.requests.store(0, Relaxed);
            cell.retries.store(0, Relaxed);
        }
        cell
    }
}

/// Counted from one: zero is that of a cell that has not been used.
fn second(micros: u64) -> u64 {
    micros / 1_000_000 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn granted(budget: &Budget, percent: u8, at: u64) -> usize {
        std::iter::repeat_with(|| budget.retry(percent, at))
            .take_while(|&granted| granted)
            .count()
    }

    #[test]
    fn a_few_always_may() {
        let budget = Budget::default();
        assert_eq!(granted(&budget, 0, 0), 100);
        assert_eq!(granted(&budget, 0, 9 * SECOND), 0);
        assert_eq!(granted(&budget, 0, 10 * SECOND), 100, "the first second is forgotten");
    }

    #[test]
    fn the_percentage_is_of_the_last_ten_seconds() {
        let budget = Budget::default();
        for second in 0..10 {
            for _ in 0..100 {
                budget.request(second * SECOND);
            }
        }
        assert_eq!(granted(&budget, 20, 9 * SECOND), 100 + 200);
        assert_eq!(
            granted(&budget, 20, 18 * SECOND),
            0,
            "they are spent until they are ten seconds old"
        );
        assert_eq!(granted(&budget, 20, 40 * SECOND), 100, "and so are the requests");
    }

    #[test]
    fn a_refusal_spends_nothing() {
        let budget = Budget::default();
        assert_eq!(granted(&budget, 50, 0), 100);
        for _ in 0..1000 {
            assert!(!budget.retry(50, SECOND));
        }
        for _ in 0..20 {
            budget.request(SECOND);
        }
        assert_eq!(granted(&budget, 50, SECOND), 10);
    }
}
