//! What an element of a member holds.

use std::net::{IpAddr, SocketAddr};

use lb_common::addr::{Ipv6Be, Mac, PortBe};
use lb_common::backend::{MacFlags, Member};
use lb_common::nat;

use super::desired::{Alive, DesiredMember, DesiredService, Forwarding, Hop};
use super::outer::outer;
use crate::model::{NatSource, NextHop};

/// Does health let this member serve?
pub(super) fn is_alive(member: &Member) -> bool {
    member.next_hop.flags() & MacFlags::ALIVE != 0
}

/// Does this member take part in the ring?
pub(super) fn serves(member: &Member) -> bool {
    const BOTH: u16 = MacFlags::ALIVE | MacFlags::RESOLVED;
    member.next_hop.flags() & BOTH == BOTH
}

/// Where a member listens.
pub(super) fn socket_address(member: &Member) -> SocketAddr {
    SocketAddr::new(member.address.to_ip(), member.port.host())
}

/// Forgets what means something else in another mode.
pub(super) fn forget_mode(member: &mut Member) {
    member.source = Ipv6Be::default();
    (member.first_port, member.ports, member.idle) = (0, 0, 0);
}

/// What a member's element shall hold.
pub(super) fn contents(service: &DesiredService, wanted: &DesiredMember, installed: Option<&Member>) -> Member {
    let alive = match wanted.alive {
        Alive::Yes => true,
        Alive::No => false,
        Alive::AsInstalled => installed.is_some_and(|m| m.next_hop.flags() & MacFlags::ALIVE != 0),
    };
    let hop = match wanted.hop {
        Hop::Known(hop) => Some(hop),
        Hop::Node => return node(wanted),
        Hop::Unknown => None,
        Hop::AsInstalled => installed
            .filter(|m| m.next_hop.flags() & MacFlags::RESOLVED != 0)
            .map(|m| NextHop {
                mac: m.next_hop.mac(),
                local: m.local.mac(),
                interface: m.interface,
                router: None,
                source: (m.source != Ipv6Be::default()).then(|| m.source.to_ip()),
                mtu: m.outer().mtu,
            }),
    };
    // It is there in every mode, so that `nat` may come and go by one word.
    let source = source(&service.nat.source, wanted, hop, installed);
    // In `nat` a way without a source is none.
    let hop = hop.filter(|_| source.is_some() || service.mode != Forwarding::Nat);
    let mut flags = 0;
    if alive {
        flags |= MacFlags::ALIVE;
    }
    if hop.is_some() {
        flags |= MacFlags::RESOLVED;
    }
    if service.keeps_ports() {
        flags |= MacFlags::KEEPS_PORT;
    }
    let hop = hop.unwrap_or(NextHop {
        mac: Mac::default(),
        local: Mac::default(),
        interface: 0,
        router: None,
        source: None,
        mtu: installed.map_or(0, |m| m.outer().mtu),
    });
    let member = Member {
        address: Ipv6Be::mapped(wanted.address.ip()),
        next_hop: MacFlags::new(hop.mac, flags),
        local: MacFlags::new(hop.local, 0),
        interface: hop.interface,
        port: PortBe::new(wanted.address.port()),
        weight: wanted.weight,
        ..Member::default()
    };
    if service.mode == Forwarding::Tunnel {
        let (source, outer) = outer(&service.tunnel, wanted.address.ip(), hop.mtu);
        return Member { source, ..member }.with_outer(outer);
    }
    let Some(source) = source else {
        return member;
    };
    let ports = service.nat.ports;
    Member {
        source,
        idle: nat::at_least(u64::try_from(service.idle_timeout.as_nanos()).unwrap_or(u64::MAX)),
        first_port: ports.first(),
        ports: ports.count(),
        ..member
    }
}

/// What the element of the node itself holds: all else is about what is sent away.
fn node(wanted: &DesiredMember) -> Member {
    const FLAGS: u16 = MacFlags::ALIVE | MacFlags::RESOLVED | MacFlags::NODE;
    Member {
        address: Ipv6Be::mapped(wanted.address.ip()),
        next_hop: MacFlags::new(Mac::default(), FLAGS),
        port: PortBe::new(wanted.address.port()),
        weight: wanted.weight,
        ..Member::default()
    }
}

/// What a backend sees as the client in `nat`: all zero for the client itself, `None` when the node has nothing to show.
/// Where the way is not known at the moment, the source stays.
fn source(
    source: &NatSource,
    wanted: &DesiredMember,
    hop: Option<NextHop>,
    installed: Option<&Member>,
) -> Option<Ipv6Be> {
    let before = || installed.map(|m| m.source).filter(|&s| s != Ipv6Be::default());
    let of_family = |ip: &IpAddr| ip.is_ipv4() == wanted.address.is_ipv4();
    match source {
        NatSource::Auto => hop.map_or_else(before, |hop| hop.source.map(Ipv6Be::mapped)),
        NatSource::Client => Some(Ipv6Be::default()),
        NatSource::Floating(addresses) => addresses.iter().copied().find(of_family).map(Ipv6Be::mapped),
    }
}
