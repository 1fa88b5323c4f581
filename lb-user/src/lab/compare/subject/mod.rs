//! Ways to balance: what each of them is, and how it is started, changed and stopped on the balancer's host.
//!
//! One of them runs at a time. All have the same VIP, the same two ports and the same two servers; what only some of them
//! can do is left at what their makers ship.

mod fulcrum;
mod haproxy;
mod ipvs;
mod nftables;
mod nginx;

use std::net::{IpAddr, SocketAddr};

use super::bed::{Bed, VIP, WEB1, WEB2};
use crate::lab::program::installed;

/// What the configuration says that changes during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    /// Of web1 and web2.
    pub(super) weights: [u16; 2],
    /// web2 gets nothing new.
    pub(super) drained: bool,
}

/// Both servers alike.
pub(super) const EVEN: Setup = Setup {
    weights: [1, 1],
    drained: false,
};

/// Weights 1 and 5.
pub(super) const UNEVEN: Setup = Setup {
    weights: [1, 5],
    drained: false,
};

/// web2 taken out.
pub(super) const DRAINED: Setup = Setup { drained: true, ..EVEN };

/// A way to balance, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) layer: u8,
    /// Whether clients speak TLS in samples.
    pub(super) tls: bool,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Fulcrum(&'static str),
    Haproxy(haproxy::Mode),
    Nginx(nginx::Module),
    Nftables,
    Ipvs,
}

const fn subject(name: &'static str, what: &'static str, layer: u8, way: Way) -> Subject {
    Subject {
        name,
        what,
        layer,
        tls: false,
        way,
    }
}

const fn over_tls(subject: Subject) -> Subject {
    Subject { tls: true, ..subject }
}

/// All of them, in the order in which they are shown.
pub(super) const SUBJECTS: [Subject; 14] = [
    subject("direct", "no balancer: clients ask one server", 0, Way::Direct),
    subject(
        "dsr",
        "Fulcrum, XDP: the server answers the client itself",
        4,
        Way::Fulcrum("dsr"),
    ),
    subject(
        "tunnel",
        "Fulcrum, XDP: IP in IP to the server",
        4,
        Way::Fulcrum("tunnel"),
    ),
    subject(
        "nat",
        "Fulcrum, XDP: addresses translated both ways",
        4,
        Way::Fulcrum("nat"),
    ),
    subject("proxy", "Fulcrum's HTTP proxy", 7, Way::Fulcrum("proxy")),
    over_tls(subject(
        "proxy-tls",
        "Fulcrum's HTTP proxy, TLS with clients",
        7,
        Way::Fulcrum("proxy"),
    )),
    subject("haproxy-tcp", "HAProxy, mode tcp", 4, Way::Haproxy(haproxy::Mode::Tcp)),
    subject(
        "haproxy-http",
        "HAProxy, mode http",
        7,
        Way::Haproxy(haproxy::Mode::Http),
    ),
    over_tls(subject(
        "haproxy-tls",
        "HAProxy, mode http, TLS with clients",
        7,
        Way::Haproxy(haproxy::Mode::Http),
    )),
    subject("nginx-stream", "nginx, stream", 4, Way::Nginx(nginx::Module::Stream)),
    subject("nginx-http", "nginx, proxy_pass", 7, Way::Nginx(nginx::Module::Http)),
    over_tls(subject(
        "nginx-tls",
        "nginx, proxy_pass, TLS with clients",
        7,
        Way::Nginx(nginx::Module::Http),
    )),
    subject("nftables", "DNAT and masquerading in the kernel", 4, Way::Nftables),
    subject("ipvs", "IPVS in the kernel, direct routing", 4, Way::Ipvs),
];

impl Subject {
    /// It is a mode of Fulcrum.
    pub(super) fn own(&self) -> bool {
        matches!(self.way, Way::Fulcrum(_))
    }

    /// There is something that balances.
    pub(super) fn balances(&self) -> bool {
        self.way != Way::Direct
    }

    /// Where clients ask, with TLS or without.
    pub(super) fn address(&self, tls: bool) -> SocketAddr {
        let ip: IpAddr = if self.balances() { VIP } else { WEB1 };
        SocketAddr::new(ip, if tls { 443 } else { 80 })
    }

