//! One service for each mode and pair of families, with one backend each: what becomes of a packet is known, and follows
//! from what it was.

use std::net::{IpAddr, SocketAddr};

use lb_common::addr::Mac;
use lb_user::model::{Config, Mode, Protocol};

use crate::nat::{Flow, Node, TX};
use crate::packet;
use crate::rig::{CLIENT, NODE, mac_of};
use crate::shape::tagged;
use crate::toml::{Service, service};

/// Where outer packets come from, and what backends of `nat` see as the client.
const OUTER: &str = "source = [\"172.20.0.0/20\", \"2001:db8:ff::/100\"]";
const OWN_V4: &str = "source = [\"10.0.0.254\"]";
const OWN_V6: &str = "source = [\"fd00::fe\"]";

/// The services of [`ways`].
#[must_use]
pub fn services() -> Vec<Service> {
    vec![
        service("dsr", "dsr", &["192.0.2.10:80"]).backend("10.0.0.1:80"),
        service("dsr6", "dsr", &["[2001:db8::10]:80"]).backend("[fd00::1]:80"),
        service("dsr-udp", "dsr", &["192.0.2.10:53"])
            .udp()
            .backend("10.0.0.2:53"),
        service("tunnel4", "tunnel", &["192.0.2.10:81", "[2001:db8::10]:81"])
            .table("tunnel", OUTER)
            .backend("10.0.0.3:81"),
        service("tunnel6", "tunnel", &["192.0.2.10:82", "[2001:db8::10]:82"])
            .table("tunnel", OUTER)
            .backend("[fd00::4]:82"),
        service("nat", "nat", &["192.0.2.10:83"])
            .table("nat", OWN_V4)
            .backend("10.0.0.5:8080"),
        service("nat6", "nat", &["[2001:db8::10]:83"])
            .table("nat", OWN_V6)
            .backend("[fd00::5]:8080"),
        service("nat-udp", "nat", &["192.0.2.10:84"])
            .udp()
            .table("nat", OWN_V4)
            .backend("10.0.0.6:5353"),
        service("nat-udp6", "nat", &["[2001:db8::10]:84"])
            .udp()
            .table("nat", OWN_V6)
            .backend("[fd00::6]:5353"),
        service("dsr-some", "dsr", &["192.0.2.10:9000-9099"]).backend("10.0.0.7:9000"),
        service("dsr-one", "dsr", &["192.0.2.10:9050"]).backend("10.0.0.8:9050"),
        service("tunnel-all", "tunnel", &["192.0.2.30:*", "[2001:db8::30]:*"])
            .table("tunnel", OUTER)
            .backend("10.0.0.9:9000"),
        service("nat-some", "nat", &["192.0.2.30:9000-9099"])
            .table("nat", OWN_V4)
            .backend("10.0.0.10:9000"),
        service("nat-some6", "nat", &["[2001:db8::30]:9000-9099"])
            .table("nat", OWN_V6)
            .backend("[fd00::a]:9000"),
        service("dsr-exact", "dsr", &["192.0.2.30:9001"]).backend("10.0.0.11:9001"),
    ]
}

/// How packets of a service reach its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As they are.
    Dsr,
    /// In others.
    Tunnel,
    /// Translated.
    Nat,
}

/// A service of [`services`].
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// How its packets reach the backend.
    pub how: How,
    /// A client's flow to it.
    pub flow: Flow,
    /// Its backend.
    pub backend: IpAddr,
}

/// `config` with these services served by the proxy.
#[must_use]
pub fn by_proxy(mut config: Config, names: &[&str]) -> Config {
    let named = |service: &&mut lb_user::model::Service| names.contains(&&*service.name);
    for service in config.services.iter_mut().filter(named) {
        service.mode = Mode::Proxy;
        service.proxy = Some(std::sync::Arc::default());
    }
    config
}

impl Way {
    fn new(how: How, protocol: Protocol, destination: &str, backend: &str) -> Self {
        let destination: SocketAddr = destination.parse().expect("an address");
        let source = if destination.is_ipv4() {
            "198.51.100.7:40000"
        } else {
            "[2001:db8:1::7]:40000"
        };
        Self {
            how,
            flow: Flow {
                protocol,
                ..Flow::tcp(source, &destination.to_string())
            },
            backend: backend.parse().expect("an address"),
        }
    }
}

