//! In which keys two services or backends differ. Pure. Each takes its type apart, so that no key is forgotten.

mod probe;
mod protection;
mod proxy;

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::duration;
use crate::model::preview::KeyChange;
use crate::model::{Backend, Config, HealthCheck, Nat, NatSource, Service, Tunnel, Undeclared};

/// The keys of two files that differ and are of no service.
pub(super) fn of_node(old: &Config, new: &Config) -> Vec<KeyChange> {
    protection::of_node(old.protection.as_ref(), new.protection.as_ref())
}

/// The keys of two services that differ, but for their backends.
pub(super) fn of_service(old: &Service, new: &Service) -> Vec<KeyChange> {
    let mut changes = differing(&texts(old), &texts(new));
    changes.extend(protection::of_service(old.protection.as_ref(), new.protection.as_ref()));
    changes
}

/// The keys of two backends that differ.
pub(super) fn of_backend(old: &Backend, new: &Backend) -> Vec<KeyChange> {
    let texts = |backend: &Backend| {
        let Backend {
            name,
            address,
            host,
            weight,
            state,
            role,
            leaving: _,
        } = backend;
        vec![
            ("name", name.to_string().into()),
            ("address", site(*address, host.as_deref()).into()),
            ("weight", weight.to_string().into()),
            ("state", state.label().into()),
            ("role", role.label().into()),
        ]
    };
    differing(&texts(old), &texts(new))
}

/// As the file has it, and what that means.
fn site(address: SocketAddr, host: Option<&str>) -> String {
    match host {
        Some(host) => format!("{host}:{} ({})", address.port(), address.ip()),
        None => address.to_string(),
    }
}

const NOT_SET: &str = "not set";

type Texts = Vec<(&'static str, Said)>;

/// What a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    shown: String,
    /// What nobody is to see, and is compared all the same.
    hidden: String,
}

impl From<String> for Said {
    fn from(shown: String) -> Self {
        let hidden = String::new();
        Self { shown, hidden }
    }
}

impl From<&str> for Said {
    fn from(shown: &str) -> Self {
        shown.to_owned().into()
    }
}

/// What is the same in both is left out; what one does not have is not set there.
fn differing(old: &Texts, new: &Texts) -> Vec<KeyChange> {
    let added = new.iter().filter(|(key, _)| !old.iter().any(|(known, _)| known == key));
    let keys: Vec<_> = old.iter().chain(added).map(|(key, _)| *key).collect();
    let of = |texts: &Texts, key| {
        let said = texts.iter().find(|(known, _)| *known == key);
        said.map_or_else(|| NOT_SET.into(), |(_, said)| said.clone())
    };
    let differing = keys.into_iter().filter_map(|key| {
        let (from, to): (Said, Said) = (of(old, key), of(new, key));
        (from != to).then_some(KeyChange {
            key,
            from: from.shown,
            to: to.shown,
        })
    });
    differing.collect()
}

fn texts(service: &Service) -> Texts {
    let Service {
        name: _,
        vips,
        protocol,
        mode,
        balance,
        table_size,
        nat: Nat { source, ports },
        tunnel: Tunnel { source_v4, source_v6 },
        idle_timeout,
        drain_timeout,
        track,
        undeclared,
        proxy: said,
        // Counted rather than shown: see `of_service`.
        protection: _,
        health:
            HealthCheck {
                kind,
                via,
                interval,
                timeout,
                rise,
                fall,
                slow_start,
                quorum,
            },
        backends: _,
        named,
    } = service;
    let tunnel = format!(
        "{}/{}, {}/{}",
        source_v4.0,
        32 - source_v4.1,
        source_v6.0,
        128 - source_v6.1
    );
    let or = |word: &str, limit: Option<Duration>| limit.map_or_else(|| word.to_owned(), duration::format);
    let mut texts = vec![
        ("address", list(vips).into()),
        ("protocol", protocol.label().into()),
        ("mode", mode.label().into()),
        ("balance", balance.label().into()),
        ("table-size", table_size.slots().to_string().into()),
        ("drain-timeout", or("never", *drain_timeout).into()),
        ("idle-timeout", duration::format(*idle_timeout).into()),
        ("track", track.to_string().into()),
        ("undeclared", undeclared.map_or(NOT_SET, Undeclared::label).into()),
        ("steer-challenges", service.steers_challenges().to_string().into()),
        ("nat.source", source_text(source).into()),
        ("nat.ports", ports.to_string().into()),
        ("tunnel.source", tunnel.into()),
    ];
    if !named.is_empty() {
        let named: Vec<_> = named.iter().map(|backend| &*backend.name).collect();
        texts.push(("without an address", named.join(", ").into()));
    }
    texts.extend(proxy::texts(said.as_deref().filter(|_| service.is_proxied())));
    texts.extend(probe::texts(kind));
    texts.extend([
        ("health.via", via.label().into()),
        ("health.interval", duration::format(*interval).into()),
        ("health.timeout", duration::format(*timeout).into()),
        ("health.rise", rise.to_string().into()),
        ("health.fall", fall.to_string().into()),
        ("health.slow-start", or(NOT_SET, *slow_start).into()),
        ("health.quorum", quorum.to_string().into()),
    ]);
    texts
}

fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn source_text(source: &NatSource) -> String {
    match source {
        NatSource::Auto => "auto".to_owned(),
        NatSource::Client => "client".to_owned(),
        NatSource::Floating(addresses) => list(addresses),
    }
}
