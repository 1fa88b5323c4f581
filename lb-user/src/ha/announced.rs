//! VIPs that the site's routing daemon announces (`[bgp]`): on lo, where it finds them, while this node can serve them.
//!
//! As addresses of virtual routers, they are held for some seconds only: a daemon that is killed lets them go by that, and
//! no more clients come to a node that nobody looks after. What an interface of the node has by itself is left alone.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::DRAINING;
use super::addresses::RENEWAL;
use crate::control::Fitness;
use crate::model::vrrp::Announcement;
use crate::model::{Config, Service, chain};
use crate::net::{Address, LOOPBACK, Net};

/// For so long, in seconds, the kernel keeps them if nobody asks for more.
const SECONDS: u32 = 5;

/// What a reason says when there is nothing against it.
const FINE: &str = "its services have their quorum";

/// See the module.
#[derive(Debug)]
pub(super) struct Announced {
    net: Net,
    vips: Vec<Vip>,
    /// Before this the kernel is to be asked for more.
    renewal: Option<Instant>,
}

#[derive(Debug)]
struct Vip {
    address: IpAddr,
    /// The names of its services that need backends.
    services: Vec<Arc<str>>,
    /// It is on lo.
    held: bool,
    reason: String,
}

impl Announced {
    /// None yet.
    pub(super) fn new(net: Net) -> Self {
        Self {
            net,
            vips: Vec::new(),
            renewal: None,
        }
    }

    /// The file has these. Whatever else is on lo of them is an earlier run's, and goes, unless this daemon `inherits` it.
    pub(super) async fn reconfigure(&mut self, config: &Config, inherits: bool) {
        let before = std::mem::take(&mut self.vips);
        let there = if config.announced.is_empty() && before.is_empty() {
            Vec::new()
        } else {
            self.present().await
        };
        for &address in &config.announced {
            let known = before.iter().find(|vip| vip.address == address);
            let on_lo = there.iter().any(|a| a.ip == address && a.interface == LOOPBACK);
            let held = known.map_or(inherits && on_lo, |vip| vip.held);
            if on_lo && !held {
                self.let_go(address).await;
            }
            self.vips.push(Vip {
                address,
                services: services(config, address),
                held,
                reason: known.map_or_else(String::new, |vip| vip.reason.clone()),
            });
        }
        let announced: BTreeSet<IpAddr> = config.announced.iter().copied().collect();
        let of_routers: BTreeSet<IpAddr> = config.virtual_addresses().collect();
        let vips: BTreeSet<IpAddr> = config.services.iter().flat_map(Service::vip_addresses).collect();
        for Vip { address, .. } in before
            .iter()
            .filter(|vip| vip.held && !announced.contains(&vip.address))
        {
            // An ordinary VIP is the kernel's from now on, until it is put where it belongs.
            if vips.contains(address) && !of_routers.contains(address) {
                let _ = self.hold(*address, u32::MAX).await;
            } else {
                self.let_go(*address).await;
            }
        }
        self.renewal = None;
    }

    /// Puts on what this node can serve, and takes the rest off.
    pub(super) async fn judge(&mut self, fit: &Fitness) {
        if self.vips.is_empty() {
            return;
        }
        let there = self.present().await;
        let foreign: BTreeSet<IpAddr> = there.iter().filter(|a| a.interface != LOOPBACK).map(|a| a.ip).collect();
        for place in 0..self.vips.len() {
            let vip = &self.vips[place];
            let (address, was_held) = (vip.address, vip.held);
            let obstacle = obstacle(&vip.services, foreign.contains(&address), was_held, fit);
            let (held, reason) = match (obstacle, was_held) {
                (None, true) => (true, FINE.to_owned()),
                (None, false) => match self.hold(address, SECONDS).await {
                    Ok(()) => (true, FINE.to_owned()),
                    Err(reason) => (false, reason),
                },
                (Some(reason), true) => {
                    self.let_go(address).await;
                    (false, reason)
                }
                (Some(reason), false) => (false, reason),
            };
            let vip = &mut self.vips[place];
            if held && !was_held {
                tracing::info!(vip = %address, reason, "a VIP is announced");
            } else if !held && vip.reason != reason {
                tracing::info!(vip = %address, reason, "a VIP is not announced");
            }
            (vip.held, vip.reason) = (held, reason);
        }
    }

