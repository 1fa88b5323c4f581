//! The queries of `denies`, `explain`, `plan` and `sd`, as both sides write and read it. Strict: what is not known is refused.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::percent;
use super::types::Problem;
use crate::model::Protocol;
use crate::model::acme::REASONS;
use crate::model::status::FlowQuery;

const PROTOCOL: &str = "protocol";
const SOURCE: &str = "source";
const DESTINATION: &str = "destination";

/// The only parameter of `plan`: what errors call the text.
const FILE: &str = "file";

/// The only parameter of what changes `denies`: by whom.
const REASON: &str = "reason";
const SERVICE: &str = "service";

/// What a text without a name is called.
const NAMELESS: &str = "the configuration";

/// Reads what [`write_file`] has written, or nothing.
pub(super) fn file(query: &str) -> Result<String, Problem> {
    Ok(only(FILE, query)?.unwrap_or_else(|| NAMELESS.to_owned()))
}

/// Reads what [`write_service`] has written.
pub(super) fn service(query: &str) -> Result<Option<String>, Problem> {
    only(SERVICE, query)
}

/// Such a reason; without one, that it is not said.
pub(super) fn reason(query: &str) -> Result<u8, Problem> {
    let Some(said) = only(REASON, query)? else { return Ok(0) };
    let known = REASONS.iter().find(|(word, _)| *word == said);
    known.map(|(_, number)| *number).ok_or_else(|| {
        let words = REASONS.map(|(word, _)| word).join(", ");
        Problem::parameter(REASON, format!("{REASON} is one of: {words}"))
    })
}

/// The value of the only parameter that there may be.
fn only(known: &str, query: &str) -> Result<Option<String>, Problem> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != known {
            return Err(unknown(name));
        }
        let wrong = |detail| Problem::parameter(known, format!("{known} is {detail}"));
        let value = percent::decode(value).ok_or_else(|| wrong("badly encoded"))?;
        if found.replace(value).is_some() {
            return Err(wrong("given twice"));
        }
    }
    Ok(found)
}

/// The query that names a text.
pub(super) fn write_file(name: &str) -> String {
    format!("{FILE}={}", percent::encode(name))
}

/// The query that names a service, with its question mark; nothing for none.
pub(super) fn write_service(name: Option<&str>) -> String {
    name.map(|name| format!("?{SERVICE}={}", percent::encode(name)))
        .unwrap_or_default()
}

/// The parameters of `sd`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Discovery {
    /// In the place of that of each backend.
    pub(super) port: Option<u16>,
    /// Of these alone; none: of all.
    pub(super) services: Vec<String>,
}

/// What is to be discovered.
pub(super) fn discovery(query: &str) -> Result<Discovery, Problem> {
    let mut wanted = Discovery::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value =
            percent::decode(value).ok_or_else(|| Problem::parameter(name, format!("{name} is badly encoded")))?;
        match name {
            "service" => wanted.services.push(value),
            "port" => {
                let port = value.parse().ok().filter(|port| *port != 0);
                let port = port.ok_or_else(|| {
                    Problem::parameter(name, format!("port is a number from 1 to 65535, not {value:?}"))
                })?;
                if wanted.port.replace(port).is_some() {
                    return Err(Problem::parameter(name, "port is given twice"));
                }
            }
            _ => return Err(unknown(name)),
        }
    }
    Ok(wanted)
}

/// Reads what [`write`] has written, or a person has.
pub(super) fn parse(query: &str) -> Result<FlowQuery, Problem> {
    let [mut protocol, mut source, mut destination] = [None, None, None];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            PROTOCOL => &mut protocol,
            SOURCE => &mut source,
            DESTINATION => &mut destination,
            _ => return Err(unknown(name)),
        };
        let value =
            percent::decode(value).ok_or_else(|| Problem::parameter(name, format!("{name} is badly encoded")))?;
        if slot.replace(value).is_some() {
            return Err(Problem::parameter(name, format!("{name} is given twice")));
        }
    }
    let flow = FlowQuery {
        protocol: parse_protocol(protocol)?,
        source: parse_address(SOURCE, source)?,
        destination: parse_address(DESTINATION, destination)?,
    };
    if flow.source.is_ipv4() != flow.destination.is_ipv4() {
        return Err(Problem::parameter(
            DESTINATION,
            "source and destination are of different address families",
        ));
    }
    Ok(flow)
}

/// The query that asks about `flow`.
pub(super) fn write(flow: &FlowQuery) -> String {
    let mut query = format!("{PROTOCOL}={}", flow.protocol.label());
    for (name, address) in [(SOURCE, flow.source), (DESTINATION, flow.destination)] {
        let _ = write!(query, "&{name}={}", percent::encode(&address.to_string()));
    }
    query
}

/// A parameter that the endpoint does not have.
pub(super) fn unknown(name: &str) -> Problem {
    Problem::parameter(name, format!("unknown parameter {name:?}"))
}

fn parse_protocol(value: Option<String>) -> Result<Protocol, Problem> {
    let value = required(PROTOCOL, value)?;
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|protocol| protocol.label() == value)
        .ok_or_else(|| Problem::parameter(PROTOCOL, format!("{PROTOCOL} is tcp or udp, not {value:?}")))
}

/// An address as packets have it: without a zone, and IPv4 as IPv4.
fn parse_address(name: &str, value: Option<String>) -> Result<SocketAddr, Problem> {
    let value = required(name, value)?;
    let address: SocketAddr = value.parse().map_err(|_| {
        let detail =
            format!("{name} is an address with a port, such as 192.0.2.1:80 or [2001:db8::1]:80, not {value:?}");
        Problem::parameter(name, detail)
    })?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn required(name: &str, value: Option<String>) -> Result<String, Problem> {
    value.ok_or_else(|| Problem::parameter(name, format!("{name} is missing")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_and_mapped_addresses_become_what_packets_have() {
        let flow = parse("protocol=tcp&source=[fe80::1%253]:1&destination=%5Bfe80::2%5d:80").unwrap();
        assert_eq!(flow.source, "[fe80::1]:1".parse().unwrap());
        assert_eq!(flow.destination, "[fe80::2]:80".parse().unwrap());
        let flow = parse("protocol=udp&source=[::ffff:192.0.2.1]:1&destination=192.0.2.2:53").unwrap();
        assert_eq!(flow.source, "192.0.2.1:1".parse().unwrap());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(udp: bool, v6: bool, a: [u16; 8], b: [u16; 8], ports: (u16, u16)) {
            let address = |words: [u16; 8], port| -> SocketAddr {
                if v6 {
                    // Not one that stands for an IPv4 address.
                    let words = [words[0] | 0x2000, words[1], words[2], words[3], words[4], words[5], words[6], words[7]];
                    (std::net::Ipv6Addr::from(words), port).into()
                } else {
                    (std::net::Ipv4Addr::from(u32::from(words[0]) << 16 | u32::from(words[1])), port).into()
                }
            };
            let flow = FlowQuery {
                protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                source: address(a, ports.0),
                destination: address(b, ports.1),
            };
            let query = write(&flow);
            prop_assert!(!query.contains(['[', ']']));
            prop_assert_eq!(parse(&query), Ok(flow));
        }

        #[test]
        fn noise_is_refused_without_a_panic(query in ".{0,200}") {
            let _ = parse(&query);
        }
    }
}