/// Every service of [`services`] that has a port of its own, and blocks of ports.
#[must_use]
pub fn ways() -> Vec<Way> {
    use How::{Dsr, Nat, Tunnel};
    use Protocol::{Tcp, Udp};
    vec![
        Way::new(Dsr, Tcp, "192.0.2.10:80", "10.0.0.1"),
        Way::new(Dsr, Tcp, "[2001:db8::10]:80", "fd00::1"),
        Way::new(Dsr, Udp, "192.0.2.10:53", "10.0.0.2"),
        Way::new(Tunnel, Tcp, "192.0.2.10:81", "10.0.0.3"),
        Way::new(Tunnel, Tcp, "[2001:db8::10]:81", "10.0.0.3"),
        Way::new(Tunnel, Tcp, "192.0.2.10:82", "fd00::4"),
        Way::new(Tunnel, Tcp, "[2001:db8::10]:82", "fd00::4"),
        Way::new(Nat, Tcp, "192.0.2.10:83", "10.0.0.5"),
        Way::new(Nat, Tcp, "[2001:db8::10]:83", "fd00::5"),
        Way::new(Nat, Udp, "192.0.2.10:84", "10.0.0.6"),
        Way::new(Nat, Udp, "[2001:db8::10]:84", "fd00::6"),
        Way::new(Dsr, Tcp, "192.0.2.10:9000", "10.0.0.7"),
        Way::new(Dsr, Tcp, "192.0.2.10:9051", "10.0.0.7"),
        Way::new(Dsr, Tcp, "192.0.2.10:9050", "10.0.0.8"),
        Way::new(Tunnel, Tcp, "192.0.2.30:1", "10.0.0.9"),
        Way::new(Tunnel, Tcp, "[2001:db8::30]:65535", "10.0.0.9"),
        Way::new(Tunnel, Tcp, "192.0.2.30:8999", "10.0.0.9"),
        Way::new(Nat, Tcp, "192.0.2.30:9000", "10.0.0.10"),
        Way::new(Nat, Tcp, "192.0.2.30:9099", "10.0.0.10"),
        Way::new(Nat, Tcp, "[2001:db8::30]:9001", "fd00::a"),
        Way::new(Dsr, Tcp, "192.0.2.30:9001", "10.0.0.11"),
    ]
}

/// Where outer packets come from.
fn is_source(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..2] == [172, 20] && v4.octets()[2] < 16,
        IpAddr::V6(v6) => v6.octets()[..12] == [0x20, 1, 0xd, 0xb8, 0, 0xff, 0, 0, 0, 0, 0, 0] && v6.octets()[12] < 16,
    }
}

/// What an outer packet holds, which must be right in every byte.
///
/// # Panics
/// When it is not.
#[must_use]
#[track_caller]
pub fn inside(outer: &[u8], backend: IpAddr, inner_length: usize) -> (IpAddr, Vec<u8>) {
    let v4 = backend.is_ipv4();
    let header = if v4 { 20 } else { 40 };
    let inner = outer[header..].to_vec();
    let six = inner[0] >> 4 == 6;
    let class = if six { inner[0] << 4 | inner[1] >> 4 } else { inner[1] };
    let next = if six { 41 } else { 4 };
    let source = if v4 {
        IpAddr::from(<[u8; 4]>::try_from(&outer[12..16]).expect("4"))
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&outer[8..24]).expect("16"))
    };
    assert!(is_source(source), "{source}");
    let mut expected = packet::ip(source, backend, next, &inner[..inner_length]);
    if v4 {
        expected[1] = class;
        expected[4..6].fill(0);
        expected[8] = 64;
        packet::fix_ipv4(&mut expected);
    } else {
        expected[0] = 0x60 | class >> 4;
        expected[1] = class << 4 | outer[1] & 0xf;
        expected[2..4].copy_from_slice(&outer[2..4]);
        expected[7] = 64;
    }
    assert_eq!(outer[..header], expected[..header]);
    (source, inner)
}

/// A client's packets, of a shape that follows from their addresses, reach the backend in the same shape, behind the same
/// tags. Returns the flow as the backend sees it.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn reaches(node: &mut Node, way: Way, tags: &[(u16, u16)], shape: impl Fn(Flow) -> Vec<Vec<u8>>) -> Flow {
    let mut there = way.flow;
    for (i, packet) in shape(way.flow).iter().enumerate() {
        let (action, output) = node.send(&tagged(NODE, CLIENT, tags, packet));
        assert_eq!(action, TX, "{way:?}: {:?}", node.dropped());
        if way.how == How::Nat {
            let entry = node.flow(way.flow).expect("a flow");
            there.source = SocketAddr::new(entry.source.to_ip(), entry.ports.source.host());
            there.destination = SocketAddr::new(entry.destination.to_ip(), entry.ports.destination.host());
            assert_eq!(there.destination.ip(), way.backend);
        }
        let mac = mac_of(way.backend);
        if way.how == How::Tunnel {
            let head = 14 + tags.len() * 4;
            let (_, inner) = inside(&output[head..], way.backend, packet.len());
            assert_eq!(
                output[..head],
                tagged(mac, NODE, tags, &output[head..])[..head],
                "{way:?}"
            );
            assert_eq!(inner, *packet, "{way:?}");
        } else {
            assert_eq!(output, tagged(mac, NODE, tags, &shape(there)[i]), "{way:?}");
        }
    }
    there
}

/// The backend's packets, of a shape that follows from their addresses, reach the client in the same shape.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn answers(node: &mut Node, way: Way, there: Flow, tags: &[(u16, u16)], shape: impl Fn(Flow) -> Vec<Vec<u8>>) {
    for (sent, got) in shape(there.reversed()).iter().zip(shape(way.flow.reversed())) {
        let output = node.send(&tagged(NODE, mac_of(way.backend), tags, sent));
        assert_eq!(output, (TX, tagged(CLIENT, NODE, tags, &got)), "{way:?}");
    }
}

/// The MAC that a way leads to.
#[must_use]
pub fn mac(way: Way) -> Mac {
    mac_of(way.backend)
}
