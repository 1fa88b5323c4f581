//! `[service.nat]`: read whatever the mode, so that one word switches a service between modes.

use std::net::IpAddr;

use super::address;
use super::fault::{Checked, Fault, Span, fault};
use super::raw::{Table, Value};
use super::schema;
use super::service::Draft;
use crate::model::{Mode, Nat, NatSource, PortRange};

/// Where it is said; the service's header, where it is left to its default.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) source: Span,
    pub(super) ports: Span,
}

/// What `service` says of it.
pub(super) fn nat(service: &Table<'_>) -> Checked<(Nat, Places)> {
    let table = service.get("nat").map(|nat| nat.table(&schema::NAT)).transpose()?;
    let value = |key| table.as_ref().and_then(|table| table.get(key));
    let place = |value: &Option<Value<'_>>| value.as_ref().map_or_else(|| service.span.clone(), Value::span);
    let (said_source, said_ports) = (value("source"), value("ports"));
    let nat = Nat {
        source: said_source.as_ref().map_or(Ok(NatSource::Auto), source)?,
        ports: said_ports.as_ref().map_or(Ok(PortRange::DEFAULT), ports)?,
    };
    let places = Places {
        source: place(&said_source),
        ports: place(&said_ports),
    };
    Ok((nat, places))
}

/// In `nat`, is there a floating source that the backends can answer?
pub(super) fn source_of_family(draft: &Draft) -> Checked<()> {
    let service = &draft.service;
    let (Mode::Nat, NatSource::Floating(addresses)) = (service.mode, &service.nat.source) else {
        return Ok(());
    };
    let (Some(vip), Some(span)) = (service.vips.first(), draft.vips.first()) else {
        return Ok(());
    };
    if addresses.iter().any(|ip| ip.is_ipv4() == vip.ip.is_ipv4()) {
        return Ok(());
    }
    let family = address::family(vip.ip);
    let message = format!("`source` has no {family} address, and this service is {family}");
    Err(fault(draft.nat.source.clone(), message)
        .other(span.clone(), "its VIP")
        .hint("add one, or let the node use its own: source = \"auto\""))
}

/// Ports below are those of servers: programs bind them by their number.
const LOWEST: u16 = 1024;

/// A warning where ports of the node may be those of its own servers.
pub(super) fn low_ports(draft: &Draft) -> Option<Box<Fault>> {
    let ports = draft.service.nat_ports().filter(|ports| ports.first() < LOWEST)?;
    let message = format!("ports below {LOWEST} are those of services of the node itself, and {ports} has some");
    let hint = format!("what comes for them may be taken for a backend's answer: begin the range at {LOWEST} or above");
    Some(fault(draft.nat.ports.clone(), message).hint(hint))
}

fn source(value: &Value<'_>) -> Checked<NatSource> {
    const FORMS: &str = "source is \"auto\", \"client\", or addresses: [\"10.0.0.250\"]";
    let words = [("auto", &NatSource::Auto), ("client", &NatSource::Client)];
    let texts = match value.string() {
        Ok(word) if !word.contains(['.', ':']) => {
            return value.choice(&words).cloned().map_err(|fault| fault.hint(FORMS));
        }
        Ok(address) => vec![(value.span(), address)],
        Err(_) => value.string_or_strings().map_err(|fault| fault.hint(FORMS))?,
    };
    let mut found: Vec<(Span, IpAddr)> = Vec::new();
    for (span, text) in texts {
        if words.iter().any(|(word, _)| *word == text) {
            let message = format!("\"{text}\" does not stand in a list");
            return Err(fault(span, message).hint(format!("write source = \"{text}\"")));
        }
        let ip = address::alone(&span, text)?;
        if let Some((first, other)) = found.iter().find(|(_, other)| other.is_ipv4() == ip.is_ipv4()) {
            let message = if *other == ip {
                format!("{ip} stands here twice")
            } else {
                format!("two {} addresses in `source`, {other} and {ip}", address::family(ip))
            };
            return Err(fault(span, message)
                .other(first.clone(), "first here")
                .hint("at most one of each family"));
        }
        found.push((span, ip));
    }
    if found.is_empty() {
        return Err(value.fault("no address is given").hint(FORMS));
    }
    Ok(NatSource::Floating(found.into_iter().map(|(_, ip)| ip).collect()))
}

fn ports(value: &Value<'_>) -> Checked<PortRange> {
    const FORM: &str = "write FIRST-LAST in quotes, as in \"20000-29999\"";
    let text = value.string().map_err(|fault| fault.hint(FORM))?;
    address::range(&value.span(), "", text)
}
