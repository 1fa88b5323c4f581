//! What programs of the node listen on, from /proc/net (proc_pid_net(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::Protocol;

/// A socket that waits for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
}

/// Those of this namespace; none of a family that the kernel does not have.
pub(super) fn all() -> Vec<Listener> {
    // TCP_LISTEN, and what an unconnected UDP socket is in.
    let tables = [
        ("/proc/net/tcp", Protocol::Tcp, "0A"),
        ("/proc/net/tcp6", Protocol::Tcp, "0A"),
        ("/proc/net/udp", Protocol::Udp, "07"),
        ("/proc/net/udp6", Protocol::Udp, "07"),
    ];
    let read = tables.into_iter().flat_map(|(path, protocol, state)| {
        let table = fs::read_to_string(path).unwrap_or_default();
        let addresses: Vec<_> = table.lines().skip(1).filter_map(|line| entry(line, state)).collect();
        addresses.into_iter().map(move |address| Listener { protocol, address })
    });
    read.collect()
}

/// The local address of a line, if its socket is in this state.
fn entry(line: &str, wanted: &str) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _peer, state) = (fields.next()?, fields.next()?, fields.next()?);
    if state != wanted {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    Some(SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of 32 bits in the machine's order, whose bytes are in the network's.
fn address(hex: &str) -> Option<IpAddr> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(8) {
        return None;
    }
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let octets = words.collect::<Option<Vec<_>>>()?.concat();
    if let Ok(octets) = <[u8; 4]>::try_from(octets.as_slice()) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let line = "   0: 0100007F:24F9 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1 1";
        assert_eq!(entry(line, "0A"), Some("127.0.0.1:9465".parse().unwrap()));
        assert_eq!(entry(line, "07"), None);
        let line = "1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0";
        assert_eq!(entry(line, "0A"), Some("[::1]:80".parse().unwrap()));
        for nonsense in [
            "",
            "x",
            "0: 12:3 4 0A",
            "0: 0100007F:XX 0:0 0A",
            "0: \u{fc}\u{fc}\u{fc}\u{fc}:50 0:0 0A",
        ] {
            assert_eq!(entry(nonsense, "0A"), None, "{nonsense}");
        }
    }
}
