//! Clients of the proxy, before this node gives its addresses away. A connection ends where its address goes: the next node
//! knows nothing of it. So requests under way are finished first, and for the instant at which the addresses go nobody is
//! let in.
//!
//! What it promises: no request is cut that takes no longer than `timeouts.shutdown`, or than [`HELD`] if its connection was
//! opened in the last moment. What it costs: who wants to connect in that moment is not answered, asks again a second later
//! (RFC 6298 §2), and finds the next node.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::model::traffic::Traffic;
use crate::proxy::Listening;

/// 5 ms; bounds how long it goes unseen that the last client has gone.
const LOOK: Duration = Duration::from_millis(5);

/// 250 ms without a connection, before nobody is there: a handshake that had begun is through by then, from far away too.
const SETTLED: Duration = Duration::from_millis(250);

/// 2 s; bounds how long nobody is let in for the sake of those who came last.
const HELD: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Clients {
    /// Of [`crate::proxy::Setup`].
    pub(super) finishing: watch::Sender<bool>,
    pub(super) listening: Listening,
    pub(super) traffic: Arc<Traffic>,
}

impl Clients {
    /// Returns when there is no client, or when those that are there have taken longer than they may: `limit`. Nobody is let
    /// in until what is returned is dropped.
    pub(super) async fn see_off(&self, limit: Duration) -> Away<'_> {
        let away = Away(self);
        if self.listening.descriptors().is_empty() {
            return away;
        }
        tracing::info!("requests under way are finished before the addresses go");
        self.finishing.send_replace(true);
        // Those who were there before. Who comes meanwhile may ask for one thing.
        let _ = timeout(limit, self.until(Duration::ZERO, |(all, late)| all == late)).await;
        self.listening.hold(true);
        let _ = timeout(HELD, self.until(SETTLED, |(all, _)| all == 0)).await;
        let (connections, _) = self.traffic.open();
        if connections > 0 {
            tracing::warn!(
                connections,
                "connections of clients are cut: what they ask for takes too long"
            );
        }
        away
    }

    /// Waits until the connections that are open, all and late ones, have been so for this `long`.
    async fn until(&self, long: Duration, are_so: impl Fn((u32, u32)) -> bool) {
        let mut since = None;
        loop {
            if !are_so(self.traffic.open()) {
                since = None;
            } else if since.get_or_insert_with(Instant::now).elapsed() >= long {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

/// Nobody is let in.
pub(super) struct Away<'c>(&'c Clients);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.listening.hold(false);
        self.0.finishing.send_replace(false);
    }
}
