//! What a thread keeps of a backend: its connections.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Open};
use super::http2;
use crate::model::traffic::{BackendTraffic, PoolMember};

/// Connections that idle at most, for each backend on each thread. Those that have idled longest are closed.
const IDLE: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    /// The host that the file names.
    pub host: Option<Arc<str>>,
    /// Its address as a Host.
    pub authority: String,
    /// Its counters.
    pub traffic: Arc<BackendTraffic>,
    /// Of HTTP/1.1, the last one used last.
    idle: RefCell<Vec<(Instant, Connection)>>,
    /// Of HTTP/2.
    pub(super) shared: RefCell<Vec<http2::Connection>>,
    /// All that are open.
    pub(super) open: RefCell<HashSet<RawFd>>,
    cut: Cell<bool>,
}

impl Backend {
    pub(super) fn new(member: &PoolMember, traffic: Arc<BackendTraffic>) -> Self {
        let authority = match (&member.host, member.address.port()) {
            (Some(host), port) => format!("{host}:{port}"),
            (None, _) => member.address.to_string(),
        };
        Self {
            address: member.address,
            host: member.host.clone(),
            authority,
            traffic,
            idle: RefCell::default(),
            shared: RefCell::default(),
            open: RefCell::default(),
            cut: Cell::new(false),
        }
    }

    /// The connection that was used last, if it still is one.
    pub(super) fn take(&self, idle_for: Duration) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.idle.borrow_mut().pop()?;
            if since.elapsed() < idle_for && connection.is_reusable() {
                connection.reused = true;
                return Some(connection);
            }
        }
    }

    /// A connection that has served its request to the end.
    pub(super) fn keep(&self, mut connection: Connection) {
        if self.cut.get() || !connection.is_reusable() {
            return;
        }
        connection.buffer.rest();
        let mut idle = self.idle.borrow_mut();
        if idle.len() == IDLE {
            idle.remove(0);
        }
        idle.push((Instant::now(), connection));
    }

    /// Closes what idles for longer, and what backends have closed.
    pub(super) fn tidy(&self, idle_for: Duration) {
        let mut idle = self.idle.take();
        idle.retain_mut(|(since, connection)| since.elapsed() < idle_for && connection.is_reusable());
        self.idle.replace(idle);
        self.shared.borrow_mut().retain(|connection| !connection.is_over(idle_for));
    }

    /// Serves nobody from now on; what it serves ends.
    pub(super) fn cut(&self, cut: bool) {
        if !self.cut.replace(cut) && cut {
            drop(self.idle.take());
            self.open.borrow().iter().copied().for_each(Open::end);
        }
    }
}
