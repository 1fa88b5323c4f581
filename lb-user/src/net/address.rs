//! Addresses of interfaces, and where a VIP goes.
//!
//! A VIP is put on an interface so that it is local and answered for, and in no other way felt: it has no subnet, and
//! the kernel never chooses it as the source of what the node sends by itself.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};

use rtnetlink::AddressAddRequest;

use super::error::{self, Context};
use super::{Error, LOOPBACK, Net};

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of its subnet's prefix, in bits.
    pub prefix: u8,
}

impl Address {
    /// Is `ip` in the subnet of this address?
    pub fn covers(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Length of a prefix that holds `ip` alone: 32 or 128.
pub const fn host_prefix(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The interface that a VIP goes on: the one of `interfaces` whose subnet holds it (the narrowest subnet, then the
/// first interface), else `lo`. Addresses without a subnet, such as VIPs of an earlier run, do not count.
pub fn placement(vip: IpAddr, interfaces: &[u32], addresses: &[Address]) -> u32 {
    let narrowest = |interface: &u32| {
        addresses
            .iter()
            .filter(|address| address.interface == *interface)
            .filter(|address| address.prefix < host_prefix(address.ip) && address.covers(vip))
            .map(|address| address.prefix)
            .max()
    };
    interfaces
        .iter()
        .rev() // of equals, `max_by_key` returns the last
        .filter_map(|interface| Some((*interface, narrowest(interface)?)))
        .max_by_key(|&(_, prefix)| prefix)
        .map_or(LOOPBACK, |(interface, _)| interface)
}

impl Net {
    /// Every address of the namespace.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let _turn = self.dumping().await;
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .doing(|| "listing addresses".into())?;
        Ok(messages.iter().filter_map(parse).collect())
    }

    /// Puts a VIP on an interface. `Ok` also when it is there already.
    ///
    /// IPv4: scope host, which source selection passes over. IPv6: no duplicate detection, so that it serves at once,
    /// and deprecated from the start, so that other addresses are preferred as source.
    ///
    /// # Errors
    /// When the kernel refuses: there is no such interface, IPv6 is switched off on it, or privileges are missing.
    pub async fn add_vip(&self, interface: u32, vip: IpAddr) -> Result<(), Error> {
        let added = self.vip(interface, vip, None).execute().await;
        present(added).doing(|| format!("adding VIP {vip} to interface {interface}"))
    }

    /// The same for so many seconds from now on, whether it is there or not: then the kernel takes it off itself, unless
    /// this is called again before.
    ///
    /// # Errors
    /// As for [`Self::add_vip`].
    pub async fn hold_vip(&self, interface: u32, vip: IpAddr, seconds: u32) -> Result<(), Error> {
        let held = self.vip(interface, vip, Some(seconds)).replace().execute().await;
        held.doing(|| format!("holding VIP {vip} on interface {interface}"))
    }

    fn vip(&self, interface: u32, vip: IpAddr, seconds: Option<u32>) -> AddressAddRequest {
        let mut request = self.handle.address().add(interface, vip, host_prefix(vip));
        let message = request.message_mut();
        let mut flags = AddressFlags::Noprefixroute;
        match vip {
            IpAddr::V4(_) => message.header.scope = AddressScope::Host,
            IpAddr::V6(_) => flags |= AddressFlags::Nodad,
        }
        if vip.is_ipv6() || seconds.is_some() {
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = 0;
            lifetime.ifa_valid = seconds.unwrap_or(u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        message.attributes.push(AddressAttribute::Flags(flags));
        request
    }

    /// Gives an interface an address of its own, with its subnet; IPv6 without duplicate detection. `Ok` also when it
    /// is there already.
    ///
    /// # Errors
    /// When the kernel refuses, as for [`Self::add_vip`].
    pub async fn add_address(&self, interface: u32, ip: IpAddr, prefix: u8) -> Result<(), Error> {
        let mut request = self.handle.address().add(interface, ip, prefix);
        if ip.is_ipv6() {
            request.message_mut().header.flags = AddressHeaderFlags::Nodad;
        }
        present(request.execute().await).doing(|| format!("adding {ip}/{prefix} to interface {interface}"))
    }

    /// Takes a VIP off an interface. `Ok` also when it is not there, or the interface is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_vip(&self, interface: u32, vip: IpAddr) -> Result<(), Error> {
        self.remove_address(interface, vip, host_prefix(vip)).await
    }

    /// Takes an address off an interface. `Ok` also when it is not there, or the interface is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_address(&self, interface: u32, ip: IpAddr, prefix: u8) -> Result<(), Error> {
        let mut message = AddressMessage::default();
        message.header.family = family(ip);
        message.header.prefix_len = prefix;
        message.header.index = interface;
        message.attributes.push(AddressAttribute::Local(ip));
        match self.handle.address().del(message).execute().await.map_err(error::cause) {
            Ok(()) => Ok(()),
            Err(cause) if error::is(&cause, Errno::EADDRNOTAVAIL) || error::is(&cause, Errno::ENODEV) => Ok(()),
            Err(cause) => Err(Error::new(
                format!("removing {ip}/{prefix} from interface {interface}"),
                cause,
            )),
        }
    }
}

/// The kernel's answer to an addition, where "it exists" is fine.
pub(super) fn present(answer: Result<(), rtnetlink::Error>) -> std::io::Result<()> {
    match answer.map_err(error::cause) {
        Err(cause) if error::is(&cause, Errno::EEXIST) => Ok(()),
        other => other,
    }
}

pub(super) fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// `IFA_LOCAL` is the interface's own address; `IFA_ADDRESS` too, but the other end's on point-to-point links.
fn parse(message: &AddressMessage) -> Option<Address> {
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => own = Some(*ip),
            AddressAttribute::Address(ip) => own = own.or(Some(*ip)),
            _ => {}
        }
    }
    Some(Address {
        interface: message.header.index,
        ip: own?,
        prefix: message.header.prefix_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: u32, ip: &str, prefix: u8) -> Address {
        Address {
            interface,
            ip: ip.parse().unwrap(),
            prefix,
        }
    }

    #[test]
    fn an_address_covers_its_subnet() {
        for (own, prefix, other, expected) in [
            ("10.0.0.1", 24, "10.0.0.255", true),
            ("10.0.0.1", 24, "10.0.1.0", false),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("10.0.0.1", 32, "10.0.0.0", false),
            ("10.0.0.1", 0, "203.0.113.9", true),
            ("fd00::1", 64, "fd00::ffff:0:0:1", true),
            ("fd00::1", 64, "fd00:0:0:1::1", false),
            ("fd00::1", 128, "fd00::2", false),
            ("fd00::1", 0, "::", true),
            ("fd00::1", 0, "10.0.0.1", false),
            ("10.0.0.1", 0, "fd00::1", false),
        ] {
            assert_eq!(
                address(2, own, prefix).covers(other.parse().unwrap()),
                expected,
                "{own}/{prefix} {other}"
            );
        }
    }

    #[test]
    fn a_vip_goes_where_its_subnet_is() {
        let addresses = [
            address(LOOPBACK, "127.0.0.1", 8),
            address(2, "10.0.0.1", 24),
            address(3, "10.0.0.2", 16),
            address(4, "10.0.0.3", 24),
            address(2, "fd00::1", 64),
            address(5, "192.0.2.1", 24),
            address(2, "198.51.100.7", 32),
        ];
        for (vip, interfaces, expected) in [
            ("10.0.0.100", &[2, 3, 4][..], 2), // narrowest, then first
            ("10.0.0.100", &[4, 2], 4),
            ("10.0.0.100", &[3], 3),
            ("10.0.9.1", &[2, 3, 4], 3),
            ("fd00::100", &[2, 3], 2),
            ("192.0.2.9", &[2, 3], LOOPBACK),      // its interface isn't one of ours
            ("198.51.100.7", &[2, 3], LOOPBACK),   // left by an earlier run: has no subnet
            ("203.0.113.1", &[2, 3, 4], LOOPBACK), // in no subnet
            ("127.0.0.5", &[2], LOOPBACK),
        ] {
            assert_eq!(
                placement(vip.parse().unwrap(), interfaces, &addresses),
                expected,
                "{vip} on {interfaces:?}"
            );
        }
    }
}
