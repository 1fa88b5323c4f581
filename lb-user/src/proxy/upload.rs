//! A request's body on its way, while an answer is waited for or comes already.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use super::io::Deadline;
use super::pump::Broken;

/// See the module.
#[derive(Debug)]
pub(super) struct Upload<'u, F> {
    future: Pin<&'u mut F>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    Whole,
    /// The backend took no more of it; it may answer all the same.
    Broken,
}

impl<'u, F: Future<Output = Result<(), Broken>>> Upload<'u, F> {
    /// Of this pump.
    pub(super) fn new(future: Pin<&'u mut F>) -> Self {
        Self {
            future,
            state: State::Runs,
        }
    }

    /// Has the backend got all of it?
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Goes on with it, as far as it goes now.
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Result<(), Fault> {
        if self.state != State::Runs {
            return Ok(());
        }
        let Poll::Ready(done) = self.future.as_mut().poll(cx) else {
            return Ok(());
        };
        self.state = State::Whole;
        match done {
            Ok(()) => Ok(()),
            Err(Broken::Target(_) | Broken::TargetSlow) => {
                self.state = State::Broken;
                Ok(())
            }
            Err(Broken::Malformed(error)) => Err(Fault::RequestBody(error)),
            Err(Broken::Source(error)) => Err(Fault::Client(error)),
            Err(Broken::SourceSlow) => Err(Fault::ClientSlow),
            Err(Broken::TooMuch) => Err(Fault::TooMuch),
        }
    }

    /// Waits for the backend's answer and goes on meanwhile. The answer has `limit`, from the end of the body on.
    ///
    /// # Errors
    /// Those of the work, those of the client, and [`Fault::BackendSlow`].
    pub(super) async fn beside<T>(
        &mut self,
        deadline: &mut Deadline,
        limit: Duration,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mut work = std::pin::pin!(work);
        let mut end = None;
        poll_fn(|cx| {
            self.poll(cx)?;
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if self.state == State::Runs {
                return Poll::Pending;
            }
            let end = *end.get_or_insert_with(|| Instant::now() + limit);
            ready!(deadline.poll(end, cx));
            Poll::Ready(Err(Fault::BackendSlow))
        })
        .await
    }

    /// Does other work and goes on meanwhile.
    ///
    /// # Errors
    /// Those of the client.
    pub(super) async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Fault> {
        let mut work = std::pin::pin!(work);
        poll_fn(|cx| {
            self.poll(cx)?;
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}
