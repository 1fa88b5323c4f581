//! Advertisements as bytes: version 3 (RFC 9568 section 5.2) and version 2 (RFC 3768 section 5.3). Pure.
//!
//! Over IPv4, the checksum of version 3 is one of two: RFC 5798 has a pseudo-header in it, as keepalived and the routers
//! in the field do, RFC 9568 has none. Both are taken, and the first is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lb_common::csum::fold;

use crate::model::vrrp::VrrpVersion;

/// Protocol number of IP.
pub const PROTOCOL: u8 = 112;

/// What advertisements arrive with, so that nobody beyond a router can have sent them (section 5.1.1.3).
pub const TTL: u8 = 255;

/// Where advertisements go that are for everybody.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The same over IPv6.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// Before the addresses.
const HEADER: usize = 8;

/// What version 2 has behind them; zeros (RFC 3768 section 5.3.10).
const AUTHENTICATION: usize = 8;

/// The only type there is.
const ADVERTISEMENT: u8 = 1;

/// One advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The protocol.
    pub version: VrrpVersion,
    /// VRID.
    pub id: u8,
    /// The sender's; 0: it gives the addresses away.
    pub priority: u8,
    /// Until its next one: centiseconds in version 3, seconds in version 2.
    pub interval: Duration,
    /// At most 255, all of the family that it travels in.
    pub addresses: Vec<IpAddr>,
    /// Type of authentication, which version 2 had once (RFC 2338): it is not looked at.
    pub authentication: u8,
}

/// Why an advertisement is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// It may have come through a router.
    Ttl,
    /// It is shorter than it says.
    Truncated,
    /// Another version than that of the virtual router.
    Version,
    /// Another type than an advertisement.
    Type,
    /// It was damaged on the way.
    Checksum,
    /// No addresses, or more bytes than they take.
    Length,
    /// A VRID that this node has not on this interface.
    UnknownRouter,
    /// Other addresses than the virtual router's.
    Addresses,
    /// Another interval, which version 2 does not allow (RFC 3768 section 7.1).
    Interval,
    /// The node's own, which somebody sends back.
    Own,
    /// From nobody whom the file names among the peers.
    Stranger,
    /// More than anybody could have a reason to send.
    Flood,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Ttl,
        Self::Truncated,
        Self::Version,
        Self::Type,
        Self::Checksum,
        Self::Length,
        Self::UnknownRouter,
        Self::Addresses,
        Self::Interval,
        Self::Own,
        Self::Stranger,
        Self::Flood,
    ];

    /// One word, for metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Truncated => "truncated",
            Self::Version => "version",
            Self::Type => "type",
            Self::Checksum => "checksum",
            Self::Length => "length",
            Self::UnknownRouter => "unknown_router",
            Self::Addresses => "addresses",
            Self::Interval => "interval",
            Self::Own => "own",
            Self::Stranger => "stranger",
            Self::Flood => "flood",
        }
    }
}

