//! Addresses and ports in network byte order. The constructors are the only places that swap bytes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 address as it sits in headers and map keys.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Be(pub u32);

impl Ipv4Be {
    /// The address whose four octets are `octets`, first octet first.
    pub const fn new(octets: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(octets))
    }

    /// The four octets, first octet first.
    pub const fn octets(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }
}

impl From<Ipv4Addr> for Ipv4Be {
    fn from(address: Ipv4Addr) -> Self {
        Self::new(address.octets())
    }
}

/// IPv6 address as it sits in headers and map keys; two words, because BPF compares and copies 8 bytes at a time.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv6Be(pub [u64; 2]);

impl Ipv6Be {
    /// The address whose sixteen octets are `octets`, first octet first.
    pub const fn new(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    /// The sixteen octets, first octet first.
    pub fn octets(self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.0[0].to_ne_bytes());
        octets[8..].copy_from_slice(&self.0[1].to_ne_bytes());
        octets
    }

    /// An IPv4 address, mapped into `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
    #[inline(always)]
    pub const fn mapped_v4(address: Ipv4Be) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])])
    }

    /// Is an IPv4 address mapped into this one?
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] as u32 == Self::mapped_v4(Ipv4Be(0)).0[1] as u32
    }

    /// The IPv4 address that is mapped into this one; of others, their last four octets.
    #[inline(always)]
    pub const fn last_v4(self) -> Ipv4Be {
        let [.., a, b, c, d] = self.0[1].to_ne_bytes();
        Ipv4Be::new([a, b, c, d])
    }

    /// An address of either family; IPv4 is mapped into `::ffff:0:0/96` (RFC 4291 §2.5.5.2).
    pub fn mapped(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::mapped_v4(v4.into()),
            IpAddr::V6(v6) => v6.into(),
        }
    }

    /// The reverse of [`Self::mapped`].
    pub fn to_ip(self) -> IpAddr {
        let v6 = Ipv6Addr::from(self.octets());
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }
}

impl From<Ipv6Addr> for Ipv6Be {
    fn from(address: Ipv6Addr) -> Self {
        Self::new(address.octets())
    }
}

/// Port in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortBe(pub u16);

impl PortBe {
    /// The port whose number is `host`, in host order.
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// The port's number, in host order.
    pub const fn host(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// Ethernet address.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl core::fmt::Display for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_survive_and_lie_in_memory_in_network_order() {
        assert_eq!(Ipv4Be::new([192, 0, 2, 10]).octets(), [192, 0, 2, 10]);
        assert_eq!(PortBe::new(0x1234).0.to_ne_bytes(), [0x12, 0x34]);
        assert_eq!(PortBe::new(443).host(), 443);
        for text in ["192.0.2.1", "2001:db8::1", "::", "0.0.0.0"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Ipv6Be::mapped(ip).to_ip(), ip);
        }
    }
}
