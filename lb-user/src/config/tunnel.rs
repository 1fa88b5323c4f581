//! `[service.tunnel]`: read whatever the mode, so that one word switches a service between modes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address;
use super::fault::{Checked, Span, fault};
use super::raw::{Table, Value, excerpt};
use super::schema;
use crate::model::Tunnel;

/// Most bits of a source that vary with the flow.
const MOST_VARIED: u8 = 32;

/// What `service` says of it.
pub(super) fn tunnel(service: &Table<'_>) -> Checked<Tunnel> {
    let table = service
        .get("tunnel")
        .map(|tunnel| tunnel.table(&schema::TUNNEL))
        .transpose()?;
    let source = table.as_ref().and_then(|table| table.get("source"));
    source.map_or(Ok(Tunnel::default()), |value| sources(&value))
}

const FORMS: &str =
    "source is a prefix, or one of each family: \"172.16.0.0/16\", [\"172.16.0.0/16\", \"2001:db8::/96\"]";

fn sources(value: &Value<'_>) -> Checked<Tunnel> {
    let mut tunnel = Tunnel::default();
    let mut found: Vec<(Span, IpAddr)> = Vec::new();
    for (span, text) in value.string_or_strings().map_err(|fault| fault.hint(FORMS))? {
        let (base, varied) = prefix(&span, text)?;
        if let Some((first, _)) = found.iter().find(|(_, other)| other.is_ipv4() == base.is_ipv4()) {
            let message = format!("two {} prefixes in `source`", address::family(base));
            return Err(fault(span, message)
                .other(first.clone(), "first here")
                .hint("at most one of each family"));
        }
        match base {
            IpAddr::V4(v4) => tunnel.source_v4 = (v4, varied),
            IpAddr::V6(v6) => tunnel.source_v6 = (v6, varied),
        }
        found.push((span, base));
    }
    if found.is_empty() {
        return Err(value.fault("no prefix is given").hint(FORMS));
    }
    Ok(tunnel)
}

/// The first address of a prefix, and how many of its bits are free.
fn prefix(span: &Span, text: &str) -> Checked<(IpAddr, u8)> {
    let wrong = |message: String| fault(span.clone(), message);
    let none = || wrong(format!("\"{}\" is not a prefix", excerpt(text)));
    let Some((ip, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(ip) => none().hint(format!("for this address alone write \"{ip}/{}\"", bits(ip))),
            Err(_) => none().hint(FORMS),
        });
    };
    let ip: IpAddr = ip.parse().map_err(|_| none().hint(FORMS))?;
    let length = Some(length).filter(|length| !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()));
    let length: u8 = length
        .and_then(|length| length.parse().ok())
        .filter(|&length| length <= bits(ip))
        .ok_or_else(|| {
            none().hint(format!(
                "the length of an {} prefix is at most {}",
                address::family(ip),
                bits(ip)
            ))
        })?;
    let varied = bits(ip) - length;
    let (first, last) = ends(ip, varied);
    if first != ip {
        let message = format!("{} has bits behind its prefix", excerpt(text));
        let hint = format!(
            "write \"{first}/{length}\", or \"{ip}/{}\" for this address alone",
            bits(ip)
        );
        return Err(wrong(message).hint(hint));
    }
    if varied > MOST_VARIED {
        let message = format!("{ip}/{length} leaves {varied} bits to the flow, and at most {MOST_VARIED} vary");
        let hint = format!("take a part of it: \"{ip}/{}\"", bits(ip) - MOST_VARIED);
        return Err(wrong(message).hint(hint));
    }
    for ip in [first, last] {
        if let Some(what) = address::never_a_source(ip) {
            let message = format!("{} contains {what}", excerpt(text));
            return Err(wrong(message).hint("packets come from unicast addresses"));
        }
    }
    Ok((ip, varied))
}

const fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first and the last address that differ from `ip` in the lowest `varied` bits.
fn ends(ip: IpAddr, varied: u8) -> (IpAddr, IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let free = u32::MAX.checked_shr(32 - u32::from(varied)).unwrap_or(0);
            let ip = u32::from(ip);
            (Ipv4Addr::from(ip & !free).into(), Ipv4Addr::from(ip | free).into())
        }
        IpAddr::V6(ip) => {
            let free = u128::MAX.checked_shr(128 - u32::from(varied)).unwrap_or(0);
            let ip = u128::from(ip);
            (Ipv6Addr::from(ip & !free).into(), Ipv6Addr::from(ip | free).into())
        }
    }
}