impl Advertisement {
    /// Its bytes, from `source` to `destination`, which are of the addresses' family.
    #[must_use]
    pub fn encode(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let interval = match self.version {
            VrrpVersion::V2 => (self.interval.as_secs().min(u8::MAX.into()) as u16).to_be_bytes(),
            VrrpVersion::V3 => ((self.interval.as_millis() / 10).min(0xfff) as u16).to_be_bytes(),
        };
        let mut bytes = vec![
            self.version.number() << 4 | ADVERTISEMENT,
            self.id,
            self.priority,
            count,
        ];
        bytes.extend_from_slice(&interval);
        bytes.extend_from_slice(&[0, 0]);
        for address in self.addresses.iter().take(count.into()) {
            match address {
                IpAddr::V4(v4) => bytes.extend_from_slice(&v4.octets()),
                IpAddr::V6(v6) => bytes.extend_from_slice(&v6.octets()),
            }
        }
        if self.version == VrrpVersion::V2 {
            bytes.extend_from_slice(&[0; AUTHENTICATION]);
        }
        let sum = match self.version {
            VrrpVersion::V2 => 0,
            VrrpVersion::V3 => pseudo_header(source, destination, bytes.len()),
        };
        let checksum = fold(sum + words(&bytes));
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Reads one that has travelled from `source` to `destination`.
    ///
    /// # Errors
    /// Why it cannot be taken, by itself: whether it is meant for somebody here is another question.
    pub fn decode(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Result<Self, Refused> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Refused::Truncated)?;
        let &[first, id, priority, count, high, low, ..] = header;
        let version = match (first >> 4, source) {
            (2, IpAddr::V4(_)) => VrrpVersion::V2,
            (3, _) => VrrpVersion::V3,
            _ => return Err(Refused::Version),
        };
        if first & 0xf != ADVERTISEMENT {
            return Err(Refused::Type);
        }
        let width = if source.is_ipv6() { 16 } else { 4 };
        let tail = match version {
            VrrpVersion::V2 => AUTHENTICATION,
            VrrpVersion::V3 => 0,
        };
        let listed = usize::from(count) * width;
        if rest.len() < listed + tail {
            return Err(Refused::Truncated);
        }
        if count == 0 || rest.len() > listed + tail {
            return Err(Refused::Length);
        }
        let plain = words(bytes);
        let right = |sum| fold(sum) == 0;
        let as_in_5798 = plain + pseudo_header(source, destination, bytes.len());
        let checked = match (version, source) {
            (VrrpVersion::V2, _) => right(plain),
            (VrrpVersion::V3, IpAddr::V4(_)) => right(as_in_5798) || right(plain),
            (VrrpVersion::V3, IpAddr::V6(_)) => right(as_in_5798),
        };
        if !checked {
            return Err(Refused::Checksum);
        }
        let (interval, authentication) = match version {
            VrrpVersion::V2 => (Duration::from_secs(low.into()), high),
            VrrpVersion::V3 => {
                let centiseconds = u16::from_be_bytes([high & 0xf, low]);
                (Duration::from_millis(u64::from(centiseconds) * 10), 0)
            }
        };
        // A master that speaks all the time is none (RFC 9568 section 5.2.7 leaves 0 open).
        if interval.is_zero() {
            return Err(Refused::Interval);
        }
        let address = |bytes: &[u8]| match <[u8; 16]>::try_from(bytes) {
            Ok(v6) => IpAddr::from(v6),
            Err(_) => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        };
        Ok(Self {
            version,
            id,
            priority,
            interval,
            addresses: rest[..listed].chunks_exact(width).map(address).collect(),
            authentication,
        })
    }
}

/// The sum of RFC 8200 section 8.1; over IPv4, of the same with its addresses.
fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> u32 {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => words(&v4.octets()),
        IpAddr::V6(v6) => words(&v6.octets()),
    };
    address(source) + address(destination) + u32::from(PROTOCOL) + length as u32
}

