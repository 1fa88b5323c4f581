//! The quickstart lab: a client, a balancer and three web servers on one switch; direct return, and for one step `nat`.
//!
//! Here is what it consists of; [`tour`] is what it shows.

pub(super) mod tour;

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::state::Lab;
use super::topology::{Host, Interface, Switch, Topology};

pub(super) const NAME: &str = "quickstart";
pub(super) const SUMMARY: &str = "one balancer, three web servers: spread, failover, weights, direct return and nat";

/// Name of the switch, which is no host.
const SWITCH: &str = "switch";

/// The web servers, which are the backends.
const SERVERS: [&str; 3] = ["web1", "web2", "web3"];

/// Of the health checks of `web` and `web6`.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(400);
const FALL: u32 = 2;

/// Ports of the VIPs.
const WEB: u16 = 80;
const ECHO: u16 = 7;

const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, last))
}

const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last))
}

const VIP: IpAddr = v4(100);
const VIP6: IpAddr = v6(0x100);
const LB: IpAddr = v4(1);
const CLIENT: IpAddr = v4(10);
const CLIENT6: IpAddr = v6(0x10);

/// Addresses of a web server: 10.77.0.11 and fd77::11 are web1's.
fn server(index: usize) -> (IpAddr, IpAddr) {
    let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
    (v4(10 + number), v6(0x10 + u16::from(number)))
}

/// Where a web server listens: its own addresses are for the health checks, the VIPs for the clients.
fn listens(index: usize) -> Vec<SocketAddr> {
    let (own, own6) = server(index);
    [
        (own, WEB),
        (own6, WEB),
        (VIP, WEB),
        (VIP6, WEB),
        (VIP, ECHO),
        (VIP6, ECHO),
    ]
    .map(SocketAddr::from)
    .to_vec()
}

pub(super) fn topology() -> Topology {
    let card = |v4, v6, xdp| Interface {
        name: "eth0".into(),
        switch: SWITCH.into(),
        addresses: vec![(v4, 24), (v6, 64)],
        xdp,
    };
    let mut hosts = vec![
        Host {
            name: "client".into(),
            interfaces: vec![card(CLIENT, CLIENT6, false)],
            ..Host::default()
        },
        Host {
            name: "lb".into(),
            interfaces: vec![card(LB, v6(1), true)],
            ..Host::default()
        },
    ];
    for (index, name) in SERVERS.iter().enumerate() {
        let (own, own6) = server(index);
        hosts.push(Host {
            name: (*name).into(),
            interfaces: vec![card(own, own6, false)],
            loopback: vec![VIP, VIP6],
            // Without these every server would answer ARP for the VIP, and clients would pass the balancer by.
            sysctls: [("arp_ignore", "1"), ("arp_announce", "2")]
                .map(|(key, value)| (format!("ipv4/conf/all/{key}"), value.to_owned()))
                .to_vec(),
            routers: vec![],
        });
    }
    Topology {
        switches: vec![Switch { name: SWITCH.into() }],
        hosts,
    }
}

/// The balancer's configuration, with the weights of the backends of `web`, which is in mode `dsr`.
fn config(lab: &Lab, weights: [u16; 3]) -> String {
    let mut text = format!(
        "# The quickstart lab's balancer. Change it while the lab is up: the daemon sees it and reloads.\n\
         [node]\n\
         name = \"lb\"\n\
         interfaces = [\"eth0\"]\n\
         xdp-mode = \"native\"\n\
         state-dir = \"{state}\"\n\
         pin-dir = \"{pins}\"\n\
         \n\
         [admin]\n\
         socket = \"{socket}\"\n",
        state = lab.folder().join("state").display(),
        pins = lab.pins().join("fulcrum").display(),
        socket = lab.socket().display(),
    );
    let web = format!(
        "\n[service.health]\n\
         kind = \"http\"\n\
         path = \"/healthz\"\n\
         interval = \"{}ms\"\n\
         timeout = \"{}ms\"\n\
         rise = 1\n\
         fall = {FALL}\n",
        INTERVAL.as_millis(),
        TIMEOUT.as_millis()
    );
    let echo = "\n[service.health]\nkind = \"none\"\n".to_owned();
    for (name, vip, port, protocol, health, weights) in [
        ("web", VIP, WEB, "tcp", &web, weights),
        ("web6", VIP6, WEB, "tcp", &web, [1; 3]),
        ("echo", VIP, ECHO, "udp", &echo, [1; 3]),
        ("echo6", VIP6, ECHO, "udp", &echo, [1; 3]),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[service]]\n\
             name = \"{name}\"\n\
             address = [\"{}\"]\n\
             protocol = \"{protocol}\"\n\
             mode = \"dsr\"\n\
             {health}",
            SocketAddr::from((vip, port)),
        );
        for (index, (server_name, weight)) in SERVERS.iter().zip(weights).enumerate() {
            let (own, own6) = server(index);
            let address = SocketAddr::from((if vip.is_ipv4() { own } else { own6 }, port));
            let _ = write!(
                text,
                "\n[[service.backend]]\nname = \"{server_name}\"\naddress = \"{address}\"\nweight = {weight}\n"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HealthKind;

    #[test]
    fn the_balancer_takes_its_configuration() {
        let lab = Lab::at(NAME).unwrap();
        let parsed = crate::config::parse("quickstart", &config(&lab, [4, 1, 1])).unwrap();
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        let names: Vec<&str> = parsed.config.services.iter().map(|service| &*service.name).collect();
        assert_eq!(names, ["web", "web6", "echo", "echo6"]);
        let [web, _, echo, _] = parsed.config.services.as_slice() else {
            panic!("four services")
        };
        assert_eq!(
            web.backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(),
            [4, 1, 1]
        );
        assert_eq!(
            (web.health.interval, web.health.timeout, web.health.fall.get()),
            (INTERVAL, TIMEOUT, FALL)
        );
        assert_eq!(echo.health.kind, HealthKind::None);
    }

    #[test]
    fn backends_are_where_the_servers_listen() {
        let lab = Lab::at(NAME).unwrap();
        let parsed = crate::config::parse("quickstart", &config(&lab, [1; 3])).unwrap();
        for service in parsed.config.services {
            for (index, backend) in service.backends.iter().enumerate() {
                let host = &topology().hosts[2 + index];
                assert_eq!(*host.name, *backend.name);
                let owns =
                    |interface: &Interface| interface.addresses.iter().any(|(ip, _)| *ip == backend.address.ip());
                assert!(host.interfaces.iter().any(owns), "{}", backend.address);
                assert!(
                    service
                        .vips
                        .iter()
                        .all(|vip| listens(index).iter().any(|&listens| vip.contains(listens))),
                    "{:?}",
                    service.vips
                );
                let probed = service.health.kind != HealthKind::None;
                assert!(
                    !probed || listens(index).contains(&backend.address),
                    "{}",
                    backend.address
                );
            }
        }
    }
}
