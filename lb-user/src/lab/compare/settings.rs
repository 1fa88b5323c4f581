//! What a comparison is asked to do, and how long that takes.

use std::time::Duration;

use anyhow::ensure;

use super::subject::{SUBJECTS, Subject};
use crate::lab::args;

/// What is the same for all subjects.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) quick: bool,
    pub(super) rounds: usize,
    /// Of a sample.
    pub(super) sample: Duration,
    pub(super) connections: usize,
    /// Requests/s; `None`: a part of what the slowest subject answers.
    pub(super) rate: Option<f64>,
    pub(super) seed: u64,
    /// What is to be measured, in the order in which it is shown.
    pub(super) subjects: Vec<&'static Subject>,
}

/// Shortest sample: within 100 ms, the machine's clock ticks ten times.
const SHORTEST: Duration = Duration::from_millis(100);

impl Settings {
    /// # Errors
    /// A name that no subject has, or a sample that is too short.
    pub(super) fn new(args: &args::Compare) -> anyhow::Result<Self> {
        let sample = args
            .duration
            .unwrap_or(Duration::from_millis(if args.quick { 200 } else { 1000 }));
        ensure!(
            sample >= SHORTEST,
            "samples take {SHORTEST:?} or longer: --duration 100ms"
        );
        let names: Vec<&str> = SUBJECTS.iter().map(|subject| subject.name).collect();
        for name in &args.subject {
            ensure!(
                names.contains(&name.as_str()),
                "nothing here is called {name:?}; there are: {}",
                names.join(", ")
            );
        }
        let wanted =
            |subject: &&Subject| args.subject.is_empty() || args.subject.iter().any(|name| *name == subject.name);
        Ok(Self {
            quick: args.quick,
            rounds: args.rounds.map_or(5, usize::from),
            sample,
            connections: args.clients.get(),
            rate: args.rate.map(|rate| f64::from(rate.get())),
            seed: args.seed,
            subjects: SUBJECTS.iter().filter(wanted).collect(),
        })
    }

    /// Before each sample, to fill caches and open connections.
    pub(super) fn warm_up(&self) -> Duration {
        self.sample.mul_f64(0.25).min(Duration::from_millis(250))
    }

    /// Of steady requests before something happens.
    pub(super) fn before(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 500 })
    }

    /// Of steady requests afterwards; a server's death is noticed by probes, which takes longer.
    pub(super) fn after(&self, killed: bool) -> Duration {
        Duration::from_millis(match (self.quick, killed) {
            (true, true) => 2000,
            (true, false) => 700,
            (false, true) => 4000,
            (false, false) => 2000,
        })
    }

    /// A slow client takes so long for its request.
    pub(super) fn slow(&self) -> Duration {
        Duration::from_millis(if self.quick { 600 } else { 2000 })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn args() -> args::Compare {
        args::Compare {
            quick: true,
            html: None,
            json: None,
            duration: None,
            rounds: None,
            clients: NonZeroUsize::MIN,
            rate: None,
            subject: Vec::new(),
            seed: 1,
        }
    }

    #[test]
    fn subjects_are_chosen_by_name() {
        assert_eq!(Settings::new(&args()).unwrap().subjects.len(), SUBJECTS.len());
        let mut some = args();
        some.subject = vec!["nat".to_owned(), "direct".to_owned()];
        let chosen = Settings::new(&some).unwrap().subjects;
        let names: Vec<&str> = chosen.iter().map(|subject| subject.name).collect();
        assert_eq!(names, ["direct", "nat"], "in the order in which they are shown");
        some.subject.push("katran".to_owned());
        let error = Settings::new(&some).unwrap_err().to_string();
        assert!(error.contains("katran") && error.contains("haproxy-http"), "{error}");
    }
}
