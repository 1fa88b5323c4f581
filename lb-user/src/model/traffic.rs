//! What the proxy tells others of its traffic, and what it is told of backends: shared between its threads, the
//! reconciler, status and metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Config, Health, MemberKey, Role};

/// What the proxy has to know: the configuration in force, and who may serve.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// With overrides, hosts' addresses, and backends that are leaving.
    pub config: Arc<Config>,
    /// By name, of every service of the proxy and every pool. Members in the order of the service's backends.
    pub pools: BTreeMap<Arc<str>, Vec<PoolMember>>,
}

/// A backend, as the proxy is to treat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMember {
    /// Who it is.
    pub key: MemberKey,
    /// Its name within the service.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The host that the file names, for TLS.
    pub host: Option<Arc<str>>,
    /// Its share of new requests: 0 while it drains, less than its own while it starts slowly.
    pub weight: u16,
    /// Whether it has a share while others have one.
    pub role: Role,
    /// What its probes say. One that is not known serves where nobody is up.
    pub health: Health,
    /// It serves nobody, and what it serves is to be ended: it is disabled, or its drain is over.
    pub cut: bool,
}

/// What each backend of the proxy has done. Threads of the proxy write, anybody reads.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Entered when a backend is first heard of, and kept while anybody wants it.
    backends: Mutex<BTreeMap<MemberKey, Arc<BackendTraffic>>>,
    services: Mutex<BTreeMap<Arc<str>, Arc<ServiceTraffic>>>,
}

impl Traffic {
    /// The counters of a backend, the same for everybody.
    #[must_use]
    pub fn backend(&self, key: &MemberKey) -> Arc<BackendTraffic> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(backends.entry(key.clone()).or_default())
    }

    /// The counters of a service, the same for everybody.
    #[must_use]
    pub fn service(&self, name: &Arc<str>) -> Arc<ServiceTraffic> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(services.entry(Arc::clone(name)).or_default())
    }

    /// Forgets who is not in `config` and serves nothing any more.
    pub fn retain(&self, config: &Config) {
        let known = |key: &MemberKey| {
            let service = config.services.iter().find(|service| service.name == key.service);
            service.is_some_and(|service| service.backends.iter().any(|b| MemberKey::of(service, b) == *key))
        };
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|key, traffic| known(key) || traffic.active.load(Relaxed) > 0);
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|name, traffic| {
            config.services.iter().any(|service| service.name == *name) || traffic.connections.load(Relaxed) > 0
        });
    }
}

/// Of one backend. Shared by the threads: a limit of one request is one, whoever counts, and the spread of methods that
/// count is that of all of them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct BackendTraffic {
    /// Requests under way, upgraded connections too.
    pub active: AtomicU32,
    /// Connections to it, idle ones too.
    pub connections: AtomicU32,
    /// Connections made.
    pub connects: AtomicU64,
    /// Connections that could not be made.
    pub connect_errors: AtomicU64,
    /// Requests sent to it, repeated ones too.
    pub requests: AtomicU64,
    /// Responses by the hundreds of their status: 1xx to 5xx.
    pub responses: [AtomicU64; 5],
    /// Requests that it did not answer, or not to the end.
    pub failures: AtomicU64,
    /// Requests that were sent to another one after it failed.
    pub retries: AtomicU64,
    /// Times that it was set aside.
    pub ejections: AtomicU64,
    /// Is it set aside now? 0 or 1.
    pub ejected: AtomicU32,
    /// Bytes sent to it.
    pub sent: AtomicU64,
    /// Bytes received from it.
    pub received: AtomicU64,
    /// From a request's start to its response's head.
    pub latency: Histogram,
}

/// Of one service.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServiceTraffic {
    /// Clients' connections that are open.
    pub connections: AtomicU32,
    /// Clients' connections that were taken.
    pub accepted: AtomicU64,
    /// Clients' connections that were refused for their number.
    pub refused: AtomicU64,
    /// Handshakes of TLS that came to their end, from anew.
    pub handshakes: AtomicU64,
    /// Handshakes of TLS that resumed a session.
    pub resumed: AtomicU64,
    /// Handshakes of TLS that failed.
    pub handshake_errors: AtomicU64,
    /// Requests by version: HTTP/1 and HTTP/2.
    pub requests: [AtomicU64; 2],
    /// Responses by the hundreds of their status: 1xx to 5xx.
    pub responses: [AtomicU64; 5],
    /// Requests that were refused for what they are: malformed, too large, too slow.
    pub invalid: AtomicU64,
    /// Requests that waited for a backend.
    pub queued: AtomicU64,
    /// Requests that wait for a backend now.
    pub waiting: AtomicU32,
    /// Bytes received from clients.
    pub received: AtomicU64,
    /// Bytes sent to clients.
    pub sent: AtomicU64,
    /// Lines of its access log that were lost: the disk was too slow, or took none.
    pub log_lost: AtomicU64,
    /// From a request's head to its response's end.
    pub latency: Histogram,
}

/// Durations by upper bound.
#[derive(Debug, Default)]
pub struct Histogram {
    /// As many as each of [`Self::BOUNDS`] holds and the one before does not; the last has no bound.
    pub buckets: [AtomicU64; Self::BOUNDS.len() + 1],
    /// Sum, in microseconds.
    pub sum: AtomicU64,
}

impl Histogram {
    /// Upper bounds, in microseconds.
    pub const BOUNDS: [u64; 13] = [
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    ];

    /// One more.
    pub fn observe(&self, microseconds: u64) {
        let bucket = Self::BOUNDS.partition_point(|&bound| bound < microseconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(microseconds, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for microseconds in [0, 250, 251, 5_000_000, 5_000_001] {
            histogram.observe(microseconds);
        }
        let counts = histogram.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        assert_eq!((counts[0], counts[1], counts[12], counts[13]), (2, 1, 1, 1));
        assert_eq!(histogram.sum.load(Relaxed), 10_000_502);
    }
}
