//! Routes: where a packet to an address goes first.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use lb_common::addr::Mac;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia};

use super::error::{self, Context};
use super::neighbour::{Key, Neighbour};
use super::{Error, Link, Net};
use crate::model::{NextHop, NextHopState};

/// What a route lookup says.
pub(super) enum Route {
    /// Out of an interface, to a router or to the target itself; from this address of the node, in packets of this size.
    Towards {
        hop: Key,
        source: Option<IpAddr>,
        mtu: Option<u32>,
    },
    Local,
    None,
}

impl Route {
    /// Where it leaves the node.
    pub(super) fn interface(&self) -> Option<u32> {
        match self {
            Self::Towards { hop, .. } => Some(hop.interface),
            Self::Local | Self::None => None,
        }
    }

    /// The way to `ip`, by what is known of that interface; or why there is none.
    pub(super) fn way(self, ip: IpAddr, link: Option<Link>) -> Result<Way, String> {
        let (key, source, route_mtu) = match self {
            Self::Towards { hop, source, mtu } => (hop, source, mtu),
            Self::Local => return Err(format!("{ip} is this node itself")),
            Self::None => return Err(format!("no route to {ip}")),
        };
        let Some(link) = link else {
            return Err(format!("no route to {ip}: its interface just left"));
        };
        let Some(local) = link.mac else {
            let name = link.name;
            return Err(format!("the route to {ip} leaves by {name}, which is no Ethernet"));
        };
        Ok(Way {
            key,
            local,
            source,
            mtu: mtu(route_mtu, link.mtu),
            name: link.name,
        })
    }
}

/// The first step on the way to an address.
pub(super) struct Way {
    /// The neighbour that packets go to.
    pub(super) key: Key,
    /// Of the interface.
    local: Mac,
    name: String,
    source: Option<IpAddr>,
    mtu: u16,
}

impl Way {
    /// What is known of the next hop on the way to `ip`, by what is known of the neighbour.
    pub(super) fn state(&self, ip: IpAddr, entry: Option<Neighbour>) -> NextHopState {
        let Self { key, name, .. } = self;
        let Some(mac) = entry.and_then(|entry| entry.mac) else {
            let question = if key.ip.is_ipv4() { "ARP" } else { "neighbour discovery" };
            let asked = |how: &str| format!("{} {how} to {question} on {name}", key.ip);
            return if entry.is_some_and(|entry| entry.failed) {
                NextHopState::Unresolved(asked("does not answer"))
            } else {
                NextHopState::Pending(asked("has not answered yet"))
            };
        };
        NextHopState::Resolved(NextHop {
            mac,
            local: self.local,
            interface: key.interface,
            router: (key.ip != ip).then_some(key.ip),
            source: self.source,
            mtu: self.mtu,
        })
    }
}

impl Net {
    /// The next hop on the way to `ip`, as the kernel knows it now. Nothing is asked of the network: who sends something
    /// there makes the kernel ask.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn next_hop(&self, ip: IpAddr) -> Result<NextHopState, Error> {
        let route = self.route(ip).await?;
        let link = match route.interface() {
            Some(index) => self.link_at(index).await?,
            None => None,
        };
        Ok(match route.way(ip, link) {
            Ok(way) => way.state(ip, self.neighbour(way.key).await?),
            Err(reason) => NextHopState::Unresolved(reason),
        })
    }

    /// What the kernel says of the way to an address.
    pub(super) async fn route(&self, ip: IpAddr) -> Result<Route, Error> {
        use nix::errno::Errno;
        let action = || format!("looking up the route to {ip}");
        let question = match ip {
            IpAddr::V4(ip) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(ip, 32)
                .build(),
            IpAddr::V6(ip) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(ip, 128)
                .build(),
        };
        match self
            .handle
            .route()
            .get(question)
            .execute()
            .try_next()
            .await
            .map_err(error::cause)
        {
            Ok(Some(route)) => Ok(read(&route, ip)),
            Ok(None) => Ok(Route::None),
            // ENETUNREACH: none; the others are what routes of the kinds unreachable, prohibit and blackhole say.
            Err(cause)
                if [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EACCES, Errno::EINVAL]
                    .iter()
                    .any(|&errno| error::is(&cause, errno)) =>
            {
                Ok(Route::None)
            }
            Err(cause) => Err(cause).doing(action),
        }
    }
}

fn read(route: &RouteMessage, ip: IpAddr) -> Route {
    match route.header.kind {
        RouteType::Local => return Route::Local,
        RouteType::Unicast => {}
        _ => return Route::None,
    }
    let mut interface = None;
    let mut gateway = ip;
    let mut source = None;
    let mut mtu = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(router)) => gateway = (*router).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(router)) => gateway = (*router).into(),
            RouteAttribute::Via(RouteVia::Inet6(router)) => gateway = (*router).into(),
            RouteAttribute::PrefSource(RouteAddress::Inet(own)) => source = Some((*own).into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(own)) => source = Some((*own).into()),
            RouteAttribute::Metrics(metrics) => {
                let of = |metric: &RouteMetric| match *metric {
                    RouteMetric::Mtu(mtu) => Some(mtu),
                    _ => None,
                };
                mtu = metrics.iter().find_map(of).filter(|&mtu| mtu > 0);
            }
            _ => {}
        }
    }
    interface.map_or(Route::None, |interface| Route::Towards {
        hop: Key { interface, ip: gateway },
        source,
        mtu,
    })
}

/// The largest packet on a way: what the route says, if it says so, but not more than the interface takes.
fn mtu(route: Option<u32>, link: u32) -> u16 {
    let mtu = route.map_or(link, |route| route.min(link));
    mtu.try_into().unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_may_take_less_than_its_interface() {
        assert_eq!(mtu(None, 1500), 1500);
        assert_eq!(mtu(Some(1400), 1500), 1400);
        assert_eq!(mtu(Some(9000), 1500), 1500);
        assert_eq!(mtu(None, 65_536), u16::MAX);
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        let metrics = vec![RouteMetric::Window(7), RouteMetric::Mtu(1400)];
        route.attributes = vec![RouteAttribute::Oif(3), RouteAttribute::Metrics(metrics)];
        let Route::Towards { mtu, .. } = read(&route, [10, 0, 0, 6].into()) else {
            panic!("it has an interface");
        };
        assert_eq!(mtu, Some(1400));
    }
}
