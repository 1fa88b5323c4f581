//! In which keys two services or backends differ. Pure. Each takes its type apart, so that no key is forgotten.

mod probe;

use std::fmt::Display;
use std::time::Duration;

use crate::config::duration;
use crate::model::preview::KeyChange;
use crate::model::{Backend, HealthCheck, Nat, NatSource, Service, Tunnel, Undeclared};

/// The keys of two services that differ, but for their backends.
pub(super) fn of_service(old: &Service, new: &Service) -> Vec<KeyChange> {
    let mut keys = differing(&texts(old), &texts(new));
    let told = |key: &KeyChange| key.key.starts_with("health.");
    if old.health.kind != new.health.kind && !keys.iter().any(told) {
        // All that is left is what is not shown.
        keys.push(KeyChange {
            key: "health.headers",
            from: "other values".to_owned(),
            to: "other values".to_owned(),
        });
    }
    keys
}

/// The keys of two backends that differ.
pub(super) fn of_backend(old: &Backend, new: &Backend) -> Vec<KeyChange> {
    let texts = |backend: &Backend| {
        let Backend {
            name,
            address,
            weight,
            state,
            leaving: _,
        } = backend;
        vec![
            ("name", name.to_string()),
            ("address", address.to_string()),
            ("weight", weight.to_string()),
            ("state", state.label().to_owned()),
        ]
    };
    differing(&texts(old), &texts(new))
}

const NOT_SET: &str = "not set";

type Texts = Vec<(&'static str, String)>;

/// What is the same in both is left out; what one does not have is not set there.
fn differing(old: &Texts, new: &Texts) -> Vec<KeyChange> {
    let added = new.iter().filter(|(key, _)| !old.iter().any(|(known, _)| known == key));
    let keys: Vec<_> = old.iter().chain(added).map(|(key, _)| *key).collect();
    let of = |texts: &Texts, key| {
        let text = texts.iter().find(|(known, _)| *known == key);
        text.map_or_else(|| NOT_SET.to_owned(), |(_, text)| text.clone())
    };
    let change = |key| KeyChange {
        key,
        from: of(old, key),
        to: of(new, key),
    };
    keys.into_iter()
        .map(change)
        .filter(|change| change.from != change.to)
        .collect()
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
        health:
            HealthCheck {
                kind,
                interval,
                timeout,
                rise,
                fall,
            },
        backends: _,
    } = service;
    let tunnel = format!(
        "{}/{}, {}/{}",
        source_v4.0,
        32 - source_v4.1,
        source_v6.0,
        128 - source_v6.1
    );
    let or_never = |limit: Option<Duration>| limit.map_or_else(|| "never".to_owned(), duration::format);
    let mut texts = vec![
        ("address", list(vips)),
        ("protocol", protocol.label().to_owned()),
        ("mode", mode.label().to_owned()),
        ("balance", balance.label().to_owned()),
        ("table-size", table_size.slots().to_string()),
        ("drain-timeout", or_never(*drain_timeout)),
        ("idle-timeout", duration::format(*idle_timeout)),
        ("track", track.to_string()),
        ("undeclared", undeclared_text(*undeclared).to_owned()),
        ("nat.source", source_text(source)),
        ("nat.ports", ports.to_string()),
        ("tunnel.source", tunnel),
    ];
    texts.extend(probe::texts(kind));
    texts.extend([
        ("health.interval", duration::format(*interval)),
        ("health.timeout", duration::format(*timeout)),
        ("health.rise", rise.to_string()),
        ("health.fall", fall.to_string()),
    ]);
    texts
}

fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const fn undeclared_text(undeclared: Option<Undeclared>) -> &'static str {
    match undeclared {
        Some(Undeclared::Drop) => "drop",
        Some(Undeclared::Pass) => "pass",
        None => NOT_SET,
    }
}

fn source_text(source: &NatSource) -> String {
    match source {
        NatSource::Auto => "auto".to_owned(),
        NatSource::Client => "client".to_owned(),
        NatSource::Floating(addresses) => list(addresses),
    }
}
