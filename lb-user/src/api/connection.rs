//! How long a connection may go on, and what it counts as.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};

/// A connection, as far as its request is concerned.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Until it is a stream.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    stalled: Arc<Notify>,
}

impl Connection {
    /// One of so many.
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self {
            permit: Mutex::new(Some(permit)),
            stalled: Arc::default(),
        }
    }

    /// It goes on for as long as somebody takes what is sent. Returns what is to be told when nobody does.
    pub(super) fn becomes_a_stream(&self) -> Arc<Notify> {
        drop(self.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
        Arc::clone(&self.stalled)
    }

    /// Returns when it has taken longer than `time`; as a stream, when nobody takes what is sent.
    pub(super) async fn overstays(&self, time: Duration) {
        tokio::time::sleep(time).await;
        let is_stream = self.permit.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        if is_stream {
            self.stalled.notified().await;
        }
    }
}
