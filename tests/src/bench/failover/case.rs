//! What is measured.

use std::time::Duration;

/// One of them.
#[derive(Debug)]
pub(super) struct Case {
    /// As in rows.
    pub(super) name: &'static str,
    pub(super) death: Death,
    /// Between two advertisements.
    pub(super) interval: Duration,
}

/// What becomes of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Its daemon is killed, and its wire pulled.
    Machine,
    /// Its daemon is killed. Its kernel goes on.
    Daemon,
}

/// Priorities of a pair: both of them become master in turn.
pub(super) const PRIORITIES: [u8; 2] = [110, 100];

impl Case {
    /// `Active_Down_Interval` (RFC 9568 §6.1) of the less preferred one: nobody takes over later.
    pub(super) fn bound(&self) -> Duration {
        let worse = 256 - u32::from(PRIORITIES[1]);
        3 * self.interval + self.interval * worse / 256
    }
}

const fn case(name: &'static str, death: Death, interval: u64) -> Case {
    Case {
        name,
        death,
        interval: Duration::from_millis(interval),
    }
}

pub(super) const ALL: [Case; 6] = [
    case("machine dies, 10 ms", Death::Machine, 10),
    case("machine dies, 100 ms", Death::Machine, 100),
    case("machine dies, 1 s", Death::Machine, 1_000),
    case("daemon dies, 10 ms", Death::Daemon, 10),
    case("daemon dies, 100 ms", Death::Daemon, 100),
    case("daemon dies, 1 s", Death::Daemon, 1_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_three_intervals_and_the_skew() {
        let bounds = ALL.map(|case| case.bound().as_micros());
        assert_eq!(bounds[..3], [36_093, 360_937, 3_609_375]);
    }
}
