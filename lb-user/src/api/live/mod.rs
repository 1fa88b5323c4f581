//! `GET /api/v1/events`: the node's state as it changes, for the dashboard (server-sent events, WHATWG HTML §9.2).
//!
//! One task asks the reconciler, once for everybody who looks, and not at all while nobody does, but for the
//! [history]. Whoever reads slowly misses some of it and gets the newest next, so a stream holds two messages
//! at most, which all streams share.

mod history;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::StatusCode;
use lb_common::stats::DropReason;
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::access::Rights;
use super::connection::Connection;
use super::stream::Stream;
use super::types::{Problem, Status};
use crate::control::Handle;
use crate::model::drops;
use crate::model::tally::Tally;
use history::History;

/// Streams at once, of all listeners. More are refused.
pub const MAX_STREAMS: usize = 64;

/// Time from one state to the next, at least.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// So many times the time that it took to make a state is waited at least before the next: a twentieth of a processor.
const REST: u32 = 20;

/// But not for longer: what is measured is not the processor's time, and one state that was held up says nothing of the next.
const MOST_REST: Duration = Duration::from_secs(5);

/// A stream whose reader has taken nothing for so long is ended.
const STALLED: Duration = Duration::from_secs(30);

/// What streams are made of. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Live {
    states: watch::Receiver<Option<Bytes>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: String,
    past: Mutex<Past>,
    /// Somebody new looks.
    asked: Notify,
    permits: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Past {
    history: History,
    /// As it is told, since somebody has asked for it.
    event: Option<Bytes>,
}

impl Past {
    fn take(&mut self, tally: &Tally, at: Instant) {
        self.history.take(tally, now(), at.into_std());
        self.event = None;
    }

    /// The same for everybody until it grows.
    fn event(&mut self) -> Bytes {
        let made = || event("history", &self.history.shown());
        self.event.get_or_insert_with(made).clone()
    }
}

/// What makes the states. Without it, streams end.
#[derive(Debug)]
pub struct Source {
    states: watch::Sender<Option<Bytes>>,
    shared: Arc<Shared>,
}

/// Streams of the node of this name.
#[must_use]
pub fn live(node: String) -> (Live, Source) {
    let (sender, states) = watch::channel(None);
    let shared = Arc::new(Shared {
        node,
        past: Mutex::default(),
        asked: Notify::new(),
        permits: Arc::new(Semaphore::new(MAX_STREAMS)),
    });
    let source = Source {
        states: sender,
        shared: Arc::clone(&shared),
    };
    (Live { states, shared }, source)
}

impl Source {
    /// Asks `node` as often as there is somebody to tell, until it is gone.
    pub async fn run(self, node: Handle) {
        let mut rested = Instant::now();
        let mut sampled = rested + history::STEP;
        loop {
            let is_looked_at = self.shared.permits.available_permits() < MAX_STREAMS;
            tokio::select! {
                () = tokio::time::sleep_until(sampled) => {
                    let at = Instant::now();
                    sampled = at + history::STEP;
                    let Ok(tally) = node.tally().await else { return };
                    if let Some(tally) = tally {
                        self.shared.past().take(&tally, at);
                    }
                }
                () = tokio::time::sleep_until(rested), if is_looked_at => {
                    let began = Instant::now();
                    let Ok(status) = node.status().await else { return };
                    self.states.send_replace(Some(event("status", &Status::from(status))));
                    rested = due(began, Instant::now());
                }
                () = self.shared.asked.notified() => {}
            }
        }
    }
}

/// When the next state may be made, after one that was made from `began` to `ended`.
fn due(began: Instant, ended: Instant) -> Instant {
    let rest = ((ended - began) * REST).min(MOST_REST);
    (began + INTERVAL).max(ended + rest)
}

impl Shared {
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For people.
#[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// The first event of a stream.
#[derive(Serialize)]
struct Hello<'a> {
    node: &'a str,
    version: &'static str,
    interval_ms: u64,
    changes: bool,
    token: bool,
    drops: BTreeMap<&'static str, &'static str>,
}

impl Live {
    /// A stream over `connection` for somebody with these rights; `token`: the node has one.
    pub(super) fn stream(&self, rights: Rights, token: bool, connection: &Connection) -> Result<Stream, Problem> {
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_STREAMS} others look already; close one of the pages that do");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        })?;
        let hello = Hello {
            node: &self.shared.node,
            version: env!("CARGO_PKG_VERSION"),
            interval_ms: INTERVAL.as_millis() as u64,
            changes: rights.changes,
            token,
            drops: DropReason::ALL
                .iter()
                .map(|reason| (reason.label(), drops::explanation(*reason)))
                .collect(),
        };
        let history = self.shared.past().event();
        let (sender, events) = mpsc::channel(1);
        let first = [event("hello", &hello), history];
        let (states, stalled) = (self.states.clone(), connection.becomes_a_stream());
        tokio::spawn(async move {
            if feed(first, states, sender).await.is_err() {
                stalled.notify_one();
            }
        });
        // Only what comes after this is told: a state from when somebody looked last may be old.
        self.shared.asked.notify_one();
        Ok(Stream::new(events, permit))
    }
}

/// Hands events on until no more come or the reader is gone; an error when it is there and takes none.
async fn feed(
    first: [Bytes; 2],
    mut states: watch::Receiver<Option<Bytes>>,
    events: mpsc::Sender<Bytes>,
) -> Result<(), Elapsed> {
    for event in first {
        if timeout(STALLED, events.send(event)).await?.is_err() {
            return Ok(());
        }
    }
    loop {
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return Ok(()) },
            () = events.closed() => return Ok(()),
        }
        let Ok(room) = timeout(STALLED, events.reserve()).await? else {
            return Ok(());
        };
        // What has come meanwhile is newer.
        if let Some(state) = states.borrow_and_update().clone() {
            room.send(state);
        }
    }
}

/// The text of an event, whose data is one line.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    // The types have string keys only, which is all that serialising can trip over.
    let _ = serde_json::to_writer(&mut text, data);
    text.extend_from_slice(b"\n\n");
    text.into()
}

#[cfg(test)]
mod tests;
