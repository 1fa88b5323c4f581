//! The order of a comparison: first each subject is tried, and shows what it does; then come the rounds, in each of which
//! every subject is started anew, in another order.
//!
//! What is found is written into the comparison at once, so that it is there when the run is interrupted. A subject that
//! fails is left out from then on, with the reason.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use super::bed::Bed;
use super::model::{self, Comparison, EventOf, Missing, SpreadOf};
use super::progress::Progress;
use super::sample::{self, carry_out};
use super::schedule::shuffle;
use super::settings::Settings;
use super::subject::{EVEN, Setup, Subject, UNEVEN};
use super::{events, seen, slow, spread};
use crate::lab::load::{End, Outcome, Plan};

/// 10 s for both servers to answer clients.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starting and stopping a subject, in seconds, as a guess.
const CHANGE: f64 = 0.5;

/// What the slowest answers is three times the rate of latencies: nobody is to be at its limit.
const PART: f64 = 1.0 / 3.0;

/// A comparison under way.
pub(super) struct Run<'r> {
    bed: &'r Bed,
    settings: &'r Settings,
    progress: Progress,
    found: &'r mut Comparison,
    /// What requests took in all rounds, by subject.
    took: BTreeMap<&'static str, Histogram<u64>>,
}

impl<'r> Run<'r> {
    pub(super) fn new(bed: &'r Bed, settings: &'r Settings, found: &'r mut Comparison) -> Self {
        Self {
            bed,
            settings,
            progress: Progress::new(settings.guess()),
            found,
            took: BTreeMap::new(),
        }
    }

    pub(super) async fn all(&mut self) -> anyhow::Result<()> {
        let mut rates: BTreeMap<&str, f64> = BTreeMap::new();
        let mut left = Vec::new();
        for &subject in &self.settings.subjects {
            self.progress.show("behaviour", subject.name);
            self.enter(subject);
            let tried = match subject.missing() {
                Some(why) => Err(anyhow::Error::msg(why)),
                None => self.try_out(subject).await,
            };
            match tried {
                Ok(rate) => {
                    rates.insert(subject.name, rate);
                    left.push(subject);
                    self.progress.add(self.settings.behaviour());
                }
                Err(error) => {
                    self.leave_out(subject, None, &error);
                    let rounds = self.settings.rounds as f64;
                    self.progress
                        .add(self.settings.behaviour() + rounds * self.settings.round());
                }
            }
        }
        let slowest = rates.values().copied().fold(f64::INFINITY, f64::min);
        if left.is_empty() {
            bail!("nothing could be measured");
        }
        let rate = self.settings.rate.unwrap_or_else(|| round(slowest * PART));
        self.found.settings.rate = rate;
        for round in 1..=self.settings.rounds {
            let mut order = left.clone();
            shuffle(&mut order, self.settings.seed, round);
            for subject in order {
                self.progress
                    .show(&format!("round {round} of {}", self.settings.rounds), subject.name);
                if let Err(error) = self.measure(subject, rate).await {
                    self.leave_out(subject, Some(round), &error);
                    left.retain(|other| other.name != subject.name);
                }
                self.progress.add(self.settings.round());
            }
        }
        self.progress.clear();
        Ok(())
    }

    /// Gives a subject its place in what is found.
    fn enter(&mut self, subject: &Subject) {
        self.found.subjects.push(model::Subject {
            name: subject.name.to_owned(),
            what: subject.what.to_owned(),
            layer: subject.layer,
            own: subject.own(),
            ..model::Subject::default()
        });
    }

    fn found(&mut self, subject: &Subject) -> anyhow::Result<&mut model::Subject> {
        let mut subjects = self.found.subjects.iter_mut();
        subjects
            .find(|found| found.name == subject.name)
            .context("a subject that was not entered")
    }

    /// A subject that failed at first has nothing to show.
    fn leave_out(&mut self, subject: &Subject, round: Option<usize>, error: &anyhow::Error) {
        if round.is_none() {
            self.found.subjects.retain(|found| found.name != subject.name);
        }
        let why = match round {
            None => format!("{error:#}"),
            Some(round) => format!("in round {round}: {error:#}"),
        };
        self.progress.say(&format!("{} is left out: {why}", subject.name));
        self.found.missing.push(Missing {
            name: subject.name.to_owned(),
            why,
        });
    }

    /// What a subject does; about how many requests/s it answers.
    async fn try_out(&mut self, subject: &Subject) -> anyhow::Result<f64> {
        let tried = self.behave(subject).await;
        self.ended(subject, tried).await
    }

    async fn measure(&mut self, subject: &Subject, rate: f64) -> anyhow::Result<()> {
        let measured = self.round(subject, rate).await;
        self.ended(subject, measured).await
    }

    /// Stops a subject; why it failed comes first, with the end of its log.
    async fn ended<T>(&self, subject: &Subject, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let log = self.bed.log();
        let stopped = subject.stop(self.bed).await;
        let done = done.map_err(|error| match log.is_empty() || !subject.balances() {
            true => error,
            false => anyhow::anyhow!("{error:#}; the log ends with:\n{log}"),
        })?;
        stopped.context("stopping it")?;
        Ok(done)
    }

