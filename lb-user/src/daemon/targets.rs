//! Whom the prober and the resolver look after.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::control::{Paths, merge};
use crate::health::Target;
use crate::model::{Backend, Config, MemberKey, Service};

/// Keeps `targets` and `hosts` those of the configuration in force.
pub(super) async fn follow(
    mut in_force: watch::Receiver<Arc<Config>>,
    mut paths: watch::Receiver<Paths>,
    targets: watch::Sender<Vec<Arc<Target>>>,
    hosts: watch::Sender<BTreeSet<IpAddr>>,
) {
    loop {
        let others = tokio::select! {
            Ok(()) = in_force.changed() => true,
            Ok(()) = paths.changed() => false,
            else => return,
        };
        // A new configuration comes behind its paths.
        let config = Arc::clone(&in_force.borrow_and_update());
        if others {
            hosts.send_replace(merge::hosts(&config));
        }
        let wanted = of(&config, &paths.borrow_and_update(), &targets.borrow());
        targets.send_replace(wanted);
    }
}

/// Whom to probe, and by which way. Those that stay as they were `before` are the same.
pub(super) fn of(config: &Config, paths: &Paths, before: &[Arc<Target>]) -> Vec<Arc<Target>> {
    let target = |(place, (service, backend)): (usize, (&Service, &Backend))| {
        let member = MemberKey::of(service, backend);
        let target = Target {
            path: paths.get(&member).cloned(),
            member,
            name: Arc::clone(&backend.name),
            check: service.health.clone(),
        };
        match before.get(place).filter(|before| ***before == target) {
            Some(same) => Arc::clone(same),
            None => Arc::new(target),
        }
    };
    merge::probed(config).enumerate().map(target).collect()
}
