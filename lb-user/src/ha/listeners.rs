//! What is listened to: a socket for each interface and family that virtual routers are talked of on; and the way out.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;

use super::Engine;
use super::router::Router;
use super::socket::VrrpSocket;
use crate::model::{Interface, chain};

/// An interface by its name, and whether it is IPv6.
pub(super) type Key = (Arc<str>, bool);

/// By interface and family; why one cannot be opened.
pub(super) type Listeners = BTreeMap<Key, Result<Listener, String>>;

/// One of them.
pub(super) struct Listener {
    pub(super) socket: VrrpSocket,
    /// How many more are read before this time.
    pub(super) left: u32,
    pub(super) until: Instant,
}

impl Engine {
    /// Opens what is to be listened to, and closes what is not.
    pub(super) fn listen(&mut self, interfaces: &[Interface]) {
        let wanted: BTreeMap<Key, u32> = self
            .routers
            .iter()
            .filter_map(|router| {
                let config = &router.config;
                let interface = interfaces.iter().find(|i| *i.name == *config.interface)?;
                Some((router.key(), interface.index))
            })
            .collect();
        self.listeners.retain(|key, listener| {
            let there = listener.as_ref().ok().map(|listener| listener.socket.interface());
            there.is_some() && wanted.get(key).copied() == there
        });
        for (key, index) in wanted {
            if !self.listeners.contains_key(&key) {
                let listener = self.open(&key, index);
                self.listeners.insert(key, listener);
            }
        }
    }

    fn open(&self, key: &Key, index: u32) -> Result<Listener, String> {
        let (name, v6) = key;
        let socket = VrrpSocket::open(self.net.namespace(), name, index, *v6).map_err(|error| {
            let reason = format!("cannot listen on {name}: {}", chain(&error));
            tracing::warn!(interface = %name, %error, "cannot listen for advertisements");
            reason
        })?;
        Ok(Listener {
            socket,
            left: 0,
            until: Instant::now(),
        })
    }
}

/// Until something has come on one of them.
pub(super) async fn arrival(listeners: &Listeners) {
    poll_fn(|context| {
        let open = listeners.values().flatten();
        // Each is asked, so that each wakes this.
        match open
            .filter(|listener| listener.socket.poll_arrival(context).is_ready())
            .count()
        {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

/// Sends an advertisement to everybody whom it is for.
pub(super) fn advertise(listeners: &Listeners, router: &mut Router, priority: u8) {
    let (Some(Ok(listener)), Some(source)) = (listeners.get(&router.key()), router.source) else {
        return;
    };
    let (advertisement, to) = router.advertisement(priority);
    for to in to {
        match listener.socket.send(source, to, &advertisement.encode(source, to)) {
            Ok(()) => router.sent += 1,
            Err(error) => {
                tracing::warn!(virtual_router = %router.config.name, %to, %error, "cannot send an advertisement");
            }
        }
    }
}