    async fn start(&self, subject: &Subject, setup: Setup) -> anyhow::Result<()> {
        subject.start(self.bed, setup).await?;
        self.serves(subject).await
    }

    /// Waits until all servers that are to answer do.
    async fn serves(&self, subject: &Subject) -> anyhow::Result<()> {
        let servers = subject.expected(EVEN);
        let wanted = servers.iter().filter(|(_, part)| *part > 0.0).count();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let plan = Plan {
                reuse: false,
                end: End::Requests(8),
                ..sample::plan(subject)
            };
            let outcome = carry_out(self.bed, &plan).await?;
            if outcome.served.len() >= wanted && outcome.failures() == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "not all servers answer within {PATIENCE:?}: {} of 8 requests were answered, by {:?}; {}",
                    outcome.answered,
                    outcome.served.keys(),
                    sample::why(&outcome)
                );
            }
        }
    }

    async fn behave(&mut self, subject: &Subject) -> anyhow::Result<f64> {
        let (bed, settings) = (self.bed, self.settings);
        self.start(subject, EVEN).await?;
        let tried = sample::trial(bed, settings, subject).await?;
        let short = spread::short(bed, subject, SpreadOf::Short, EVEN).await?;
        let kept = spread::kept(bed, subject, EVEN).await?;
        let multiplexed = spread::multiplexed(bed, subject, EVEN).await?;
        let seen = seen::look(bed, subject).await?;
        let found = self.found(subject)?;
        found.spread = vec![short, kept, multiplexed];
        found.seen = Some(seen);
        if subject.balances() {
            self.reload(subject).await?;
        }
        self.happens(subject, slow::client(bed, subject, settings.slow()).await)?;
        if subject.balances() {
            if !settings.quick {
                self.happen(subject, EventOf::Restarted, EVEN).await?;
                self.serves(subject).await?;
            }
            self.happen(subject, EventOf::Drained, EVEN).await?;
            // The drained server is to serve again, whatever it takes.
            subject.stop(bed).await?;
            self.start(subject, EVEN).await?;
        }
        let killed = self.happen(subject, EventOf::Killed, EVEN).await;
        bed.start_server(subject.victim()).await?;
        killed?;
        Ok(tried)
    }

    /// Changes weights to 1 and 5, looks whether they hold, and changes them back.
    async fn reload(&mut self, subject: &Subject) -> anyhow::Result<()> {
        if self.settings.quick {
            subject.reload(self.bed, UNEVEN).await?;
        } else {
            self.happen(subject, EventOf::Reloaded, UNEVEN).await?;
        }
        let weighted = spread::short(self.bed, subject, SpreadOf::Weighted, UNEVEN).await?;
        self.found(subject)?.spread.push(weighted);
        subject.reload(self.bed, EVEN).await
    }

    async fn happen(&mut self, subject: &Subject, of: EventOf, setup: Setup) -> anyhow::Result<()> {
        let event = events::happen(self.bed, self.settings, subject, of, setup).await;
        self.happens(subject, event.with_context(|| format!("while it was {of:?}")))
    }

    fn happens(&mut self, subject: &Subject, event: anyhow::Result<model::Event>) -> anyhow::Result<()> {
        let event = event?;
        self.found(subject)?.events.push(event);
        Ok(())
    }

    async fn round(&mut self, subject: &Subject, rate: f64) -> anyhow::Result<()> {
        let (bed, settings) = (self.bed, self.settings);
        self.start(subject, EVEN).await?;
        sample::requests(bed, settings, subject, self.found(subject)?).await?;
        let connections = sample::connections(bed, settings, subject).await?;
        self.found(subject)?.connections.push(connections);
        let (took, failed) = sample::latency(bed, settings, subject, rate).await?;
        let earlier = self.took.remove(subject.name);
        let mut all = earlier.unwrap_or_else(|| Outcome::default().latency);
        let latency = self.found(subject)?.latency.get_or_insert_default();
        sample::add_latency(latency, &took, failed, &mut all)?;
        self.took.insert(subject.name, all);
        Ok(())
    }
}

impl Settings {
    /// How long all takes, in seconds, as far as one can know.
    pub(super) fn guess(&self) -> f64 {
        let subjects = self.subjects.len() as f64;
        subjects * (self.behaviour() + self.rounds as f64 * self.round())
    }

    fn round(&self) -> f64 {
        CHANGE + 3.0 * (self.sample + self.warm_up()).as_secs_f64()
    }

    fn behaviour(&self) -> f64 {
        let events = if self.quick { 1 } else { 3 };
        let event = |killed| (self.before() + self.after(killed)).as_secs_f64() + 0.2;
        2.0 * CHANGE
            + 1.0
            + self.sample.as_secs_f64()
            + f64::from(events) * event(false)
            + event(true)
            + self.slow().as_secs_f64()
    }
}

/// To two digits, so that two runs have a chance to have the same.
fn round(rate: f64) -> f64 {
    let step = 10_f64.powf(rate.log10().floor() - 1.0);
    (rate / step).floor().max(1.0) * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_round() {
        for (rate, rounded) in [(4321.0, 4300.0), (999.0, 990.0), (12_345.6, 12_000.0), (100.0, 100.0)] {
            assert!((round(rate) - rounded).abs() < 1e-6, "{rate}: {}", round(rate));
        }
    }
}