/// The sum of 16-bit words; a last byte alone is a high one.
fn words(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2);
    pairs
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn advertisement(version: VrrpVersion, addresses: &[&str]) -> Advertisement {
        Advertisement {
            version,
            id: 51,
            priority: 100,
            interval: Duration::from_secs(1),
            addresses: addresses.iter().map(|a| ip(a)).collect(),
            authentication: 0,
        }
    }

    /// Checksums by hand, RFC 1071.
    #[test]
    fn known_bytes() {
        for (version, source, destination, addresses, hex) in [
            // 2133 + 6401 + 0001 + c000 + 020a is 1473f, with its carry 4740, and b8bf the complement.
            (
                VrrpVersion::V2,
                "192.0.2.1",
                "224.0.0.18",
                &["192.0.2.10"][..],
                "21336401 0001b8bf c000020a 0000000000000000",
            ),
            // The pseudo-header adds c000 + 0201 + e000 + 0012 + 0070 + 000c.
            (
                VrrpVersion::V3,
                "192.0.2.1",
                "224.0.0.18",
                &["192.0.2.10"],
                "31336401 006405cc c000020a",
            ),
        ] {
            let advertisement = advertisement(version, addresses);
            let encoded = advertisement.encode(ip(source), ip(destination));
            assert_eq!(encoded, bytes(hex), "{encoded:02x?}");
            assert_eq!(
                Advertisement::decode(&encoded, ip(source), ip(destination)),
                Ok(advertisement)
            );
        }
        // As RFC 9568 has it over IPv4, without a pseudo-header.
        let plain = bytes("31336401 0064a85c c000020a");
        let decoded = Advertisement::decode(&plain, ip("192.0.2.1"), ip("224.0.0.18"));
        assert_eq!(decoded, Ok(advertisement(VrrpVersion::V3, &["192.0.2.10"])));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (from, to) = (ip("192.0.2.1"), ip("224.0.0.18"));
        let v3 = advertisement(VrrpVersion::V3, &["192.0.2.10", "192.0.2.11"]).encode(from, to);
        let v2 = advertisement(VrrpVersion::V2, &["192.0.2.10"]).encode(from, to);
        let with = |bytes: &[u8], place: usize, value: u8| {
            let mut bytes = bytes.to_vec();
            bytes[place] = value;
            bytes
        };
        let longer = |bytes: &[u8]| [bytes, &[0; 4]].concat();
        for (what, bytes, refused) in [
            ("nothing", vec![], Refused::Truncated),
            ("half a header", v3[..7].to_vec(), Refused::Truncated),
            ("an address less", v3[..12].to_vec(), Refused::Truncated),
            ("no authentication in version 2", v2[..12].to_vec(), Refused::Truncated),
            ("an address more", longer(&v3), Refused::Length),
            ("no address", with(&v3[..8], 3, 0), Refused::Length),
            ("version 4", with(&v3, 0, 0x41), Refused::Version),
            ("version 1", with(&v3, 0, 0x11), Refused::Version),
            ("type 2", with(&v3, 0, 0x32), Refused::Type),
            ("a bit", with(&v3, 15, 12), Refused::Checksum),
            ("a bit in version 2", with(&v2, 2, 101), Refused::Checksum),
        ] {
            assert_eq!(Advertisement::decode(&bytes, from, to), Err(refused), "{what}");
        }
        // Version 2 is one of IPv4.
        let (from, to) = (ip("fe80::1"), IpAddr::from(GROUP_V6));
        assert_eq!(Advertisement::decode(&v2, from, to), Err(Refused::Version));
        let mut idle = advertisement(VrrpVersion::V3, &["fd00::10"]);
        idle.interval = Duration::ZERO;
        assert_eq!(
            Advertisement::decode(&idle.encode(from, to), from, to),
            Err(Refused::Interval)
        );
    }

    fn any_ip(v6: bool) -> BoxedStrategy<IpAddr> {
        if v6 {
            any::<[u8; 16]>().prop_map(IpAddr::from).boxed()
        } else {
            any::<[u8; 4]>().prop_map(IpAddr::from).boxed()
        }
    }

    fn any_advertisement() -> impl Strategy<Value = (Advertisement, IpAddr, IpAddr)> {
        (any::<bool>(), any::<bool>()).prop_flat_map(|(v6, old)| {
            let version = if old && !v6 { VrrpVersion::V2 } else { VrrpVersion::V3 };
            let interval = match version {
                VrrpVersion::V2 => (1..=255u64).prop_map(Duration::from_secs).boxed(),
                VrrpVersion::V3 => (1..=4095u64).prop_map(|cs| Duration::from_millis(cs * 10)).boxed(),
            };
            let addresses = prop::collection::vec(any_ip(v6), 1..=255);
            let one =
                (any::<u8>(), any::<u8>(), interval, addresses).prop_map(move |(id, priority, interval, addresses)| {
                    Advertisement {
                        version,
                        id,
                        priority,
                        interval,
                        addresses,
                        authentication: 0,
                    }
                });
            (one, any_ip(v6), any_ip(v6))
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded((one, from, to) in any_advertisement()) {
            prop_assert_eq!(Advertisement::decode(&one.encode(from, to), from, to), Ok(one));
        }

        /// One's complement finds every flip of a single bit.
        #[test]
        fn a_flipped_bit_is_found((one, from, to) in any_advertisement(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            // Over IPv4, version 3 has two right checksums, and a flip may lead from one to the other.
            prop_assume!(from.is_ipv6() || one.version == VrrpVersion::V2);
            let mut bytes = one.encode(from, to);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Advertisement::decode(&bytes, from, to).is_err());
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64), v6 in any::<bool>()) {
            let from = if v6 { ip("fe80::1") } else { ip("192.0.2.1") };
            let _ = Advertisement::decode(&bytes, from, from);
        }
    }
}
