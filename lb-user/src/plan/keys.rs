//! The keys of services: one for a port of its own, one for each block of a range.

use std::collections::BTreeSet;

use super::snapshot::ServiceKey;
use crate::model::{Protocol, Vip};

/// The keys that services have alone: a block of a range may be a single port, and that is another's where it declares
/// just this port.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    exact: BTreeSet<ServiceKey>,
}

impl Keys {
    /// Of services with these VIPs and protocols.
    #[must_use]
    pub fn of<'a>(services: impl IntoIterator<Item = (&'a [Vip], Protocol)>) -> Self {
        let exact = |(vips, protocol): (&'a [Vip], Protocol)| {
            let vips = vips.iter().filter(|vip| vip.ports.is_one());
            vips.flat_map(move |vip| all(vip, protocol))
        };
        Self {
            exact: services.into_iter().flat_map(exact).collect(),
        }
    }

    /// The keys of one of them.
    pub fn service(&self, vips: &[Vip], protocol: Protocol) -> impl Iterator<Item = ServiceKey> {
        vips.iter().flat_map(move |vip| {
            let own = |key: &ServiceKey| vip.ports.is_one() || !self.exact.contains(key);
            all(vip, protocol).filter(own)
        })
    }
}

fn all(vip: &Vip, protocol: Protocol) -> impl Iterator<Item = ServiceKey> + use<> {
    let ip = vip.ip;
    vip.ports
        .blocks()
        .map(move |block| ServiceKey::block(ip, block, protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_its_own_is_not_part_of_a_range() {
        let vips = |texts: &[&str]| -> Vec<Vip> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let single = vips(&["192.0.2.1:1023", "192.0.2.1:1025"]);
        // Blocks: 1023, 1024 to 1025, 1026; and the same of another VIP.
        let range = vips(&["192.0.2.1:1023-1026", "[2001:db8::1]:1023-1026"]);
        let keys = Keys::of([(&single[..], Protocol::Tcp), (&range[..], Protocol::Tcp)]);
        let exact = ServiceKey::service("192.0.2.1:1023".parse().unwrap(), Protocol::Tcp);
        let of = |vips, protocol| keys.service(vips, protocol).collect::<Vec<_>>();
        assert_eq!(of(&single, Protocol::Tcp).len(), 2);
        assert!(of(&single, Protocol::Tcp).contains(&exact));
        assert_eq!(of(&range, Protocol::Tcp).len(), 5);
        assert!(!of(&range, Protocol::Tcp).contains(&exact));
        assert_eq!(
            of(&range, Protocol::Udp).len(),
            6,
            "of the other protocol nothing is taken"
        );
    }
}
