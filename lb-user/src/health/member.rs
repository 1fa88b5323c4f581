//! The task of one target: waits until a probe is due, probes, judges, and says what is new.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use super::probe::{Answer, Failure, Success};
use super::schedule::{self, Dice};
use super::{Post, Prober};
use crate::model::fsm::{Doubt, Machine, Outcome, Transition};
use crate::model::{Health, HealthCheck, HealthKind, MemberKey, Probes, Verdict};

pub(super) struct Member<P> {
    pub(super) key: MemberKey,
    pub(super) post: Arc<Post>,
    pub(super) verdicts: mpsc::Sender<Verdict>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) prober: P,
    pub(super) dice: Dice,
    pub(super) probes: Probes,
}

/// What a verdict says, without what changes from probe to probe: as long as this stays the same, nothing is sent.
#[derive(PartialEq, Eq)]
struct Said {
    health: Health,
    /// That the backend asks for, as it said when it last succeeded.
    weight: Option<u16>,
    result: Result<Answer, Failure>,
    doubt: Option<Doubt>,
}

impl<P: Prober> Member<P> {
    /// Until it is aborted, or nobody takes verdicts any more.
    pub(super) async fn run(mut self) {
        let mut target = self.post.target();
        let mut machine = Machine::new(target.check.rise, target.check.fall);
        let mut said = None;
        let mut started = None;
        let mut waited = false;
        let mut due = self.first(&target.check);
        loop {
            tokio::select! {
                biased;
                () = self.post.news.notified() => {
                    let new = self.post.target();
                    let check = &new.check;
                    machine.set_thresholds(check.rise, check.fall);
                    if check.asks_as(&target.check) && let Some(started) = started {
                        // Whoever can be reached again need not wait for his turn.
                        due = if new.is_reached() && !target.is_reached() {
                            self.first(check)
                        } else {
                            self.next(check, started)
                        };
                    } else {
                        machine.believe_next();
                        self.probes.certificate(None);
                        started = None;
                        due = self.first(check);
                    }
                    target = new;
                    continue;
                }
                () = until(due) => {}
            }

            let check = &target.check;
            if !waited && started.is_none() && target.is_looked_for() {
                // What becomes of the look is news, and then it is probed soon; if nothing does, the next probe says why.
                (waited, due) = (true, self.next(check, Instant::now()));
                continue;
            }
            let permit = if check.kind.probes() {
                match self.permits.acquire().await {
                    Ok(permit) => Some(permit),
                    Err(_closed) => return,
                }
            } else {
                None
            };
            if !Arc::ptr_eq(&target, &self.post.target()) {
                continue;
            }
            let start = Instant::now();
            // Boxed, as what is sent below: what a probe needs is there while it runs, and not for every backend all the time.
            let result = Box::pin(self.prober.probe(&target, &self.probes)).await;
            drop(permit);
            self.count(&check.kind, &result, start.elapsed());
            if !self.post.target().check.asks_as(check) {
                // An answer to a question that is no longer asked.
                continue;
            }
            if let Some(news) = self.judge(&mut machine, &mut said, result)
                && Box::pin(self.verdicts.send(news)).await.is_err()
            {
                return;
            }
            started = Some(start);
            due = self.next(check, start);
        }
    }

    fn count(&self, kind: &HealthKind, result: &Result<Success, Failure>, took: Duration) {
        match (kind, result) {
            (HealthKind::None, _) => {}
            (_, Ok(_)) => self.probes.succeeded(took),
            (_, Err(Failure::Local(_))) => self.probes.stayed_local(),
            (_, Err(_)) => self.probes.failed(took),
        }
    }

    /// What is to be said, if there is something new.
    fn judge(
        &self,
        machine: &mut Machine,
        said: &mut Option<Said>,
        result: Result<Success, Failure>,
    ) -> Option<Verdict> {
        let transition = match &result {
            Ok(_) => machine.observe(Outcome::Success),
            // Says nothing about the backend, so its health stays; the verdict's reason shows it.
            Err(Failure::Local(_)) => None,
            Err(_) => machine.observe(Outcome::Failure),
        };
        let mut reason = match &result {
            Ok(success) => success.to_string(),
            Err(failure) => failure.to_string(),
        };
        let news = Said {
            health: machine.health(),
            weight: match &result {
                Ok(success) => success.answer.weight(),
                Err(_) => said.as_ref().and_then(|said| said.weight),
            },
            result: result.map(|success| success.answer),
            doubt: machine.doubt(),
        };
        if said.as_ref() == Some(&news) {
            return None;
        }
        if let Some(Doubt { seen, needed }) = news.doubt {
            reason = format!("{reason} ({seen} of {needed} in a row)");
        }
        self.log(transition, &news, &reason);
        let verdict = Verdict {
            member: self.key.clone(),
            health: news.health,
            weight: news.weight,
            reason: reason.into(),
            probes: self.probes.clone(),
        };
        *said = Some(news);
        Some(verdict)
    }

    fn log(&self, transition: Option<Transition>, news: &Said, reason: &str) {
        let (service, backend, health) = (&*self.key.service, self.key.backend, news.health.label());
        let is_first = matches!(
            transition,
            Some(Transition {
                from: Health::Unknown,
                to: Health::Up
            })
        );
        if let Some(Transition { from, to: _ }) = transition.filter(|_| !is_first) {
            tracing::info!(service, %backend, health, from = from.label(), reason, "backend health changed");
        } else if let Err(Failure::Local(_)) = news.result {
            tracing::warn!(service, %backend, health, reason, "backend could not be probed");
        } else {
            // What is as it should be from the start is said of all of them together.
            tracing::debug!(service, %backend, health, reason, "backend answers, or answers differently");
        }
    }

    /// When the first probe of a new question is due. Nothing is asked of nobody, so that need not be spread.
    fn first(&mut self, check: &HealthCheck) -> Option<Instant> {
        if check.kind.probes() {
            after(schedule::first(check.interval, self.dice.roll()))
        } else {
            Some(Instant::now())
        }
    }

    /// When the probe after the one that began at `started` is due; `None`: never.
    fn next(&mut self, check: &HealthCheck, started: Instant) -> Option<Instant> {
        if check.kind.probes() {
            after(schedule::next(check.interval, started.elapsed(), self.dice.roll()))
        } else {
            None
        }
    }
}

/// `None` when that is further away than clocks reach.
fn after(delay: Duration) -> Option<Instant> {
    Instant::now().checked_add(delay)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
