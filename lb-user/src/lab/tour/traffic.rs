//! Requests in the background of a step, and what became of them.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::time::sleep;

use super::{Tour, requests};
use crate::lab::file::action::{Timeline, Traffic};
use crate::lab::load::{End, Made, Pace, Plan, Running};
use crate::lab::report;

/// 5 ms from one request to the next, when the lab says nothing else.
const EVERY: Duration = Duration::from_millis(5);

/// 10 s for a request, when the lab says nothing else. Who is refused or cut off has failed at once; TCP sends what is lost
/// again after 1 s, then after 2 s and 4 s more; and a busy machine holds everybody up for seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// 2 s without a failure: the failures are over.
const QUIET: Duration = Duration::from_secs(2);

/// 30 s for failures to be over, and for all servers to have answered.
const LONGEST: Duration = Duration::from_secs(30);

/// 200 ms for a line, when the lab says nothing else.
const SLICE: Duration = Duration::from_millis(200);

/// An hour: the step ends it.
const EVER: Duration = Duration::from_secs(3600);

/// Connections at a time, at most: further requests wait for one.
const CONNECTIONS: usize = 256;

/// Requests under way.
pub(super) struct Stream {
    running: Running,
    begun: Instant,
}

impl Tour<'_> {
    pub(super) async fn traffic(&mut self, traffic: &Traffic) -> anyhow::Result<()> {
        let url = traffic.to.get_ref();
        let every = traffic.every.map_or(EVERY, |every| every.0);
        let patience = traffic.timeout.map_or(PATIENCE, |timeout| timeout.0);
        let plan = Plan {
            connections: CONNECTIONS,
            pace: Pace::Open {
                rate: 1.0 / every.as_secs_f64(),
            },
            end: End::After(EVER),
            timeout: patience,
            record: true,
            ..requests::plan(self.target(url)?)
        };
        let host = self.host(traffic.from.get_ref())?;
        let begun = Instant::now();
        let running = Running::start(&host.namespace, &plan)?;
        self.marks.clear();
        let stream = Stream { running, begun };
        self.say(&format!(
            "   From here on {} asks for {url} every {} ms.",
            &**traffic.from.get_ref(),
            every.as_millis()
        ));
        for server in &traffic.until_served_by {
            while !stream
                .events(begun)
                .iter()
                .any(|event| event.outcome.as_ref() == Ok(server))
            {
                if begun.elapsed() > LONGEST {
                    bail!("{server} has answered no request to {url} within {LONGEST:?}");
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
        self.stream = Some(stream);
        Ok(())
    }

    pub(super) async fn timeline(&mut self, timeline: &Timeline) -> anyhow::Result<()> {
        let stream = self.stream.take().context("a time line of no traffic")?;
        let first = self.marks.first().map_or(stream.begun, |(at, _)| *at);
        let last_mark = self.marks.last().map_or(first, |(at, _)| *at);
        let last = loop {
            let events = stream.events(stream.begun);
            let failed = events
                .iter()
                .filter(|event| event.due >= first && event.outcome.is_err())
                .map(|event| event.due)
                .max();
            // What is on its way may fail yet: all that is due by then has to have come to something.
            let quiet = failed.unwrap_or(last_mark).max(last_mark) + QUIET;
            let ended = events.iter().filter(|event| event.due <= quiet).count() as u64;
            if stream.running.due(quiet).is_some_and(|due| ended >= due) {
                break failed;
            }
            if Instant::now() > last_mark + LONGEST {
                bail!(
                    "requests still fail {LONGEST:?} after {}",
                    self.marks.last().map_or("the begin", |(_, what)| what)
                );
            }
            sleep(Duration::from_millis(20)).await;
        };
        let outcome = tokio::task::spawn_blocking(move || stream.running.stop()).await??;
        let slice = timeline.slice.map_or(SLICE, |slice| slice.0);
        let marks = std::mem::take(&mut self.marks);
        // Those of before, too: while nothing is done, nothing may fail.
        let all = &outcome.events;
        let shown: Vec<Made> = all.iter().filter(|event| event.due >= first).cloned().collect();
        self.say(&report::timeline(&shown, first, slice, &marks));
        let failed: Vec<&Made> = all.iter().filter(|event| event.outcome.is_err()).collect();
        let disturbed = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(first));
        match failed.first().and_then(|event| event.outcome.as_ref().err()) {
            None => self.say(&format!("   None of {} requests failed.", all.len())),
            Some(reason) => self.say(&format!(
                "   {} of {} requests failed, the last one {:.2} s after {}: {reason}.",
                failed.len(),
                all.len(),
                disturbed.as_secs_f64(),
                marks.first().map_or("the begin", |(_, what)| what)
            )),
        }
        self.expect(outcome.answered > 0, || "no request was answered at all".to_owned());
        if let Some(most) = timeline.may_fail {
            self.expect(failed.len() as u64 <= most, || {
                format!("{} requests failed, at most {most} may", failed.len())
            });
        }
        if let Some(within) = timeline.within {
            self.expect(disturbed <= within.0, || {
                format!(
                    "requests failed for {:.2} s, at most {:.2} s were expected",
                    disturbed.as_secs_f64(),
                    within.0.as_secs_f64()
                )
            });
        }
        Ok(())
    }
}

impl Stream {
    fn events(&self, since: Instant) -> Vec<Made> {
        self.running.events_since(since)
    }
}
