//! Addresses, with a port, with many and without, and what makes one useless.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::fault::{Checked, Fault, Span, fault};
use super::raw::excerpt;
use crate::model::{PortRange, Ports, Prefix, Vip};

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Vip,
    Backend,
    Listen,
    /// A node of `[peers]`.
    Peer,
}

/// Reads `192.0.2.10:80` or `[2001:db8::10]:80`.
pub(super) fn parse(span: &Span, text: &str, role: Role) -> Checked<SocketAddr> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(unreadable(span, text, role));
    };
    if address.port() == 0 {
        return Err(fault(span.clone(), "port 0 is not a port").hint("ports are 1 to 65535"));
    }
    usable(span, address, text, role)?;
    Ok(address)
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Address(SocketAddr),
    /// A host, and the port there.
    Host(Arc<str>, u16),
}

/// Reads a backend's address: what [`parse`] does, or `web1.example:80`.
pub(super) fn backend(span: &Span, text: &str) -> Checked<Site> {
    let named = text.rsplit_once(':').filter(|(host, _)| looks_like_a_host(host));
    let Some((host, port)) = named.filter(|_| text.parse::<SocketAddr>().is_err()) else {
        return parse(span, text, Role::Backend).map(Site::Address);
    };
    let wrong = |message: String| fault(span.clone(), message);
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let Some(port) = port.parse().ok().filter(|port| digits && *port > 0) else {
        return Err(wrong(format!("\"{}\" is not a port", excerpt(port))).hint("ports are 1 to 65535"));
    };
    let label = |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let mut labels = host.split('.');
    if host.len() > 253 || !labels.clone().all(label) || labels.next_back().is_some_and(numeric) {
        let message = format!("\"{}\" is not a host name", excerpt(host));
        return Err(wrong(message)
            .hint("parts of letters, digits and hyphens, with dots between them, as in \"web1.example:80\""));
    }
    Ok(Site::Host(host.into(), port))
}

/// Letters, and nothing that no host name has.
fn looks_like_a_host(text: &str) -> bool {
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    text.bytes().all(in_name) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Reads a VIP: what [`parse`] does, or with ports as in `192.0.2.10:8000-8999`, or with all of them, `192.0.2.10:*`.
pub(super) fn vip(span: &Span, text: &str) -> Checked<Vip> {
    let many = text
        .rsplit_once(':')
        .filter(|(_, ports)| *ports == "*" || ports.contains('-'));
    let Some((host, ports)) = many else {
        return parse(span, text, Role::Vip).map(Vip::from);
    };
    let Ok(address) = format!("{host}:1").parse::<SocketAddr>() else {
        return Err(unreadable(span, text, Role::Vip));
    };
    usable(span, address, text, Role::Vip)?;
    let ports = match ports {
        "*" => Ports::All,
        _ => Ports::Range(range(span, host, ports)?),
    };
    Ok(Vip {
        ip: address.ip(),
        ports,
    })
}

/// Reads `20000-29999`, which may follow a `host` and a colon.
pub(super) fn range(span: &Span, host: &str, text: &str) -> Checked<PortRange> {
    let wrong = |message: String| fault(span.clone(), message);
    let whole = |range: String| match host {
        "" => range,
        _ => format!("{}:{range}", excerpt(host)),
    };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((first, last)) = text.split_once('-').filter(|(a, b)| number(a) && number(b)) else {
        let form = whole("20000-29999".to_owned());
        let hint = format!("write FIRST-LAST in quotes, as in \"{form}\"");
        return Err(wrong(format!("\"{}\" is not a range of ports", excerpt(text))).hint(hint));
    };
    let port = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| wrong(format!("port {} is not a port", excerpt(text))).hint("ports are 1 to 65535"))
    };
    let (first, last) = (port(first)?, port(last)?);
    PortRange::new(first, last).ok_or_else(|| {
        let turned = whole(format!("{last}-{first}"));
        wrong(format!("the range {first}-{last} ends before it begins")).hint(format!("write \"{turned}\""))
    })
}

/// Is this, which stands as `text`, an address that is of use for its role?
fn usable(span: &Span, address: SocketAddr, text: &str, role: Role) -> Checked<()> {
    let wrong = |message: String| fault(span.clone(), message);
    let ports = excerpt(text.rsplit_once(':').map_or("", |(_, ports)| ports));
    if let (SocketAddr::V6(v6), true) = (address, text.contains('%')) {
        let hint = format!("write \"[{}]:{ports}\"", v6.ip());
        return Err(wrong("an address with a zone is not available in this version".to_owned()).hint(hint));
    }
    if let Some(v4) = mapped(address.ip()) {
        let hint = format!("write it as IPv4: \"{v4}:{ports}\"");
        return Err(wrong(format!("{} is an IPv4 address in IPv6 clothes", address.ip())).hint(hint));
    }
    let here = role == Role::Listen && (address.ip().is_unspecified() || address.ip().is_loopback());
    if let Some(kind) = unusable(address.ip()).filter(|_| !here) {
        let hint = match role {
            Role::Vip => "a VIP is a unicast address that routers or neighbours send to this node",
            Role::Backend => "a backend is another machine, with a unicast address",
            Role::Peer => "name the address by which the other nodes reach this one",
            Role::Listen => "name an address of this machine, or an unspecified one for all of them",
        };
        return Err(wrong(format!("{} is {kind} address", address.ip())).hint(hint));
    }
    Ok(())
}

