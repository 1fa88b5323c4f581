//! Which address of the node's own a VIP is asked from.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::NextHop;
use crate::net::address::host_prefix;
use crate::net::{Address, Error, LOOPBACK, Net};

/// 5 s; bounds how long an address is used that the node has lost.
const BELIEVED: Duration = Duration::from_secs(5);

/// The node's addresses, read now and then.
#[derive(Debug)]
pub(super) struct Sources {
    net: Net,
    read: Mutex<Option<(Instant, Vec<Address>)>>,
}

impl Sources {
    pub(super) fn new(net: Net) -> Self {
        let read = Mutex::default();
        Self { net, read }
    }

    /// The address of the VIP's family that the node has on the way to a backend; `None` where it has none.
    pub(super) async fn towards(
        &self,
        hop: &NextHop,
        vip: IpAddr,
        not: &BTreeSet<IpAddr>,
    ) -> Result<Option<IpAddr>, Error> {
        // What the kernel itself would take.
        if let Some(source) = hop.source.filter(|source| is_usable(*source, vip, not)) {
            return Ok(Some(source));
        }
        let mut read = self.read.lock().await;
        let addresses = match read.take_if(|(at, _)| at.elapsed() < BELIEVED) {
            Some((at, addresses)) => (at, addresses),
            None => (Instant::now(), self.net.addresses().await?),
        };
        let source = choose(&addresses.1, hop.interface, vip, not);
        *read = Some(addresses);
        Ok(source)
    }
}

/// The first address on the interface, or else elsewhere: before others, one whose subnet the VIP is in, as the kernel has
/// it, and after others those without a subnet.
fn choose(addresses: &[Address], interface: u32, vip: IpAddr, not: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let rank = |address: &&Address| {
        let elsewhere = address.interface != interface;
        let alone = address.prefix == host_prefix(address.ip);
        (elsewhere, address.interface == LOOPBACK, !address.covers(vip), alone)
    };
    // Of equals, the first.
    let chosen = addresses
        .iter()
        .filter(|address| is_usable(address.ip, vip, not))
        .min_by_key(rank);
    chosen.map(|address| address.ip)
}

/// May the VIP be asked from this address?
fn is_usable(source: IpAddr, vip: IpAddr, not: &BTreeSet<IpAddr>) -> bool {
    let stays_here = match source {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    source.is_ipv6() == vip.is_ipv6() && !stays_here && !not.contains(&source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_address_on_the_way_comes_first() {
        let address = |interface, ip: &str, prefix| Address {
            interface,
            ip: ip.parse().unwrap(),
            prefix,
        };
        let addresses = [
            address(LOOPBACK, "127.0.0.1", 8),
            address(LOOPBACK, "192.0.2.10", 32),
            address(LOOPBACK, "192.0.2.77", 32),
            address(3, "10.3.0.1", 24),
            address(2, "10.2.0.9", 32),
            address(2, "10.2.0.10", 24),
            address(2, "10.2.0.1", 24),
            address(2, "10.4.0.1", 24),
            address(LOOPBACK, "::1", 128),
            address(2, "fe80::1", 64),
            address(3, "2001:db8:3::1", 64),
        ];
        let not: BTreeSet<IpAddr> = ["192.0.2.10", "10.2.0.10"].map(|ip| ip.parse().unwrap()).into();
        for (interface, vip, expected) in [
            (2, "192.0.2.10", "10.2.0.1"),
            (2, "10.4.0.10", "10.4.0.1"),
            (3, "192.0.2.10", "10.3.0.1"),
            (4, "192.0.2.10", "10.3.0.1"),
            (2, "2001:db8::10", "2001:db8:3::1"),
        ] {
            let chosen = choose(&addresses, interface, vip.parse().unwrap(), &not);
            assert_eq!(chosen, Some(expected.parse().unwrap()), "{interface} {vip}");
        }
        let vip = "192.0.2.10".parse().unwrap();
        assert_eq!(choose(&addresses[..2], 2, vip, &not), None, "a VIP is no source");
        assert_eq!(
            choose(&addresses[..3], 2, vip, &not),
            Some("192.0.2.77".parse().unwrap())
        );
    }
}
