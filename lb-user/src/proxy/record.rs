//! What is known of a request when it is over, for logs and counters.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the module. Durations are from the request's start.
#[derive(Clone, Debug)]
pub struct Record {
    /// When its first byte was there.
    pub begun: Instant,
    /// For whom it is.
    pub ip: IpAddr,
    /// What the client was answered.
    pub status: u16,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// Bytes of its head.
    pub sent_head: u64,
    /// Who answered, or was asked last.
    pub backend: Option<(Arc<str>, SocketAddr)>,
    /// How long it waited for a backend that had room, where it had to.
    pub waited: Option<Duration>,
    /// How long a new connection to the backend took.
    pub connect: Option<Duration>,
    /// Until it could be sent.
    pub connected: Option<Duration>,
    /// Until the head of the response was there.
    pub answered: Option<Duration>,
    /// How often it was tried again.
    pub retries: u8,
    /// Its name.
    pub id: Option<Arc<str>>,
    /// Why it did not come to its end.
    pub fault: Option<String>,
}

impl Record {
    /// One of which nothing more is known.
    #[must_use]
    pub fn new(begun: Instant, ip: IpAddr) -> Self {
        Self {
            begun,
            ip,
            status: 0,
            received: 0,
            sent: 0,
            sent_head: 0,
            backend: None,
            waited: None,
            connect: None,
            connected: None,
            answered: None,
            retries: 0,
            id: None,
            fault: None,
        }
    }
}
