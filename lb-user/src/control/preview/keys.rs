//! In which keys two services or backends differ. Pure. Each takes its type apart, so that no key is forgotten.

use std::fmt::Display;
use std::time::Duration;

use crate::config::duration;
use crate::model::preview::KeyChange;
use crate::model::{Backend, HealthCheck, HealthKind, Nat, NatSource, Service, Tunnel, Undeclared};

/// The keys of two services that differ, but for their backends.
pub(super) fn of_service(old: &Service, new: &Service) -> Vec<KeyChange> {
    differing(texts(old), texts(new))
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
    differing(texts(old), texts(new))
}

const NOT_SET: &str = "not set";

type Texts = Vec<(&'static str, String)>;

fn differing(old: Texts, new: Texts) -> Vec<KeyChange> {
    let both = old.into_iter().zip(new);
    both.filter(|((_, old), (_, new))| old != new)
        .map(|((key, from), (_, to))| KeyChange { key, from, to })
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
    let (kind, path) = match kind {
        HealthKind::Tcp => ("tcp", NOT_SET),
        HealthKind::Http(probe) => ("http", probe.path.as_str()),
        HealthKind::None => ("none", NOT_SET),
    };
    let tunnel = format!(
        "{}/{}, {}/{}",
        source_v4.0,
        32 - source_v4.1,
        source_v6.0,
        128 - source_v6.1
    );
    let or_never = |limit: Option<Duration>| limit.map_or_else(|| "never".to_owned(), duration::format);
    vec![
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
        ("health.kind", kind.to_owned()),
        ("health.path", path.to_owned()),
        ("health.interval", duration::format(*interval)),
        ("health.timeout", duration::format(*timeout)),
        ("health.rise", rise.to_string()),
        ("health.fall", fall.to_string()),
    ]
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
