//! Headers of the PROXY protocol: the same verdict whatever the pieces, and what is read can be written and read again.
//!
//! An input is what a connection begins with.

use std::net::SocketAddr;

use lb_user::model::proxy::ProxyProtocol;
use lb_user::proxy::proxy_protocol::{Header, decode, encode};

/// Panics when a header is not read as it should.
pub fn check(data: &[u8]) {
    let whole = decode(data);
    let first = (0..data.len())
        .map(|end| decode(&data[..end]))
        .find(|verdict| *verdict != Ok(None));
    assert_eq!(first.unwrap_or(whole), whole, "the first word is the last one");
    let Ok(Some(Header { length, addresses })) = whole else {
        return;
    };
    assert!(length <= data.len());
    if let Ok(text) = std::str::from_utf8(&data[..length])
        && text.starts_with("PROXY ")
    {
        assert!(text.ends_with("\r\n") && length <= 107);
        assert_eq!(addresses, plainly(text));
    }
    let Some((source, destination)) = addresses else {
        return;
    };
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let written = encode(version, source, destination);
        let read = decode(&written);
        let same = |header: Header| {
            header.length == written.len() && header.addresses.is_some_and(|read| is(read, (source, destination)))
        };
        assert!(
            matches!(read, Ok(Some(header)) if same(header)),
            "{}",
            written.escape_ascii()
        );
    }
}

/// Addresses of version 1, read without any doubt.
fn plainly(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, "TCP4" | "TCP6", source, destination, from, to] = words[..] else {
        return None;
    };
    let address =
        |ip: &str, port: &str| SocketAddr::new(ip.parse().expect("an address"), port.parse().expect("a port"));
    Some((address(source, from), address(destination, to)))
}

/// Are they the same, whatever family an address of IPv4 is written in?
fn is(one: (SocketAddr, SocketAddr), other: (SocketAddr, SocketAddr)) -> bool {
    let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    (plain(one.0), plain(one.1)) == (plain(other.0), plain(other.1))
}
