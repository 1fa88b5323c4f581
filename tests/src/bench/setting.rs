//! A balancer with services: what a group of cases is measured on.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use lb_common::limits::FLOW_TABLE;
use lb_user::dataplane::kernel::Kernel;
use lb_user::model::{Config, Prefix};
use lb_user::net::LOOPBACK;

use super::link::Link;
use crate::rig::{Rig, SEED, rig_on};

/// Services that are all alike, one VIP each, with the same backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `mode` of the file.
    pub mode: &'static str,
    /// `balance` of the file.
    pub balance: &'static str,
    /// IPv6, clients and backends.
    pub v6: bool,
    /// UDP.
    pub udp: bool,
    /// How many services.
    pub services: u32,
    /// How many backends each of them has.
    pub backends: u32,
    /// Flows that the tables have room for.
    pub table: u32,
    /// What protects the services.
    pub shield: Shield,
    /// Whether packets really leave, over a [`Link`].
    pub sends: bool,
}

/// What protects services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shield {
    /// Nothing.
    None,
    /// All rungs that can be, and nobody is refused.
    All,
    /// SYN cookies, and no other rung.
    Cookies,
    /// A short list, with every client in it.
    Short,
    /// A million prefixes of IPv4, with no client in them.
    Million,
}

impl Shield {
    /// As the file says it.
    const fn toml(self) -> &'static str {
        match self {
            Self::None => "",
            Self::All => {
                "[protection]\nbogons = true\ndeny = [\"203.0.113.0/24\", \"192.88.99.0/24\", \"2001:db8:666::/48\"]\n\
                 connections-per-second = { limit = 10000000 }\npackets-per-second = { limit = 10000000 }\n\
                 icmp-per-second = { limit = 100 }\nsyn-cookies = { above = 0 }\n"
            }
            Self::Cookies => "[protection]\nmalformed = false\nsyn-cookies = { above = 0 }\n",
            Self::Short => "[protection]\ndeny = [\"198.18.0.0/15\", \"203.0.113.0/24\", \"192.88.99.0/24\"]\n",
            Self::Million => "[protection]\n",
        }
    }
}

/// A million different prefixes, most of them single addresses, none of which holds an even address.
fn million() -> Arc<[Prefix]> {
    let odd = |i: u32| i.wrapping_mul(0x85eb_ca6b << 1) | 1;
    let prefix = |i| Prefix {
        ip: IpAddr::V4(odd(i).into()),
        length: 32,
    };
    let mut all: Vec<Prefix> = (0..1_000_000).map(prefix).collect();
    all.sort_unstable();
    all.into()
}

/// Port of every service and backend.
pub(super) const PORT: u16 = 80;

impl Setting {
    /// One service of TCP over IPv4 with 16 backends, and tables as they are by default.
    #[must_use]
    pub const fn new(mode: &'static str, balance: &'static str) -> Self {
        Self {
            mode,
            balance,
            v6: false,
            udp: false,
            services: 1,
            backends: 16,
            table: FLOW_TABLE,
            shield: Shield::None,
            sends: false,
        }
    }

    /// Is a flow written down when it opens?
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.mode == "nat" || matches!(self.balance, "round-robin" | "least-connections")
    }

    /// VIP of service `index`.
    #[must_use]
    pub fn vip(&self, index: u32) -> SocketAddr {
        SocketAddr::new(self.address(Net::Vips, index + 1), PORT)
    }

    /// An address that is nobody's.
    #[must_use]
    pub fn nobody(&self) -> SocketAddr {
        SocketAddr::new(self.address(Net::Vips, 250), PORT)
    }

    /// Address of backend `index`.
    #[must_use]
    pub fn backend(&self, index: u32) -> IpAddr {
        self.address(Net::Backends, index + 1)
    }

    fn address(&self, net: Net, host: u32) -> IpAddr {
        let last = host as u8;
        match (net, self.v6) {
            (Net::Vips, false) => Ipv4Addr::new(192, 0, 2, last).into(),
            (Net::Vips, true) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
            (Net::Backends, false) => Ipv4Addr::new(10, 0, 1, last).into(),
            (Net::Backends, true) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, last.into()).into(),
        }
    }

    fn toml(&self) -> String {
        let mut toml = format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n{}",
            self.shield.toml()
        );
        let protocol = if self.udp { "udp" } else { "tcp" };
        for service in 0..self.services {
            let Self { mode, balance, .. } = self;
            let vip = self.vip(service);
            let _ = write!(
                toml,
                "[[service]]\nname = \"s{service}\"\naddress = \"{vip}\"\nprotocol = \"{protocol}\"\n\
                 mode = \"{mode}\"\nbalance = \"{balance}\"\n[service.health]\nkind = \"none\"\n"
            );
            if *mode != "proxy" {
                // As many ports as there are: a million flows want them.
                toml.push_str("[service.nat]\nports = \"1024-65535\"\n");
            }
            for backend in 0..self.backends {
                let address = SocketAddr::new(self.backend(backend), PORT);
                let _ = write!(toml, "[[service.backend]]\naddress = \"{address}\"\n");
            }
        }
        toml
    }

    /// What a file with these services says.
    ///
    /// # Errors
    /// When this version does not know the mode or the balance.
    pub fn config(&self) -> Result<Config> {
        let parsed = lb_user::config::parse("bench.toml", &self.toml());
        let mut config = parsed.map_err(|error| anyhow::anyhow!("{error}"))?.config;
        if let (Shield::Million, Some(protection)) = (self.shield, &mut config.protection) {
            protection.lists.deny = million();
        }
        Ok(config)
    }

    /// Loads the balancer, and fills its maps.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    #[expect(clippy::disallowed_methods, reason = "the kernel tells the load's time by it")]
    pub(super) async fn load(&self, link: Option<&Link>) -> Result<(Rig, Loading)> {
        let config = self.config()?;
        let start = Instant::now();
        let kernel = Kernel::private_with(SEED, self.table).context("the balancer")?;
        let loading = Loading {
            took: start.elapsed(),
            end: SystemTime::now(),
        };
        let interface = link.map_or(LOOPBACK, Link::index);
        let mut rig = rig_on(interface, kernel, config, &[]).await;
        // No client of a bench has a connection.
        rig.dataplane_mut().believe_stamps();
        Ok((rig, loading))
    }
}

/// How long a load took: programs and maps, without what is written into them.
pub(super) struct Loading {
    pub(super) took: Duration,
    pub(super) end: SystemTime,
}

#[derive(Clone, Copy)]
enum Net {
    Vips,
    Backends,
}