    /// When [`Self::renew`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.vips.iter().any(|vip| vip.held);
        held.then(|| self.renewal.unwrap_or_else(Instant::now))
    }

    /// Asks the kernel for more time, where that is due.
    pub(super) async fn renew(&mut self) {
        let now = Instant::now();
        if self.renewal.is_some_and(|at| now < at) {
            return;
        }
        self.renewal = Some(now + RENEWAL);
        for place in 0..self.vips.len() {
            let Vip { address, held, .. } = self.vips[place];
            if held && let Err(reason) = self.hold(address, SECONDS).await {
                (self.vips[place].held, self.vips[place].reason) = (false, reason);
            }
        }
    }

    /// Takes all off, for good.
    pub(super) async fn stop(&mut self) {
        for vip in std::mem::take(&mut self.vips) {
            if vip.held {
                self.let_go(vip.address).await;
                tracing::info!(vip = %vip.address, reason = "the daemon stops", "a VIP is not announced");
            }
        }
    }

    pub(super) fn status(&self) -> Vec<Announcement> {
        let status = |vip: &Vip| Announcement {
            address: vip.address,
            announced: vip.held,
            reason: vip.reason.clone(),
        };
        self.vips.iter().map(status).collect()
    }

    async fn present(&self) -> Vec<Address> {
        let there = self.net.addresses().await;
        there
            .inspect_err(|error| tracing::warn!(error = %chain(error), "cannot read the node's addresses"))
            .unwrap_or_default()
    }

    /// For so many seconds; why that cannot be, for people.
    async fn hold(&self, vip: IpAddr, seconds: u32) -> Result<(), String> {
        self.net.hold_vip(LOOPBACK, vip, seconds).await.map_err(|error| {
            let reason = chain(&error);
            tracing::warn!(%vip, error = reason, "cannot hold an address");
            reason
        })
    }

    async fn let_go(&self, vip: IpAddr) {
        if let Err(error) = self.net.remove_vip(LOOPBACK, vip).await {
            tracing::warn!(%vip, error = %chain(&error), "cannot let an address go");
        }
    }
}

/// The services at an address that say something about it. Those of the proxy that have no backends redirect, or have
/// pools for all that they serve.
fn services(config: &Config, address: IpAddr) -> Vec<Arc<str>> {
    let counts = |s: &&Service| !s.is_proxied() || !s.backends.is_empty() || !s.named.is_empty();
    let there = config
        .services
        .iter()
        .filter(|s| s.vips.iter().any(|vip| vip.ip == address));
    there.filter(counts).map(|s| s.name.clone()).collect()
}

/// Why a VIP of these services is not to be announced, for people; `None` when it is. Nobody shall be sent to a node where
/// one of them cannot be served: a route leads to all of them. A service that is new at a VIP which is announced has the
/// time to be probed.
fn obstacle(services: &[Arc<str>], foreign: bool, held: bool, fit: &Fitness) -> Option<String> {
    if fit.draining {
        return Some(DRAINING.to_owned());
    }
    if let Some(fault) = &fit.fault {
        return Some(format!("the kernel is not as the file wants it: {fault}"));
    }
    if let Some(interface) = fit.unattached.first() {
        return Some(format!("the program is not on {interface}"));
    }
    if foreign {
        return Some("an interface of the node has this address by itself".to_owned());
    }
    let quorum = |name: &Arc<str>| fit.quorums.get(name).copied();
    if let Some(name) = services.iter().find(|name| quorum(name) == Some(false)) {
        return Some(format!("{name} has no quorum"));
    }
    let known = services.is_empty() || services.iter().any(|name| quorum(name) == Some(true));
    // What another daemon has handed on stays until this one knows better.
    let stays = held || fit.settled && known;
    (!stays).then(|| "its backends have not all been probed yet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorums(quorums: &[(&str, bool)]) -> Fitness {
        Fitness {
            settled: true,
            quorums: quorums.iter().map(|&(name, has)| (name.into(), has)).collect(),
            ..Fitness::default()
        }
    }

    /// Of a VIP that has `web` and `api`.
    fn of(held: bool, fit: &Fitness) -> Option<String> {
        obstacle(&["web".into(), "api".into()], false, held, fit)
    }

    #[test]
    fn every_service_of_a_vip_needs_its_quorum() {
        assert_eq!(
            of(false, &quorums(&[("web", true), ("api", true), ("other", false)])),
            None
        );
        for held in [false, true] {
            let fit = quorums(&[("web", true), ("api", false)]);
            assert_eq!(of(held, &fit).unwrap(), "api has no quorum");
        }
    }

    #[test]
    fn what_is_not_known_yet_neither_comes_nor_goes() {
        let unknown = quorums(&[]);
        assert!(of(false, &unknown).unwrap().contains("probed"));
        assert_eq!(of(true, &unknown), None, "another daemon has handed it on");
        // One is new at the VIP.
        assert_eq!(of(false, &quorums(&[("web", true)])), None);
        let unsettled = Fitness {
            settled: false,
            ..quorums(&[("web", true), ("api", true)])
        };
        assert!(of(false, &unsettled).is_some());
        assert_eq!(of(true, &unsettled), None);
        // Nobody needs backends.
        assert_eq!(obstacle(&[], false, false, &unknown), None);
    }

    #[test]
    fn a_node_that_cannot_or_shall_not_balance_announces_nothing() {
        let fine = quorums(&[("web", true), ("api", true)]);
        let cases = [
            (
                Fitness {
                    draining: true,
                    ..fine.clone()
                },
                "the node drains",
            ),
            (
                Fitness {
                    fault: Some("cannot write the map SERVICES".to_owned()),
                    ..fine.clone()
                },
                "SERVICES",
            ),
            (
                Fitness {
                    unattached: ["eth1".to_owned()].into(),
                    ..fine.clone()
                },
                "the program is not on eth1",
            ),
        ];
        for (fit, why) in cases {
            for held in [false, true] {
                assert!(of(held, &fit).unwrap().contains(why), "{why}");
            }
        }
        let foreign = obstacle(&["web".into()], true, false, &fine);
        assert!(foreign.unwrap().contains("by itself"));
    }
}
