//! What all threads are to do, as one value: a thread has the old one or the new one, and never a mixture.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::shared::Common;
use super::site::Site;
use super::upstream::Pool;
use super::upstream::dial::Means;
use crate::model::proxy::Route;
use crate::model::traffic::Upstreams;
use crate::model::{Config, Service};

/// See the module.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The configuration, and who may serve.
    pub upstreams: Arc<Upstreams>,
    /// Services with an address, by name.
    pub fronts: BTreeMap<Arc<str>, Front>,
    /// Requests under way are finished, and clients told to come anew: their connections end. New ones are served.
    pub finishing: bool,
    /// TLS towards backends, by service or pool.
    pub clients: BTreeMap<Arc<str>, Arc<ClientConfig>>,
}

/// A service, towards its clients.
#[derive(Clone, Debug)]
pub(super) struct Front {
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// `None`: it is plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// Error pages, by status.
    pub pages: Arc<BTreeMap<u16, Arc<[u8]>>>,
}

/// Sockets that listen at one address, one for each thread: the kernel spreads connections over them (SO_REUSEPORT).
#[derive(Clone, Debug)]
pub(super) struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// In the order of the threads.
    pub sockets: Arc<[std::net::TcpListener]>,
}

impl Listener {
    /// Are these the same sockets?
    #[must_use]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.sockets, &other.sockets)
    }
}

/// How long requests under way may take when the proxy ends: as long as the most patient service says.
#[must_use]
pub fn patience(config: &Config) -> Duration {
    // What a pool would say by default is nothing that anybody has said.
    let services = config.services.iter().filter(|service| !service.is_pool());
    let proxies = services.filter_map(|service| service.proxy.as_ref());
    proxies
        .map(|proxy| proxy.http.timeouts.shutdown)
        .max()
        .unwrap_or_default()
}

impl Snapshot {
    /// How backends of a service or pool are reached.
    #[must_use]
    pub(super) fn means(&self, service: &Service) -> Means {
        let upstream = service.proxy.as_ref().map(|proxy| &proxy.upstream);
        let tls = upstream.and_then(|upstream| upstream.tls.as_ref());
        Means {
            tls: tls
                .zip(self.clients.get(&service.name))
                .map(|(tls, config)| (Arc::clone(config), tls.server_name.clone())),
            proxy_protocol: upstream.and_then(|upstream| upstream.proxy_protocol),
        }
    }

    /// A service as a thread with these pools serves it, and where; `None` for what has no clients of HTTP.
    #[must_use]
    pub(super) fn site(
        &self,
        service: &Service,
        pools: &BTreeMap<Arc<str>, Rc<Pool>>,
        common: &Common,
    ) -> Option<(Rc<Site>, &[Listener])> {
        let name = &service.name;
        let front = self.fronts.get(name)?;
        let proxy = service.proxy.as_ref()?;
        let pool = Rc::clone(pools.get(name)?);
        let of = |route: &Route| Some((route.clone(), Rc::clone(pools.get(&route.pool)?)));
        let routes = proxy.routes.iter().filter_map(of).collect();
        let site = Site::new(Arc::clone(name), Arc::clone(proxy), (pool, routes), front, common);
        Some((Rc::new(site), &front.listeners))
    }
}
