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
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::GIVE_AWAY;
use crate::control::{Fitness, tell};
use crate::model::Config;
use crate::model::traffic::Traffic;
use crate::model::vrrp::HaStatus;
use crate::proxy::{self, Listening};

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

    /// Tells others whether this node can balance, as it is `known`, but that it drains only when its clients have been seen
    /// off; nobody is let in then until its addresses are gone.
    pub(super) async fn drain(self: Arc<Self>, drains: Drains) {
        let Drains {
            mut known,
            told,
            mut status,
            configs,
        } = drains;
        let mut gone: Option<(Away<'_>, Instant)> = None;
        loop {
            let fit = known.borrow_and_update().clone();
            let holds = status.borrow_and_update().held().next().is_some();
            if fit.draining && !told.borrow().draining && holds {
                tell(&told, Fitness { draining: false, ..fit });
                let limit = proxy::patience(&configs.borrow());
                gone = tokio::select! {
                    away = self.see_off(limit) => Some((away, Instant::now() + GIVE_AWAY)),
                    going_on = pass(&mut known, &told) => match going_on {
                        true => None,
                        false => return,
                    },
                };
                let fit = known.borrow_and_update().clone();
                tell(&told, fit);
                continue;
            }
            tell(&told, fit);
            gone = gone.filter(|(_, until)| holds && Instant::now() < *until);
            let until = gone.as_ref().map_or_else(Instant::now, |(_, until)| *until);
            tokio::select! {
                changed = known.changed() => if changed.is_err() {
                    return;
                },
                Ok(()) = status.changed() => {}
                () = sleep_until(until), if gone.is_some() => {}
            }
        }
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

/// Between the reconciler and virtual routers.
pub(super) struct Drains {
    /// Whether this node can balance.
    pub(super) known: watch::Receiver<Fitness>,
    /// The same, when clients are ready for it.
    pub(super) told: watch::Sender<Fitness>,
    /// Which addresses it holds.
    pub(super) status: watch::Receiver<HaStatus>,
    /// The configuration in force.
    pub(super) configs: watch::Receiver<Arc<Config>>,
}

/// Tells all but that the node drains, for as long as it does; false when nobody will say more.
async fn pass(known: &mut watch::Receiver<Fitness>, told: &watch::Sender<Fitness>) -> bool {
    while known.changed().await.is_ok() {
        let fit = known.borrow_and_update().clone();
        if !fit.draining {
            return true;
        }
        let draining = false;
        tell(told, Fitness { draining, ..fit });
    }
    false
}

/// Nobody is let in.
pub(super) struct Away<'c>(&'c Clients);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.listening.hold(false);
        self.0.finishing.send_replace(false);
    }
}
