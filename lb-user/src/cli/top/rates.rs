//! Rates: what two looks at the counters tell of the time between them. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::Duration;

use crate::api::types::{BackendStatus, Refused, Status};

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Packets that were forwarded to backends; none with the proxy.
    pub(super) packets: f64,
    /// Their bits. With the proxy: those of requests and responses.
    pub(super) bits: f64,
    /// TCP: attempts of clients to open a connection. Always 0 for UDP outside of `nat`. With the proxy: requests.
    pub(super) flows: f64,
}

impl AddAssign for Rates {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bits += other.bits;
        self.flows += other.flows;
    }
}

/// Packets per second that protection has refused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RefusedRates {
    /// They were dropped.
    pub(super) dropped: f64,
    /// They would have been, while that was only observed.
    pub(super) observed: f64,
}

impl AddAssign for RefusedRates {
    fn add_assign(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.observed += other.observed;
    }
}

/// A backend among all: its service's name and its address.
pub(super) type Key = (String, SocketAddr);

/// What happened between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Between {
    pub(super) backends: HashMap<Key, Rates>,
    /// Packets per second by drop reason.
    pub(super) drops: BTreeMap<String, f64>,
    /// Of all backends.
    pub(super) total: Rates,
    /// By the name of the service, of those that something protects.
    pub(super) refused: HashMap<String, RefusedRates>,
    /// To all of them, and to VIPs that were for no service.
    pub(super) refused_total: RefusedRates,
}

impl Between {
    /// From `old` to `new`, which was seen `elapsed` later. Counters that have begun anew count from 0; those that are new
    /// have no rate yet.
    pub(super) fn new(old: &Status, new: &Status, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let mut between = Self::default();
        if seconds <= 0.0 {
            return between;
        }
        let rate = |old: u64, new: u64| new.checked_sub(old).unwrap_or(new) as f64 / seconds;
        let before: HashMap<Key, &BackendStatus> = backends(old).collect();
        for (key, backend) in backends(new) {
            let Some(old) = before.get(&key) else { continue };
            let ((old_bytes, old_flows), (bytes, flows)) = (counted(old), counted(backend));
            let rates = Rates {
                packets: rate(old.packets, backend.packets),
                bits: rate(old_bytes, bytes) * 8.0,
                flows: rate(old_flows, flows),
            };
            between.total += rates;
            between.backends.insert(key, rates);
        }
        let refused = |old: &Refused, new: &Refused| RefusedRates {
            dropped: rate(old.dropped.values().sum(), new.dropped.values().sum()),
            observed: rate(old.observed.values().sum(), new.observed.values().sum()),
        };
        let before: HashMap<&str, &Refused> = refusals(old).collect();
        for (name, now) in refusals(new) {
            let Some(old) = before.get(name) else { continue };
            let rates = refused(old, now);
            between.refused_total += rates;
            between.refused.insert(name.to_owned(), rates);
        }
        if let (Some(old), Some(new)) = (&old.protection, &new.protection) {
            between.refused_total += refused(&old.addresses, &new.addresses);
        }
        for (reason, &count) in &new.drops {
            if let Some(&old) = old.drops.get(reason) {
                between.drops.insert(reason.clone(), rate(old, count));
            }
        }
        between
    }

    pub(super) fn of(&self, service: &str, backend: SocketAddr) -> Rates {
        let key = (service.to_owned(), backend);
        self.backends.get(&key).copied().unwrap_or_default()
    }
}

/// Bytes, and flows or requests.
fn counted(backend: &BackendStatus) -> (u64, u64) {
    match backend.proxy {
        Some(proxy) => (proxy.received.saturating_add(proxy.sent), proxy.requests),
        None => (backend.bytes, backend.new_flows),
    }
}

fn backends(status: &Status) -> impl Iterator<Item = (Key, &BackendStatus)> {
    status.services.iter().flat_map(|service| {
        let key = |backend: &BackendStatus| (service.name.clone(), backend.address);
        service.backends.iter().map(move |backend| (key(backend), backend))
    })
}

fn refusals(status: &Status) -> impl Iterator<Item = (&str, &Refused)> {
    let each = status.services.iter();
    each.filter_map(|service| Some((service.name.as_str(), &service.protection.as_ref()?.refused)))
}

/// A number in at most five characters: `0`, `7.5`, `980`, `12.3k`, `4.5M`.
pub(super) fn short(number: f64) -> String {
    if number < 9.95 && number.fract() >= 0.05 {
        return format!("{number:.1}");
    }
    if number < 999.5 {
        return format!("{number:.0}");
    }
    let mut number = number;
    for unit in ["k", "M", "G", "T", "P"] {
        number /= 1000.0;
        if number < 99.95 {
            return format!("{number:.1}{unit}");
        }
        if number < 999.5 {
            return format!("{number:.0}{unit}");
        }
    }
    "lots".to_owned()
}
