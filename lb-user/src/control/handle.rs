//! How everyone else asks the reconciler something.

use tokio::sync::{mpsc, oneshot};

use crate::model::status::{Explanation, FlowQuery, Status};

/// A question to the reconciler.
#[derive(Debug)]
pub enum Request {
    /// The node's state.
    Status(oneshot::Sender<Status>),
    /// What becomes of a flow.
    Explain(FlowQuery, oneshot::Sender<Explanation>),
}

/// The reconciler has stopped: the daemon is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is shutting down")]
pub struct Gone;

/// Asks the reconciler. Cheap to clone. When its queue is full, askers wait.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// A handle, and the queue of `depth` questions that the reconciler answers.
    #[must_use]
    pub fn new(depth: usize) -> (Self, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(depth);
        (Self { requests }, queue)
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

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(question(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
