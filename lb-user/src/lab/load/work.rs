//! What one thread does of a plan.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::connect::{Connector, Failure, Stream, TIMED_OUT};
use super::outcome::{Answer, Made, Outcome};
use super::pace::{Due, Queue, Schedule};
use super::{Pace, Plan, Protocol, http1, http2};

/// 10 ms after a connection that could not be opened, where requests have no rate: they would only fail the faster.
const PAUSE: Duration = Duration::from_millis(10);

/// What all connections of a thread share.
pub(super) struct Work {
    pub(super) plan: Arc<Plan>,
    connector: Arc<Connector>,
    queue: Queue,
    tally: Arc<Mutex<Outcome>>,
    /// As HTTP/1.1 writes it.
    pub(super) request: Box<[u8]>,
    /// As HTTP/2 takes it.
    pub(super) head: http::Request<()>,
}

impl Work {
    /// # Errors
    /// When the kernel has no more timers, or a header cannot be sent. Needs a runtime with I/O.
    pub(super) fn new(
        plan: Arc<Plan>,
        connector: Arc<Connector>,
        schedule: Arc<Schedule>,
        tally: Arc<Mutex<Outcome>>,
    ) -> io::Result<Self> {
        Ok(Self {
            request: text(&plan).into(),
            head: head(&plan)?,
            plan,
            connector,
            queue: Queue::new(schedule)?,
            tally,
        })
    }

    /// Makes requests on so many connections, until there are no more.
    pub(super) async fn run(self, connections: usize) {
        let work = Arc::new(self);
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            match work.plan.protocol {
                Protocol::Http1 => {
                    tasks.spawn(http1::converse(Arc::clone(&work)));
                }
                Protocol::Http2 => {
                    let shared = Arc::new(http2::Shared::default());
                    for _ in 0..work.plan.streams {
                        tasks.spawn(http2::converse(Arc::clone(&work), Arc::clone(&shared)));
                    }
                }
            }
        }
        tasks.join_all().await;
    }

    pub(super) async fn next(&self) -> Option<Due> {
        self.queue.next().await
    }

    pub(super) async fn open(&self) -> Result<Box<dyn Stream>, Failure> {
        match self.connector.open().await {
            Ok(stream) => {
                lock(&self.tally).connections += 1;
                Ok(stream)
            }
            Err(failure) => {
                if self.plan.pace == Pace::Closed {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure)
            }
        }
    }

    /// Counts what a request came to; an answer has left what it said in `answer`.
    pub(super) fn count(&self, due: Due, outcome: Result<(), Failure>, answer: &Answer) {
        let now = Instant::now();
        let took = now.saturating_duration_since(due.at);
        let mut tally = lock(&self.tally);
        let outcome = outcome.and_then(|()| {
            tally.note(answer);
            let fine = self.plan.fine.contains(&answer.status);
            if fine {
                Ok(())
            } else {
                Err(format!("status {}", answer.status).into())
            }
        });
        match &outcome {
            Ok(()) => tally.answer(due.number, took, answer),
            Err(failure) => tally.fail(failure, 1),
        }
        tally.took = self.queue.age(now);
        if self.plan.record {
            tally.events.push(Made {
                due: due.at,
                took,
                outcome: outcome.map(|()| answer.server.clone()).map_err(Failure::into_owned),
            });
        }
    }
}

fn text(plan: &Plan) -> Vec<u8> {
    let mut text = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", plan.target.path, plan.target.host);
    for (name, value) in &plan.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !plan.reuse {
        text += "Connection: close\r\n";
    }
    (text + "\r\n").into_bytes()
}

/// It also checks what [`text`] writes: names and values that would be more than they say are refused.
fn head(plan: &Plan) -> io::Result<http::Request<()>> {
    let scheme = if plan.target.tls { "https" } else { "http" };
    let mut request = http::Request::get(format!("{scheme}://{}{}", plan.target.host, plan.target.path))
        .version(http::Version::HTTP_2);
    for (name, value) in &plan.headers {
        request = request.header(name, value);
    }
    request
        .body(())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// A limit on each of many requests, with one timer for all of them: it is set again only when it has gone off.
pub(super) struct Patience(Pin<Box<Sleep>>);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// Fails where `asked` takes longer than `limit`.
    pub(super) async fn within(
        &mut self,
        limit: Duration,
        asked: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut asked = pin!(asked);
        poll_fn(|context| {
            if let Poll::Ready(done) = asked.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            while self.0.as_mut().poll(context).is_ready() {
                if self.0.deadline() >= deadline {
                    return Poll::Ready(Err(TIMED_OUT));
                }
                self.0.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
