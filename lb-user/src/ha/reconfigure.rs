//! Other virtual routers, as the file has them now.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::time::Instant;

use super::Engine;
use super::listeners::advertise;
use super::machine::{Effect, Event};
use super::router::Router;
use crate::model::vrrp::{Role, Tracked, VirtualRouter};
use crate::model::{Config, Service, chain};
use crate::net::watch;

impl Engine {
    /// The file has these virtual routers. One that is the same to others goes on as it is. One that a master has become
    /// with another interval or other tracks is master, too.
    pub(super) async fn reconfigure(&mut self, config: &Config, inherits: bool) {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.routers);
        for config in &config.routers {
            if let Some(place) = before.iter().position(|router| router.is_still(config)) {
                let mut router = before.remove(place);
                router.take(config.clone());
                self.routers.push(router);
                continue;
            }
            let mut router = Router::new(config.clone(), now, &self.programs, &self.said);
            let stands_for = |other: &Router| other.machine.role() == Role::Master && other.stands_for(config);
            if let Some(place) = before.iter().position(stands_for) {
                before.remove(place);
                router.inherited = true;
            } else if inherits && self.holds_all(config).await {
                router.inherited = true;
            } else {
                // What an earlier run has left is nobody's yet.
                self.release(&config.addresses).await;
            }
            self.routers.push(router);
        }
        for router in before {
            self.end(router, config, now).await;
        }
        self.announced.reconfigure(config, inherits).await;
        self.watch_interfaces().await;
    }

    /// Ends a virtual router that is no more. It says so, and does not wait for the next master.
    async fn end(&mut self, mut router: Router, config: &Config, now: Instant) {
        let mut effects = router.machine.handle(Event::Stop, now);
        if let Some(due) = router.machine.due() {
            effects.extend(router.machine.handle(Event::Time, due));
        }
        let of_routers: BTreeSet<IpAddr> = config.virtual_addresses().collect();
        let vips: BTreeSet<IpAddr> = config.services.iter().flat_map(Service::vip_addresses).collect();
        for effect in effects {
            match effect {
                Effect::Advertise(priority) => advertise(&self.listeners, &mut router, priority),
                Effect::Release => {
                    // Whoever has them now in the file looks after them.
                    let mine = |ip: &IpAddr| !of_routers.contains(ip);
                    let mine = router.config.addresses.iter().copied().filter(mine);
                    let stays = |ip: &IpAddr| vips.contains(ip) && !config.announced.contains(ip);
                    let (left, gone): (Vec<_>, Vec<_>) = mine.partition(stays);
                    self.leave(&router.config, &left).await;
                    self.release(&gone).await;
                }
                Effect::Became(role, reason) => router.became(role, reason),
                Effect::Hold | Effect::Announce => {}
            }
        }
        tokio::spawn(router.end());
    }

    /// Watches the interfaces that somebody names; how they are now is known when this returns.
    async fn watch_interfaces(&mut self) {
        let names: BTreeSet<String> = self.routers.iter().flat_map(|router| names(&router.config)).collect();
        if names == self.watched {
            return;
        }
        self.watcher.abort_all();
        let all: Vec<String> = names.iter().cloned().collect();
        match watch::look(&self.net, &all).await {
            Ok(found) => _ = self.found.send_replace(found),
            Err(error) => tracing::warn!(error = %chain(&error), "cannot look at the interfaces"),
        }
        if !all.is_empty() {
            self.watcher
                .spawn(watch::run(self.net.clone(), all, self.found.clone()));
        }
        self.watched = names;
    }
}

/// The interfaces that a virtual router names.
fn names(config: &VirtualRouter) -> impl Iterator<Item = String> {
    let tracked = config.tracks.iter().filter_map(|track| match &track.subject {
        Tracked::Interface(name) => Some(name.to_string()),
        Tracked::Script(_) | Tracked::Service(_) | Tracked::File(_) => None,
    });
    std::iter::once(config.interface.to_string()).chain(tracked)
}
