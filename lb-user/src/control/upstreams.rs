//! What the proxy is told: who may serve, with which share, and whom to end. Pure.

use std::sync::Arc;

use super::merge::Facts;
use crate::model::proxy::HashOn;
use crate::model::status::Pool;
use crate::model::traffic::{PoolMember, Upstreams, serving};
use crate::model::{AdminState, Balance, MemberKey, Service};

impl Facts {
    /// The services of the proxy and the pools, as they are now.
    #[must_use]
    pub fn upstreams(&self) -> Upstreams {
        let pools = self.config.at_proxy();
        Upstreams {
            config: Arc::clone(&self.config),
            pools: pools
                .map(|service| (Arc::clone(&service.name), self.pool(service)))
                .collect(),
        }
    }

    /// One of them.
    pub(super) fn pool(&self, service: &Service) -> Vec<PoolMember> {
        let weighed = self.weighed(service).into_iter();
        weighed
            .map(|(backend, health, weight)| {
                let key = MemberKey::of(service, backend);
                PoolMember {
                    name: Arc::clone(&backend.name),
                    address: backend.address,
                    host: backend.host.clone(),
                    weight,
                    role: backend.role,
                    health,
                    cut: backend.state == AdminState::Disabled || self.cut.contains(&key),
                    key,
                }
            })
            .collect()
    }
}

impl Facts {
    /// Where requests of a service may go: to its own backends, or to pools that its routes lead to.
    pub(super) fn pools(&self, service: &Service) -> Vec<Pool> {
        let routes = service.proxy.iter().flat_map(|proxy| &proxy.routes);
        let mut names = vec![&service.name];
        for route in routes {
            if !names.contains(&&route.pool) {
                names.push(&route.pool);
            }
        }
        let named = |name: &&Arc<str>| self.config.at_proxy().find(|service| service.name == **name);
        let pool = |service: &Service| Pool {
            name: Arc::clone(&service.name),
            balance: service.balance,
            hash_on: hash_on(service),
            ready: serving(&self.pool(service))
                .iter()
                .map(|m| Arc::clone(&m.name))
                .collect(),
            backends: service.backends.len(),
        };
        names.iter().filter_map(named).map(pool).collect()
    }
}

fn hash_on(service: &Service) -> Option<HashOn> {
    let said = || service.proxy.as_ref().map(|proxy| proxy.http.hash_on.clone());
    match service.balance {
        Balance::Maglev => Some(said().unwrap_or_default()),
        Balance::SourceHash => Some(HashOn::Source),
        _ => None,
    }
}

/// Do both say the same? A configuration that is another one counts as such, whatever it says.
pub(super) fn same(a: &Upstreams, b: &Upstreams) -> bool {
    Arc::ptr_eq(&a.config, &b.config) && a.pools == b.pools
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::model::traffic::Traffic;

    #[test]
    fn counters_stay_while_the_proxy_has_the_backend_or_something_is_under_way() {
        let toml = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \
                    \"192.0.2.10:80\"\nmode = \"dsr\"\n[[service.backend]]\naddress = \"10.0.0.1:80\"\n";
        let mut config = crate::config::parse("test.toml", toml).unwrap().config;
        config.services[0].proxy = Some(Arc::default());
        let traffic = Traffic::default();
        let keys = [1, 2, 3].map(|last| MemberKey {
            service: "web".into(),
            backend: ([10, 0, 0, last], 80).into(),
        });
        let each = keys.each_ref().map(|key| traffic.backend(key));
        each[1].active.store(1, Relaxed);
        each[1].requests.store(7, Relaxed);
        traffic.retain(&config);
        assert_eq!(
            keys.each_ref().map(|key| traffic.known(key).is_some()),
            [true, true, false]
        );
        assert_eq!((traffic.active(&keys[1]), traffic.active(&keys[2])), (1, 0));
        assert_eq!(traffic.backend(&keys[1]).requests.load(Relaxed), 7);
        config.services[0].proxy = None;
        traffic.retain(&config);
        assert!(traffic.known(&keys[0]).is_none(), "it is none of the proxy any more");
    }
}
