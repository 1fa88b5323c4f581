//! The PROXY protocol, versions 1 and 2, both ways: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::model::proxy::ProxyProtocol;

/// Longest line of version 1, its end included (section 2.1).
const LINE: usize = 107;

/// What version 2 begins with (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Most bytes behind the 16 of version 2's start that are taken. Its TLVs may be long, and none is wanted.
const BLOCK: usize = 4096;

/// The header of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes in all.
    pub length: usize,
    /// The client's address, and the one that it came to; `None`: those of the connection, which is the sender's own.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// It is no header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol")]
pub struct NoHeader;

/// Reads the header at the start of `bytes`; `None` while it is not whole.
///
/// # Errors
/// [`NoHeader`], as soon as that is seen.
pub fn decode(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    if begins(bytes, &SIGNATURE) {
        return binary(bytes);
    }
    if begins(bytes, b"PROXY ") {
        return line(bytes);
    }
    Err(NoHeader)
}

/// Do these bytes, as far as they go, begin so?
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let length = bytes.len().min(with.len());
    bytes[..length] == with[..length]
}

fn line(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(LINE)]) else {
        return if bytes.len() < LINE { Ok(None) } else { Err(NoHeader) };
    };
    let text = bytes[..end].strip_suffix(b"\r").ok_or(NoHeader)?;
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| !text.contains('\r'))
        .ok_or(NoHeader)?;
    let words: Vec<&str> = text.split(' ').collect();
    let addresses = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().map_err(|_| NoHeader)?;
                // No signs, no leading zeros.
                let number: u16 = port.parse().map_err(|_| NoHeader)?;
                let written_so = number.to_string() == port;
                let right = written_so && ip.is_ipv4() == (family == "TCP4");
                right.then_some(SocketAddr::new(ip, number)).ok_or(NoHeader)
            };
            Some((address(source, from)?, address(destination, to)?))
        }
        _ => return Err(NoHeader),
    };
    Ok(Some(Header {
        length: end + 1,
        addresses,
    }))
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some(&[version, family, high, low]) = bytes.get(12..16) else {
        return Ok(None);
    };
    let block = usize::from(u16::from_be_bytes([high, low]));
    if block > BLOCK {
        return Err(NoHeader);
    }
    let local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(NoHeader),
    };
    let length = 16 + block;
    let Some(block) = bytes.get(16..length) else {
        return Ok(None);
    };
    let port = |at: usize| {
        block
            .get(at..at + 2)
            .map(|port| u16::from_be_bytes([port[0], port[1]]))
            .ok_or(NoHeader)
    };
    let addresses = match family {
        _ if local => None,
        // TCP over IPv4 and IPv6.
        0x11 => {
            let ip = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(block.get(at..at + 4)?).ok()?));
            let (source, destination) = (ip(0).ok_or(NoHeader)?, ip(4).ok_or(NoHeader)?);
            Some((
                SocketAddr::new(source, port(8)?),
                SocketAddr::new(destination, port(10)?),
            ))
        }
        0x21 => {
            let ip = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(block.get(at..at + 16)?).ok()?));
            let (source, destination) = (ip(0).ok_or(NoHeader)?, ip(16).ok_or(NoHeader)?);
            Some((
                SocketAddr::new(source, port(32)?),
                SocketAddr::new(destination, port(34)?),
            ))
        }
        // Unspecified, and what no TCP connection can come from.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(NoHeader),
    };
    Ok(Some(Header { length, addresses }))
}

/// The header for a connection of a client with the address `source` that came to `destination`. Of two families, IPv4 is
/// written as IPv6's.
#[must_use]
pub fn encode(version: ProxyProtocol, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (mut from, mut to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    if from.is_ipv4() != to.is_ipv4() {
        let wide = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
            IpAddr::V6(_) => ip,
        };
        (from, to) = (wide(from), wide(to));
    }
    match version {
        ProxyProtocol::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (source, destination) = (source.port(), destination.port());
            format!("PROXY {family} {from} {to} {source} {destination}\r\n").into_bytes()
        }
        ProxyProtocol::V2 => {
            let mut header = SIGNATURE.to_vec();
            let (family, length) = if from.is_ipv4() { (0x11, 12u16) } else { (0x21, 36) };
            header.extend([0x21, family]);
            header.extend(length.to_be_bytes());
            for ip in [from, to] {
                match ip {
                    IpAddr::V4(ip) => header.extend(ip.octets()),
                    IpAddr::V6(ip) => header.extend(ip.octets()),
                }
            }
            header.extend(source.port().to_be_bytes());
            header.extend(destination.port().to_be_bytes());
            header
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
        (source.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn what_is_written_is_read_whatever_the_pieces() {
        for (source, destination) in [
            pair("192.0.2.7:56324", "198.51.100.1:443"),
            pair("[2001:db8::7]:1", "[2001:db8::1]:65535"),
        ] {
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let mut bytes = encode(version, source, destination);
                let length = bytes.len();
                bytes.extend(b"GET / HTTP/1.1\r\n");
                for cut in 0..length {
                    assert_eq!(decode(&bytes[..cut]), Ok(None), "{version:?} {cut}");
                }
                let addresses = Some((source, destination));
                assert_eq!(decode(&bytes), Ok(Some(Header { length, addresses })));
            }
        }
        let (source, destination) = pair("192.0.2.7:1", "[2001:db8::1]:2");
        let mixed = encode(ProxyProtocol::V1, source, destination);
        assert_eq!(mixed, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n");
    }

    #[test]
    fn a_sender_may_speak_for_itself() {
        let unknown = b"PROXY UNKNOWN whatever\r\n";
        let header = Header {
            length: unknown.len(),
            addresses: None,
        };
        assert_eq!(decode(unknown), Ok(Some(header)));
        let mut local = SIGNATURE.to_vec();
        local.extend([0x20, 0x00, 0, 3, 1, 2, 3]);
        let header = Header {
            length: 19,
            addresses: None,
        };
        assert_eq!(decode(&local), Ok(Some(header)));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let v2 = |rest: &[u8]| [&SIGNATURE[..], rest].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat(),
            v2(&[0x31, 0x11, 0, 12]),
            v2(&[0x21, 0x11, 0xff, 0xff]),
            v2(&[0x21, 0x11, 0, 4, 1, 2, 3, 4]),
            v2(&[0x21, 0x44, 0, 0]),
        ] {
            assert_eq!(decode(&bytes), Err(NoHeader), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
