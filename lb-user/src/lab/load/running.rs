//! A plan that is carried out.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use super::connect::Connector;
use super::outcome::{Made, NOT_SENT, Outcome};
use super::pace::Schedule;
use super::plan::Plan;
use super::work::{Work, lock};
use crate::net::Namespace;

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::lab) struct Progress {
    pub(in crate::lab) answered: u64,
    pub(in crate::lab) failed: u64,
}

/// Requests that are being made until the plan ends, or this is stopped or dropped.
#[derive(Debug)]
pub(in crate::lab) struct Running {
    schedule: Arc<Schedule>,
    threads: Vec<Thread>,
    /// Ends when the last thread has ended.
    ended: tokio::sync::mpsc::Receiver<()>,
}

/// What one thread has done so far, and the thread.
#[derive(Debug)]
struct Thread {
    tally: Arc<Mutex<Outcome>>,
    handle: JoinHandle<()>,
}

impl Running {
    /// Begins, inside `namespace`.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the plan cannot be carried out: authorities that cannot be read, a
    /// header that cannot be sent, no connections.
    pub(in crate::lab) fn start(namespace: &Namespace, plan: &Plan) -> io::Result<Self> {
        let threads = plan.threads.clamp(1, plan.connections.max(1));
        if plan.connections == 0 || plan.streams == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "without connections there are no requests",
            ));
        }
        let connector = Arc::new(Connector::new(plan)?);
        let plan = Arc::new(plan.clone());
        let schedule = Arc::new(Schedule::new(plan.pace, plan.end));
        let (alive, ended) = tokio::sync::mpsc::channel(1);
        let mut running = Self {
            schedule: Arc::clone(&schedule),
            threads: Vec::new(),
            ended,
        };
        for thread in 0..threads {
            let connections = (plan.connections + thread) / threads;
            let tally = Arc::new(Mutex::new(Outcome::default()));
            let (say, said) = mpsc::sync_channel(1);
            let handle = std::thread::Builder::new().name("load".to_owned()).spawn({
                let (namespace, tally) = (namespace.clone(), Arc::clone(&tally));
                let (plan, connector) = (Arc::clone(&plan), Arc::clone(&connector));
                let (schedule, alive) = (Arc::clone(&schedule), alive.clone());
                move || {
                    let _alive = alive;
                    let ready = namespace.enter().and_then(|()| {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                        let inside = runtime.enter();
                        let work = Work::new(plan, connector, schedule, tally)?;
                        drop(inside);
                        Ok((runtime, work))
                    });
                    match ready {
                        Ok((runtime, work)) => {
                            // Whoever started it waits for this.
                            let _ = say.send(Ok(()));
                            runtime.block_on(work.run(connections));
                        }
                        Err(refused) => {
                            let _ = say.send(Err(refused));
                        }
                    }
                }
            })?;
            running.threads.push(Thread { tally, handle });
            said.recv().map_err(io::Error::other)??;
        }
        Ok(running)
    }

    pub(in crate::lab) fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for thread in &self.threads {
            let tally = lock(&thread.tally);
            progress.answered += tally.answered;
            progress.failed += tally.failures();
        }
        progress
    }

    /// What has become of requests that were due at `since` or later, in the order of being due, if the plan records
    /// them.
    pub(in crate::lab) fn events_since(&self, since: Instant) -> Vec<Made> {
        let mut events = Vec::new();
        for thread in &self.threads {
            let tally = lock(&thread.tally);
            events.extend(tally.events.iter().filter(|event| event.due >= since).cloned());
        }
        events.sort_by_key(|event| event.due);
        events
    }

    /// How many requests are due by then, from the beginning; none as long as none has been asked for, or without a rate.
    pub(in crate::lab) fn due(&self, by: Instant) -> Option<u64> {
        self.schedule.due(by)
    }

    /// Waits for the plan's end, or that of the last request after [`Self::end`].
    pub(in crate::lab) async fn done(&mut self) {
        // Nobody sends anything.
        let _ = self.ended.recv().await;
    }

    /// Sends no more; those under way go on.
    pub(in crate::lab) fn end(&self) {
        self.schedule.stop();
    }

    /// Sends no more, waits for requests that are under way, and says what all came to. Blocks.
    pub(in crate::lab) fn stop(self) -> io::Result<Outcome> {
        self.end();
        self.wait()
    }

    /// Waits for the plan's end, and says what all requests came to. Blocks.
    pub(in crate::lab) fn wait(mut self) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        for Thread { tally, handle } in self.threads.drain(..) {
            handle
                .join()
                .map_err(|_| io::Error::other("a thread that made requests panicked"))?;
            outcome.add(std::mem::take(&mut *lock(&tally)));
        }
        let left = self.schedule.left();
        if left > 0 {
            outcome.fail(NOT_SENT, left);
        }
        outcome.events.sort_by_key(|event| event.due);
        Ok(outcome)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.schedule.stop();
    }
}

/// Carries a plan out inside `namespace`. Dropped, it sends no more.
///
/// # Errors
/// As of [`Running::start`].
pub(in crate::lab) async fn run(namespace: &Namespace, plan: &Plan) -> io::Result<Outcome> {
    let mut running = Running::start(namespace, plan)?;
    running.done().await;
    running.wait()
}
