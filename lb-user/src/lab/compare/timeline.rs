//! What became of steady requests, by when they were due.

use std::time::{Duration, Instant};

use super::model::{Event, Slice};
use crate::lab::load::Made;

/// Length of a slice.
pub(super) const SLICE: Duration = Duration::from_millis(100);

/// What was done when.
pub(super) struct Marks {
    pub(super) began: Instant,
    marks: Vec<(Instant, String)>,
}

impl Marks {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            marks: Vec::new(),
        }
    }

    /// It happens now.
    pub(super) fn add(&mut self, what: impl Into<String>) {
        self.marks.push((Instant::now(), what.into()));
    }

    /// Fills an event with marks and requests. What was due before all began is left out.
    pub(super) fn fill(&self, event: &mut Event, made: &[Made]) {
        let since = |at: Instant| at.saturating_duration_since(self.began);
        event.marks = self
            .marks
            .iter()
            .map(|(at, what)| (since(*at).as_secs_f64(), what.clone()))
            .collect();
        event.slice = SLICE.as_secs_f64();
        let first = self.marks.first().map_or(self.began, |(at, _)| *at);
        let mut last_failure = None;
        for made in made.iter().filter(|made| made.due >= self.began) {
            let number = (since(made.due).as_nanos() / SLICE.as_nanos()) as usize;
            if event.slices.len() <= number {
                event.slices.resize_with(number + 1, Slice::default);
            }
            let slice = &mut event.slices[number];
            match &made.outcome {
                Ok(server) => {
                    event.answered += 1;
                    *slice.served.entry(server.clone()).or_default() += 1;
                }
                Err(reason) => {
                    event.failed += 1;
                    slice.failed += 1;
                    *event.reasons.entry(reason.clone()).or_default() += 1;
                    last_failure = last_failure.max(Some(made.due + made.took));
                }
            }
        }
        event.disturbed = last_failure.map_or(0.0, |last| last.saturating_duration_since(first).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_sliced_by_when_they_were_due() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let made = |ms, outcome: Result<&str, &str>| Made {
            due: at(ms),
            took: Duration::from_millis(30),
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
        };
        let marks = Marks {
            began: at(100),
            marks: vec![(at(150), "killed".to_owned())],
        };
        let mut event = Event::default();
        let all = [
            made(99, Ok("web1")),
            made(100, Ok("web1")),
            made(180, Err("refused")),
            made(199, Ok("web2")),
            made(330, Ok("web1")),
            made(400, Err("refused")),
        ];
        marks.fill(&mut event, &all);
        assert_eq!((event.answered, event.failed), (3, 2));
        assert_eq!(event.slices.len(), 4);
        let first = &event.slices[0];
        assert_eq!((first.served["web1"], first.served["web2"], first.failed), (1, 1, 1));
        assert!(event.slices[1].served.is_empty());
        assert_eq!(event.slices[3].failed, 1);
        assert_eq!(event.marks, [(0.05, "killed".to_owned())]);
        assert_eq!(event.reasons["refused"], 2);
        assert!((event.disturbed - 0.28).abs() < 1e-9, "{}", event.disturbed);
    }
}
