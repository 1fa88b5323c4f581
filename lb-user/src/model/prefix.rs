//! Prefixes of addresses.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

use lb_common::addr::Ipv6Be;
use lb_common::decap::Sources;

/// Addresses of one family that begin alike (RFC 4632, RFC 4291 §2.3). Bits behind the length do not count,
/// but for comparing: without them a prefix comes right before those that lie within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// One of them.
    pub ip: IpAddr,
    /// How many bits of it count: up to 32, or 128.
    pub length: u8,
}

impl Prefix {
    /// The first of them: no bits behind the length.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        let free = |bits: u32| bits - u32::from(self.length);
        match self.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(free(32)).unwrap_or(0);
                IpAddr::V4((u32::from(ip) & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(free(128)).unwrap_or(0);
                IpAddr::V6((u128::from(ip) & mask).into())
            }
        }
    }

    /// The same ones, without bits behind the length: as prefixes that are compared have to be.
    #[must_use]
    pub fn cleared(&self) -> Self {
        Self {
            ip: self.first(),
            length: self.length,
        }
    }

    /// Is `ip` one of them? An IPv4 address in IPv6's form counts as IPv4's.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip.to_canonical() {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, true),
            IpAddr::V6(ip) => (u128::from(ip), false),
        };
        let ((own, own_v4), (other, other_v4)) = (bits(self.ip), bits(ip));
        // A shift by all bits is none.
        let differ = (own ^ other).checked_shr(128 - u32::from(self.length)).unwrap_or(0);
        own_v4 == other_v4 && differ == 0
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// A prefix, or an address by itself.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || "write a prefix or an address, as in 172.16.0.0/16, 10.0.0.7 or 100::/96".to_owned();
        let (ip, length) = text
            .split_once('/')
            .map_or((text, None), |(ip, length)| (ip, Some(length)));
        let ip: IpAddr = ip.parse().map_err(|_| form())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let length = match length {
            Some(length) if digits(length) => length.parse().map_err(|_| form())?,
            Some(_) => return Err(form()),
            None => most,
        };
        if length > most {
            return Err(format!("the length of such a prefix is {most} at most"));
        }
        Ok(Self { ip, length })
    }
}

impl Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.length)
    }
}

impl From<Prefix> for Sources {
    fn from(Prefix { ip, length }: Prefix) -> Self {
        let before = if ip.is_ipv4() { 96 } else { 0 };
        Self::new(Ipv6Be::mapped(ip), before + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_read_and_refused() {
        for (text, length) in [
            ("100::/96", 96),
            ("10.0.0.0/8", 8),
            ("10.0.0.7", 32),
            ("2001:db8::1", 128),
        ] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix.length, length, "{text}");
            assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
        for (text, reason) in [
            ("ten/8", "write a prefix"),
            ("", "write a prefix"),
            ("10.0.0.0/x", "write a prefix"),
            ("10.0.0.0/", "write a prefix"),
            ("10.0.0.0/+8", "write a prefix"),
            ("10.0.0.0/255.0.0.0", "write a prefix"),
            ("10.0.0.0/33", "32 at most"),
            ("100::/129", "128 at most"),
        ] {
            let refused = Prefix::from_str(text).unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn a_prefix_holds_what_begins_like_it() {
        let holds = |prefix: &str, ip: &str| Prefix::from_str(prefix).unwrap().holds(ip.parse().unwrap());
        assert!(holds("10.1.0.0/16", "10.1.255.1") && !holds("10.1.0.0/16", "10.2.0.0"));
        assert!(holds("10.0.0.7", "10.0.0.7") && !holds("10.0.0.7", "10.0.0.6"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(
            holds("10.0.0.0/8", "::ffff:10.0.0.1"),
            "how a socket of both families sees it"
        );
        assert!(holds("2001:db8::/32", "2001:db8:7::1") && !holds("2001:db8::1", "2001:db8::2"));
    }

    #[test]
    fn a_prefix_begins_where_its_bits_end() {
        for (prefix, first) in [
            ("10.1.2.3/8", "10.0.0.0"),
            ("10.1.2.3", "10.1.2.3"),
            ("255.0.0.1/0", "0.0.0.0"),
            ("2001:db8::7/32", "2001:db8::"),
            ("::1/128", "::1"),
            ("::1/0", "::"),
        ] {
            assert_eq!(
                Prefix::from_str(prefix).unwrap().first(),
                first.parse::<IpAddr>().unwrap(),
                "{prefix}"
            );
        }
    }

    #[test]
    fn a_family_does_not_hold_the_other() {
        let sources = |text: &str| Sources::from(Prefix::from_str(text).unwrap());
        let address = |text: &str| Ipv6Be::mapped(text.parse().unwrap());
        assert!(
            sources("10.0.0.0/8").holds(address("10.1.2.3")) && !sources("0.0.0.0/0").holds(address("2001:db8::1"))
        );
        assert!(sources("2001:db8::/32").holds(address("2001:db8:ff::1")));
    }
}
