//! How everyone else asks the reconciler something, or the daemon to read its file.

use tokio::sync::{mpsc, oneshot};

use super::names::Unknown;
use super::overrides::{Crowded, Override};
use super::trace::TraceRefused;
use crate::model::status::{Explanation, FlowQuery, Overridden, Status};
use crate::model::trace::{Filter, Traced};

/// A question or command to the reconciler. It is answered from a state in which every configuration counts that was
/// accepted before.
#[derive(Debug)]
pub enum Request {
    /// The node's state.
    Status(oneshot::Sender<Status>),
    /// What becomes of a flow.
    Explain(FlowQuery, oneshot::Sender<Explanation>),
    /// Begins a trace of packets; answered with its number.
    Trace(Filter, oneshot::Sender<Result<u64, TraceRefused>>),
    /// What a trace has shown since the last time; `None` when there is no such trace.
    Traced(u64, oneshot::Sender<Option<Vec<Traced>>>),
    /// Ends a trace; false when there was none.
    EndTrace(u64, oneshot::Sender<bool>),
    /// The node's fault, once the newest configuration has been put to the maps, and overrides that it ended have been
    /// forgotten on the disk, too.
    Settle(oneshot::Sender<Option<String>>),
    /// Says `change` of a backend. Answered after the maps have been written, and the override has been kept or could
    /// not be.
    Override {
        /// The service's name.
        service: String,
        /// The backend's name or address.
        backend: String,
        /// What is said.
        change: Override,
        /// Who waits.
        reply: oneshot::Sender<Result<Overridden, OverrideRefused>>,
    },
}

/// Why a command about a backend changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideRefused {
    /// There is no such backend.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The ring is too small.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// It has left the file, and finishes its flows.
    #[error(
        "{0} is leaving, since the file does not have it any more: add it to the file again, or disable it to cut its flows"
    )]
    Leaving(String),
    /// It is in force and kept, but what has become of the backend cannot be read.
    #[error("it is done, but the counters cannot be read: {0}")]
    Unreadable(String),
}

/// To the daemon, which has the file: read it now. Answered with whether it says anything new.
pub type ReloadRequest = oneshot::Sender<Result<bool, ReloadRefused>>;

/// Why a file is not taken; the running configuration stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadRefused {
    /// It is missing or wrong: where and why, over several lines.
    #[error("{0}")]
    File(String),
    /// It is right, but changes what is fixed while the daemon runs.
    #[error("{0}")]
    Fixed(String),
}

/// A file that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Does it say anything new?
    pub changed: bool,
    /// As [`Status::fault`]: while it is there, the maps may not be as the file says yet.
    pub fault: Option<String>,
}

/// The reconciler has stopped: the daemon is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is shutting down")]
pub struct Gone;

/// Asks. Cheap to clone. When a queue is full, askers wait.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    reloads: mpsc::Sender<ReloadRequest>,
}

impl Handle {
    /// A handle, and the queues of `depth` each: questions for the reconciler, reloads for whoever has the file.
    #[must_use]
    pub fn new(depth: usize) -> (Self, mpsc::Receiver<Request>, mpsc::Receiver<ReloadRequest>) {
        let (requests, request_queue) = mpsc::channel(depth);
        let (reloads, reload_queue) = mpsc::channel(depth);
        (Self { requests, reloads }, request_queue, reload_queue)
    }

    /// The node's state now.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn status(&self) -> Result<Status, Gone> {
        self.ask(Request::Status).await
    }

    /// What the program would do with a packet of this flow.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn explain(&self, flow: FlowQuery) -> Result<Explanation, Gone> {
        self.ask(|reply| Request::Explain(flow, reply)).await
    }

    /// Begins a trace, which ends when nobody has asked [`Self::traced`] for some seconds.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn trace(&self, filter: Filter) -> Result<Result<u64, TraceRefused>, Gone> {
        self.ask(|reply| Request::Trace(filter, reply)).await
    }

    /// What a trace has shown since the last time; `None` when it is over.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn traced(&self, id: u64) -> Result<Option<Vec<Traced>>, Gone> {
        self.ask(|reply| Request::Traced(id, reply)).await
    }

    /// Ends a trace; false when it was over.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn end_trace(&self, id: u64) -> Result<bool, Gone> {
        self.ask(|reply| Request::EndTrace(id, reply)).await
    }

    /// Says `change` of a backend; see [`Request::Override`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn command(
        &self,
        service: String,
        backend: String,
        change: Override,
    ) -> Result<Result<Overridden, OverrideRefused>, Gone> {
        let command = |reply| Request::Override {
            service,
            backend,
            change,
            reply,
        };
        self.ask(command).await
    }

    /// Reads the file now, and puts what it says to the maps.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn reload(&self) -> Result<Result<Reloaded, ReloadRefused>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.reloads.send(reply).await.map_err(|_| Gone)?;
        match answer.await.map_err(|_| Gone)? {
            Ok(changed) => {
                let fault = self.ask(Request::Settle).await?;
                Ok(Ok(Reloaded { changed, fault }))
            }
            Err(refused) => Ok(Err(refused)),
        }
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(question(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
