//! What the proxy tells others of its traffic, and what it is told of backends: shared between its threads, the
//! reconciler, status and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Config, Health, MemberKey, Role};

/// What the proxy has to know: the configuration in force, and who may serve.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// With overrides, hosts' addresses, and backends that are leaving.
    pub config: Arc<Config>,
    /// By name, of every service at the proxy and every pool. Members in the order of the service's backends.
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

/// Those of a pool who get what is new: primaries that are up, else backups that are; where nobody is up, those of whom
/// nothing is known yet, in the same order.
#[must_use]
pub fn serving(members: &[PoolMember]) -> Vec<&PoolMember> {
    let ranks = [
        (Health::Up, Role::Primary),
        (Health::Up, Role::Backup),
        (Health::Unknown, Role::Primary),
        (Health::Unknown, Role::Backup),
    ];
    let of = |(health, role)| -> Vec<&PoolMember> {
        let takes = |m: &&PoolMember| !m.cut && m.weight > 0 && m.health == health && m.role == role;
        members.iter().filter(takes).collect()
    };
    ranks
        .into_iter()
        .map(of)
        .find(|found| !found.is_empty())
        .unwrap_or_default()
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

    /// The counters of a backend, if anybody has entered it.
    #[must_use]
    pub fn known(&self, key: &MemberKey) -> Option<Arc<BackendTraffic>> {
        let backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.get(key).cloned()
    }

    /// Requests under way at a backend.
    #[must_use]
    pub fn active(&self, key: &MemberKey) -> u32 {
        self.known(key).map_or(0, |traffic| traffic.active.load(Relaxed))
    }

    /// The counters of a service, the same for everybody.
    #[must_use]
    pub fn service(&self, name: &Arc<str>) -> Arc<ServiceTraffic> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(services.entry(Arc::clone(name)).or_default())
    }

    /// Clients' connections that are open: all of them, and those that were opened when the proxy was finishing already.
    #[must_use]
    pub fn open(&self) -> (u32, u32) {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |count: fn(&ServiceTraffic) -> &AtomicU32| services.values().map(|s| count(s).load(Relaxed)).sum();
        (sum(|service| &service.connections), sum(|service| &service.late))
    }

    /// Forgets who is not in `config` and serves nothing any more.
    pub fn retain(&self, config: &Config) {
        let members = config
            .at_proxy()
            .flat_map(|s| s.backends.iter().map(move |b| MemberKey::of(s, b)));
        let known: BTreeSet<MemberKey> = members.collect();
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|key, traffic| known.contains(key) || traffic.active.load(Relaxed) > 0);
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|name, traffic| {
            config.at_proxy().any(|service| service.name == *name) || traffic.connections.load(Relaxed) > 0
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
    /// Those of them that were opened when the proxy was finishing already.
    pub late: AtomicU32,
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
    /// Until when its certificates are valid, in seconds since 1970, by the name that each is for first.
    certificates: Mutex<BTreeMap<Arc<str>, u64>>,
    /// From a request's head to its response's end.
    pub latency: Histogram,
}

impl ServiceTraffic {
    /// It shows these certificates: of each, the name that it is for first, and until when it is valid, in seconds since 1970.
    pub fn set_certificates(&self, certificates: impl IntoIterator<Item = (Arc<str>, u64)>) {
        let mut by_name = BTreeMap::new();
        for (name, not_after) in certificates {
            // One of several for the same name, as of RSA beside ECDSA: the one that ends first.
            let kept = by_name.entry(name).or_insert(not_after);
            *kept = not_after.min(*kept);
        }
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = by_name;
    }

    /// Until when its certificates are valid, by name.
    #[must_use]
    pub fn certificates(&self) -> Vec<(Arc<str>, u64)> {
        let certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        certificates
            .iter()
            .map(|(name, &not_after)| (Arc::clone(name), not_after))
            .collect()
    }
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

    fn member(last: u8, health: Health, role: Role) -> PoolMember {
        let address = ([10, 0, 0, last], 80).into();
        PoolMember {
            key: MemberKey {
                service: "web".into(),
                backend: address,
            },
            name: format!("web{last}").into(),
            address,
            host: None,
            weight: 1,
            role,
            health,
            cut: false,
        }
    }

    #[test]
    fn those_serve_who_are_up_then_backups_then_who_is_not_known() {
        let mut pool = [
            member(1, Health::Up, Role::Primary),
            member(2, Health::Up, Role::Primary),
            member(3, Health::Up, Role::Backup),
            member(4, Health::Unknown, Role::Primary),
            member(5, Health::Down, Role::Primary),
            member(6, Health::Unknown, Role::Backup),
        ];
        let mut serve = |change: &dyn Fn(&mut [PoolMember])| -> Vec<u8> {
            change(&mut pool);
            let serving = serving(&pool);
            serving.iter().map(|m| m.name.as_bytes()[3] - b'0').collect()
        };
        assert_eq!(serve(&|_| {}), [1, 2]);
        assert_eq!(serve(&|pool| pool[0].weight = 0), [2]);
        assert_eq!(serve(&|pool| pool[1].cut = true), [3]);
        assert_eq!(serve(&|pool| pool[2].health = Health::Down), [4]);
        assert_eq!(serve(&|pool| pool[3].health = Health::Down), [6]);
        assert_eq!(serve(&|pool| pool[5].cut = true), [0; 0]);
    }

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