    /// The server that something happens to.
    pub(super) fn victim(&self) -> &'static str {
        if self.balances() { "web2" } else { "web1" }
    }

    /// The part of requests that each server is to get.
    pub(super) fn expected(&self, setup: Setup) -> [(&'static str, f64); 2] {
        let [one, two] = setup.weights.map(f64::from);
        match self.balances() {
            true => [("web1", one / (one + two)), ("web2", two / (one + two))],
            false => [("web1", 1.0), ("web2", 0.0)],
        }
    }

    /// Why it cannot be measured on this machine, and the way out.
    pub(super) fn missing(&self) -> Option<String> {
        let (program, package) = match self.way {
            Way::Direct | Way::Fulcrum(_) => return None,
            Way::Haproxy(_) => ("haproxy", "haproxy"),
            Way::Nginx(module) => return nginx::missing(module),
            Way::Nftables => ("nft", "nftables"),
            Way::Ipvs => ("ipvsadm", "ipvsadm"),
        };
        if installed(program).is_none() {
            return Some(format!("{program} is not installed: apt-get install {package}"));
        }
        (self.way == Way::Ipvs).then(ipvs::missing).flatten()
    }

    /// Starts it, and waits until it serves.
    pub(super) async fn start(&self, bed: &Bed, setup: Setup) -> anyhow::Result<()> {
        match self.way {
            Way::Direct => Ok(()),
            Way::Fulcrum(mode) => fulcrum::start(bed, mode, setup).await,
            Way::Haproxy(mode) => haproxy::start(bed, mode, setup).await,
            Way::Nginx(module) => nginx::start(bed, module, setup).await,
            Way::Nftables => nftables::load(bed, setup).await,
            Way::Ipvs => ipvs::start(bed, setup).await,
        }
    }

    /// Changes what it does while it runs, in its own way, and waits until that is in force.
    pub(super) async fn reload(&self, bed: &Bed, setup: Setup) -> anyhow::Result<()> {
        match self.way {
            Way::Direct => Ok(()),
            Way::Fulcrum(mode) => fulcrum::reload(bed, mode, setup).await,
            Way::Haproxy(mode) => haproxy::reload(bed, mode, setup).await,
            Way::Nginx(module) => nginx::reload(bed, module, setup).await,
            Way::Nftables => nftables::load(bed, setup).await,
            Way::Ipvs => ipvs::edit(bed, setup).await,
        }
    }

    /// Takes web2 out as its makers want it done: what is there may go on.
    pub(super) async fn drain(&self, bed: &Bed) -> anyhow::Result<()> {
        match self.way {
            Way::Fulcrum(_) => fulcrum::drain(bed).await,
            Way::Haproxy(mode) => haproxy::drain(bed, mode).await,
            _ => self.reload(bed, DRAINED).await,
        }
    }

    /// Tells it to end, and waits until it has. What stays in the kernel by design stays.
    pub(super) async fn end(&self, bed: &Bed) -> anyhow::Result<()> {
        match self.way {
            Way::Direct => Ok(()),
            Way::Fulcrum(_) | Way::Haproxy(_) | Way::Nginx(_) => bed.end_balancer().await,
            Way::Nftables => nftables::unload(bed).await,
            Way::Ipvs => ipvs::stop(bed).await,
        }
    }

    /// Removes all of it.
    pub(super) async fn stop(&self, bed: &Bed) -> anyhow::Result<()> {
        if self.balances() {
            bed.end_all().await?;
        }
        match self.way {
            Way::Direct | Way::Haproxy(_) | Way::Nginx(_) => Ok(()),
            Way::Fulcrum(mode) => fulcrum::remove(bed, mode).await,
            Way::Nftables => nftables::unload(bed).await,
            Way::Ipvs => ipvs::stop(bed).await,
        }
    }
}

/// Names and ports of the servers, in the order of weights.
const SERVERS: [(&str, IpAddr); 2] = [("web1", WEB1), ("web2", WEB2)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = SUBJECTS.iter().map(|subject| subject.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUBJECTS.len());
    }

    #[test]
    fn parts_are_as_weights_say() {
        let [direct, dsr, ..] = &SUBJECTS;
        assert_eq!(dsr.expected(UNEVEN), [("web1", 1.0 / 6.0), ("web2", 5.0 / 6.0)]);
        assert_eq!(direct.expected(UNEVEN), [("web1", 1.0), ("web2", 0.0)]);
        assert_eq!(dsr.address(true).to_string(), "10.77.7.100:443");
        assert_eq!(direct.address(false).to_string(), "10.77.7.21:80");
    }
}
