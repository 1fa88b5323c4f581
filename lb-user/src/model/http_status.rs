//! What the proxy has done, as plain numbers of one moment: what metrics are made of.
//!
//! Counters are read one by one, so a request that ends meanwhile may be in some of them only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::traffic::{BackendTraffic, Histogram, ServiceTraffic, Traffic};
use super::{Config, MemberKey, Service};

/// A service of the proxy, or a pool. Everything counts from the daemon's start, or from when it came into the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceHttp {
    /// Its name.
    pub name: Arc<str>,
    /// Requests that waited for a backend of it.
    pub queued: u64,
    /// Requests that wait for one now.
    pub waiting: u32,
    /// What clients have done; `None` of a pool, which has none.
    pub clients: Option<ClientsHttp>,
    /// In file order.
    pub backends: Vec<BackendHttp>,
}

/// As [`ServiceTraffic`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientsHttp {
    /// Connections that are open.
    pub connections: u32,
    /// Connections that were taken.
    pub accepted: u64,
    /// Connections that were refused for their number.
    pub refused: u64,
    /// Requests by version: HTTP/1 and HTTP/2.
    pub requests: [u64; 2],
    /// Responses by the hundreds of their status: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Requests that were refused for what they are.
    pub invalid: u64,
    /// Bytes received from clients.
    pub received: u64,
    /// Bytes sent to clients.
    pub sent: u64,
    /// From a request's head to its response's end.
    pub latency: Durations,
    /// `None`: plain.
    pub tls: Option<TlsHttp>,
    /// Lines of the access log that were lost; `None`: there is no log.
    pub log_lost: Option<u64>,
}

/// TLS with clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsHttp {
    /// Handshakes from anew.
    pub full: u64,
    /// Handshakes that resumed a session.
    pub resumed: u64,
    /// Handshakes that failed.
    pub failed: u64,
    /// Of each name that a certificate is for first, until when that is valid, in seconds since 1970.
    pub certificates: Vec<(Arc<str>, u64)>,
}

/// As [`BackendTraffic`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackendHttp {
    /// Its name within the service.
    pub name: Arc<str>,
    /// Requests under way.
    pub active: u32,
    /// Connections to it, idle ones too.
    pub connections: u32,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connect_errors: u64,
    /// Requests sent to it, repeated ones too.
    pub requests: u64,
    /// Responses by the hundreds of their status: 1xx to 5xx.
    pub responses: [u64; 5],
    /// Requests that it did not answer, or not to the end.
    pub failures: u64,
    /// Requests that were sent to another one after it failed.
    pub retries: u64,
    /// Times that it was set aside.
    pub ejections: u64,
    /// It is set aside.
    pub ejected: bool,
    /// Bytes sent to it.
    pub sent: u64,
    /// Bytes received from it.
    pub received: u64,
    /// From a request's start to its response's head.
    pub latency: Durations,
}

/// A [`Histogram`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// By [`Histogram::BOUNDS`], each without those before; the last has no bound.
    pub buckets: [u64; Histogram::BOUNDS.len() + 1],
    /// In microseconds.
    pub sum: u64,
}

/// Every service of the proxy, and every pool, in file order.
#[must_use]
pub fn of(traffic: &Traffic, config: &Config) -> Vec<ServiceHttp> {
    let services = config.at_proxy();
    let counted = |service: &Service| {
        let counted = traffic.service(&service.name);
        let backend = |backend| {
            let key = MemberKey::of(service, backend);
            let counted = traffic.known(&key);
            let counted = counted.as_deref().map_or_else(BackendHttp::default, BackendHttp::from);
            BackendHttp {
                name: Arc::clone(&backend.name),
                ..counted
            }
        };
        ServiceHttp {
            name: Arc::clone(&service.name),
            queued: count(&counted.queued),
            waiting: gauge(&counted.waiting),
            clients: (!service.is_pool()).then(|| ClientsHttp::of(service, &counted)),
            backends: service.backends.iter().map(backend).collect(),
        }
    };
    services.map(counted).collect()
}

impl ClientsHttp {
    fn of(service: &Service, counted: &ServiceTraffic) -> Self {
        let proxy = service.proxy.as_deref();
        let has_tls = proxy.is_some_and(|proxy| proxy.tls.is_some());
        let has_log = proxy.is_some_and(|proxy| proxy.http.access_log.is_some());
        Self {
            connections: gauge(&counted.connections),
            accepted: count(&counted.accepted),
            refused: count(&counted.refused),
            requests: counted.requests.each_ref().map(count),
            responses: counted.responses.each_ref().map(count),
            invalid: count(&counted.invalid),
            received: count(&counted.received),
            sent: count(&counted.sent),
            latency: Durations::from(&counted.latency),
            tls: has_tls.then(|| TlsHttp {
                full: count(&counted.handshakes),
                resumed: count(&counted.resumed),
                failed: count(&counted.handshake_errors),
                certificates: counted.certificates(),
            }),
            log_lost: has_log.then(|| count(&counted.log_lost)),
        }
    }
}

impl From<&BackendTraffic> for BackendHttp {
    fn from(counted: &BackendTraffic) -> Self {
        Self {
            name: Arc::default(),
            active: gauge(&counted.active),
            connections: gauge(&counted.connections),
            connects: count(&counted.connects),
            connect_errors: count(&counted.connect_errors),
            requests: count(&counted.requests),
            responses: counted.responses.each_ref().map(count),
            failures: count(&counted.failures),
            retries: count(&counted.retries),
            ejections: count(&counted.ejections),
            ejected: gauge(&counted.ejected) != 0,
            sent: count(&counted.sent),
            received: count(&counted.received),
            latency: Durations::from(&counted.latency),
        }
    }
}

impl From<&Histogram> for Durations {
    fn from(counted: &Histogram) -> Self {
        Self {
            buckets: counted.buckets.each_ref().map(count),
            sum: count(&counted.sum),
        }
    }
}

impl Durations {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn gauge(gauge: &AtomicU32) -> u32 {
    gauge.load(Relaxed)
}