/// Reads `10.0.0.250`: a unicast address without a port.
pub(super) fn alone(span: &Span, text: &str) -> Checked<IpAddr> {
    let wrong = |message: String| fault(span.clone(), message);
    let Ok(ip) = text.parse::<IpAddr>() else {
        let within = text.trim_matches(['[', ']']).split(['/', '%']).next().unwrap_or("");
        let ip = text.parse().map(|address: SocketAddr| address.ip()).or(within.parse());
        return Err(match ip {
            Ok(ip) => wrong(format!("\"{}\" is not an address alone", excerpt(text))).hint(format!("write \"{ip}\"")),
            Err(_) => wrong(format!("\"{}\" is not an IP address", excerpt(text)))
                .hint("write \"10.0.0.250\" or \"2001:db8::250\""),
        });
    };
    if let Some(v4) = mapped(ip) {
        return Err(
            wrong(format!("{ip} is an IPv4 address in IPv6 clothes")).hint(format!("write it as IPv4: \"{v4}\""))
        );
    }
    match unusable(ip) {
        Some(kind) => Err(wrong(format!("{ip} is {kind} address")).hint("name a unicast address that others reach")),
        None => Ok(ip),
    }
}

/// Reads `10.0.0.0/8`, or an address by itself: who is meant, with no bits behind the length.
pub(super) fn prefix(span: &Span, text: &str) -> Checked<Prefix> {
    let wrong = |message: String| fault(span.clone(), message);
    let prefix: Prefix = text
        .parse()
        .map_err(|hint: String| wrong(format!("\"{}\" is not a prefix", excerpt(text))).hint(hint))?;
    if let Some(v4) = mapped(prefix.ip) {
        let hint = format!("write it as IPv4, such as \"{v4}\"");
        return Err(wrong(format!("{} is an IPv4 address in IPv6 clothes", prefix.ip)).hint(hint));
    }
    let first = prefix.first();
    if first != prefix.ip {
        let most = if prefix.ip.is_ipv4() { 32 } else { 128 };
        let message = format!("{} has bits behind its prefix", excerpt(text));
        let hint = format!(
            "write \"{first}/{}\", or \"{}/{most}\" for this address alone",
            prefix.length, prefix.ip
        );
        return Err(wrong(message).hint(hint));
    }
    Ok(prefix)
}

/// What makes an address one that no packet may come from.
pub(super) fn never_a_source(ip: IpAddr) -> Option<String> {
    match mapped(ip) {
        Some(_) => Some(format!("{ip}, an IPv4 address in IPv6 clothes")),
        None => unusable(ip).map(|kind| format!("{ip}, {kind} address")),
    }
}

/// What to call the family of an address.
pub(super) const fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn mapped(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
    }
}

fn unusable(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("the unspecified")
    } else if ip.is_loopback() {
        Some("a loopback")
    } else if ip.is_multicast() {
        Some("a multicast")
    } else if matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()) {
        Some("the broadcast")
    } else if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        Some("a link-local")
    } else {
        None
    }
}

fn unreadable(span: &Span, text: &str, role: Role) -> Box<Fault> {
    let (form, port) = match role {
        Role::Vip | Role::Backend => ("write \"192.0.2.10:80\" or \"[2001:db8::10]:80\"", 80),
        Role::Peer => ("write \"10.0.0.2:8473\" or \"[2001:db8::2]:8473\"", 8473),
        Role::Listen => ("write \"127.0.0.1:9465\" or \"[::1]:9465\", or \"\" for none", 9465),
    };
    let wrong = |message: String| fault(span.clone(), message);
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => {
            return wrong(format!("the port of {v4} is missing")).hint(format!("write \"{v4}:{port}\""));
        }
        Ok(IpAddr::V6(v6)) => {
            return wrong(format!("the port of {v6} is missing")).hint(format!("write \"[{v6}]:{port}\""));
        }
        Err(_) => {}
    }
    if let Some((host, port)) = text.rsplit_once(':') {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        if digits && looks_like_a_host(host) {
            let what = match role {
                Role::Vip => "an interface's own address",
                Role::Backend | Role::Listen | Role::Peer => "a host name",
            };
            let message = format!("\"{}\": {what} is not available in this version", excerpt(text));
            return wrong(message).hint(form);
        }
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if digits && (host.parse::<std::net::Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok()) {
            let message = format!("port {} is not a port", excerpt(port));
            return wrong(message).hint("ports are 1 to 65535");
        }
    }
    wrong(format!("\"{}\" is not an IP address with a port", excerpt(text))).hint(form)
}
