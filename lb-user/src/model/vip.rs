//! VIPs: an address, and which of its ports a service has.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use lb_common::service::PortBlock;

use super::PortRange;

/// Where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vip {
    /// The address.
    pub ip: IpAddr,
    /// Which of its ports.
    pub ports: Ports,
}

/// Ports of a VIP that belong to one service. Of services on the same VIP, the one whose ports come first in this order
/// has a packet: a port of its own goes before a range, a range before all ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// This one, never 0. What it leads to may listen on another port, where the mode translates.
    One(u16),
    /// These; packets keep theirs, whatever the mode.
    Range(PortRange),
    /// All; packets keep theirs.
    All,
}

impl Vip {
    /// Is this the address and one of the ports?
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.ip == address.ip() && self.ports.contains(address.port())
    }

    /// Where the kernel listens for it; `None` where it has many ports.
    #[must_use]
    pub const fn socket_address(&self) -> Option<SocketAddr> {
        match self.ports {
            Ports::One(port) => Some(SocketAddr::new(self.ip, port)),
            Ports::Range(_) | Ports::All => None,
        }
    }
}

impl Ports {
    /// Is this a single port, which packets need not keep?
    pub const fn is_one(self) -> bool {
        matches!(self, Self::One(_))
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        match self {
            Self::One(port) => port,
            Self::Range(range) => range.first(),
            Self::All => 1,
        }
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        match self {
            Self::One(port) => port,
            Self::Range(range) => range.last(),
            Self::All => u16::MAX,
        }
    }

    /// Is `port` one of them?
    pub const fn contains(self, port: u16) -> bool {
        self.first() <= port && port <= self.last()
    }

    /// The blocks that make them up; see [`PortBlock`].
    pub fn blocks(self) -> impl Iterator<Item = PortBlock> {
        let (first, last) = match self {
            Self::All => (0, u16::MAX),
            Self::One(_) | Self::Range(_) => (self.first(), self.last()),
        };
        PortBlock::cover(first, last)
    }
}

/// A single port.
impl From<SocketAddr> for Vip {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            ports: Ports::One(address.port()),
        }
    }
}

/// As in the file: `80`, `8000-8999` or `*`.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(port) => port.fmt(f),
            Self::Range(range) => range.fmt(f),
            Self::All => f.write_str("*"),
        }
    }
}

/// As in the file: `192.0.2.10:80`, `[2001:db8::10]:8000-8999` or `192.0.2.10:*`.
impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(v4) => write!(f, "{v4}:{}", self.ports),
            IpAddr::V6(v6) => write!(f, "[{v6}]:{}", self.ports),
        }
    }
}

/// The text is no VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IP address with a port, ports FIRST-LAST, or `*` for all of them")]
pub struct NotAVip;

/// The reverse of `Display`, without a reason for what is refused: that is for `config`.
impl FromStr for Vip {
    type Err = NotAVip;

    fn from_str(text: &str) -> Result<Self, NotAVip> {
        let (host, ports) = text.rsplit_once(':').ok_or(NotAVip)?;
        let ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => IpAddr::V6(v6.parse().map_err(|_| NotAVip)?),
            None => IpAddr::V4(host.parse().map_err(|_| NotAVip)?),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or(NotAVip);
        let ports = match ports.split_once('-') {
            _ if ports == "*" => Ports::All,
            Some((first, last)) => Ports::Range(PortRange::new(port(first)?, port(last)?).ok_or(NotAVip)?),
            None => Ports::One(port(ports)?),
        };
        Ok(Self { ip, ports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        for text in [
            "192.0.2.10:80",
            "192.0.2.10:8000-8999",
            "192.0.2.10:80-80",
            "192.0.2.10:*",
            "[2001:db8::10]:443",
            "[2001:db8::10]:1-65535",
            "[2001:db8::10]:*",
        ] {
            assert_eq!(text.parse::<Vip>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "*",
            "192.0.2.10",
            "192.0.2.10:",
            "192.0.2.10:0",
            "192.0.2.10:9-8",
            "192.0.2.10:0-8",
            "192.0.2.10:-",
            "192.0.2.10:65536",
            "2001:db8::10:80",
            "[192.0.2.10]:80",
            "eth0:80",
        ] {
            assert_eq!(text.parse::<Vip>(), Err(NotAVip), "{text}");
        }
    }

    #[test]
    fn the_narrowest_comes_first() {
        let vip = |text: &str| text.parse::<Vip>().unwrap();
        let mut all = ["192.0.2.1:*", "192.0.2.1:80-90", "192.0.2.1:85"].map(vip);
        assert!(all.iter().all(|vip| vip.contains("192.0.2.1:85".parse().unwrap())));
        all.sort();
        assert_eq!(all.map(|vip| vip.ports.to_string()), ["85", "80-90", "*"]);
        assert!(!all[2].contains("192.0.2.2:85".parse().unwrap()));
        assert!(!all[1].contains("192.0.2.1:91".parse().unwrap()));
        assert!(all[2].ports.blocks().eq([PortBlock::ALL]));
        assert!(all[0].ports.blocks().eq([PortBlock::of(85, 0)]));
    }
}
