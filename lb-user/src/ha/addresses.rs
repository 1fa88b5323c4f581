//! Addresses of virtual routers: on the node while it is master, and known to its neighbours.
//!
//! The kernel holds them for some seconds only, and is asked for more again and again: a daemon that is killed, or stopped,
//! lets them go by that, and nobody answers twice.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use crate::control::addresses::take_off;
use crate::model::vrrp::VirtualRouter;
use crate::model::{Interface, chain};
use crate::net::Announcer;

/// 1 s; a third of the least lifetime, so that two may fail.
pub(super) const RENEWAL: Duration = Duration::from_secs(1);

/// How long the kernel keeps addresses if nobody asks for more, in seconds: by then another node is master.
fn lifetime(config: &VirtualRouter) -> u32 {
    let takeover = 4 * config.interval;
    u32::try_from(takeover.as_secs()).unwrap_or(u32::MAX).saturating_add(3)
}

impl Engine {
    /// Puts the addresses on the interface, or keeps them there. Those that are the interface's own stay as they are.
    pub(super) async fn hold(&mut self, place: usize) {
        let router = &mut self.routers[place];
        router.renewal = router.renewal.map(|_| Instant::now() + RENEWAL);
        let router = &self.routers[place];
        let Some(interface) = self.interface(&router.config.interface) else {
            return;
        };
        let is_own = |ip: &IpAddr| interface.addresses.iter().any(|(own, _)| own == ip);
        for ip in router.config.addresses.iter().filter(|ip| !is_own(ip)) {
            if let Err(error) = self.net.hold_vip(interface.index, *ip, lifetime(&router.config)).await {
                tracing::warn!(virtual_router = %router.config.name, error = %chain(&error), "cannot hold an address");
            }
        }
    }

    /// Leaves these addresses, if they are there, to whoever looks after VIPs: the kernel keeps them from now on.
    pub(super) async fn leave(&self, config: &VirtualRouter, left: &[IpAddr]) {
        let Some(interface) = self.interface(&config.interface) else {
            return;
        };
        for ip in left {
            if let Err(error) = self.net.hold_vip(interface.index, *ip, u32::MAX).await {
                tracing::warn!(virtual_router = %config.name, error = %chain(&error), "cannot hold an address");
            }
        }
    }

    /// Tells neighbours where the addresses are.
    pub(super) async fn announce(&mut self, place: usize) {
        if self.announcer.is_none() {
            self.announcer = Announcer::inside(self.net.namespace())
                .inspect_err(|error| tracing::warn!(%error, "cannot announce addresses"))
                .ok();
        }
        let router = &self.routers[place];
        let (Some(announcer), Some(interface)) = (&self.announcer, self.interface(&router.config.interface)) else {
            return;
        };
        for ip in &router.config.addresses {
            if let Err(error) = announcer.announce(*ip, interface.index, interface.mac) {
                tracing::warn!(virtual_router = %router.config.name, %error, "cannot announce an address");
            }
        }
    }

    fn interface(&self, name: &str) -> Option<Interface> {
        self.found
            .borrow()
            .iter()
            .find(|interface| interface.name == *name)
            .cloned()
    }

    /// Takes addresses off whatever interface has them.
    pub(super) async fn release(&self, gone: &[IpAddr]) {
        for ip in gone {
            if let Err(error) = take_off(&self.net, *ip).await {
                tracing::warn!(vip = %ip, error = %chain(&error), "cannot let an address go");
            }
        }
    }

    /// Is the node master, by what its interfaces have?
    pub(super) async fn holds_all(&self, config: &VirtualRouter) -> bool {
        let there = self.net.addresses().await.unwrap_or_default();
        config
            .addresses
            .iter()
            .all(|ip| there.iter().any(|address| address.ip == *ip))
    }
}
