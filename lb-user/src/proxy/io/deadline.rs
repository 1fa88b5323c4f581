//! Time limits for what waits.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Something took longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it took too long")]
pub struct TooSlow;

/// A limit for one thing at a time. What is ready at once never touches the clock's wheel, and a limit that is later than
/// the one before waits for that to pass before it takes its place: a connection that is busy costs one timer in all.
#[derive(Debug, Default)]
pub struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Waits for `work`, for `limit` at most.
    ///
    /// # Errors
    /// [`TooSlow`], and the work is dropped.
    pub async fn within<T>(&mut self, limit: Duration, work: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut work = std::pin::pin!(work);
        let mut end = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let end = *end.get_or_insert_with(|| Instant::now() + limit);
            self.poll(end, cx).map(|()| Err(TooSlow))
        })
        .await
    }

    /// Is it `end`?
    pub fn poll(&mut self, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            // It was an earlier limit's.
            timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_limit_is_its_own() {
        let mut deadline = Deadline::default();
        let start = Instant::now();
        assert_eq!(deadline.within(Duration::ZERO, ready(7)).await, Ok(7));
        assert!(deadline.timer.is_none(), "nothing has waited");
        for (limit, after) in [(10, 10), (2, 12), (30, 42)] {
            let limit = Duration::from_secs(limit);
            assert_eq!(deadline.within(limit, pending::<()>()).await, Err(TooSlow));
            assert_eq!(start.elapsed(), Duration::from_secs(after));
        }
        let work = tokio::time::sleep(Duration::from_secs(5));
        assert_eq!(deadline.within(Duration::from_secs(6), work).await, Ok(()));
        assert_eq!(start.elapsed(), Duration::from_secs(47));
    }
}
