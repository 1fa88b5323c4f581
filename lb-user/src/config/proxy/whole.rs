//! What services of the proxy and pools may contradict in each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use super::super::Reader;
use super::super::fault::{Checked, Span, fault};
use super::super::raw::excerpt;
use super::super::service::Draft;
use crate::model::proxy::{AccessLog, HashOn, Proxy, Route};
use crate::model::{Balance, Mode, Service};

impl Reader {
    /// Names are known to be unique.
    pub(in super::super) fn proxies(&mut self, drafts: &[Draft], listen: Option<SocketAddr>) -> Checked<()> {
        let services: BTreeMap<&str, &Service> = drafts.iter().map(|d| (&*d.service.name, &d.service)).collect();
        pools_exist(drafts, &services)?;
        one_way_to_log(drafts)?;
        self.authorities(drafts)?;
        self.nobody_listens(drafts, listen)?;
        self.idle_pools(drafts);
        self.idle_hashes(drafts, &services);
        Ok(())
    }

    /// The proxy listens on every VIP itself, so nobody else can listen on the port of one at all addresses.
    fn nobody_listens(&self, drafts: &[Draft], listen: Option<SocketAddr>) -> Checked<()> {
        let Some(listen) = listen.filter(|listen| listen.ip().is_unspecified()) else {
            return Ok(());
        };
        let proxies = drafts.iter().filter(|draft| draft.service.mode == Mode::Proxy);
        let mut vips = proxies.flat_map(|draft| draft.vips.iter().zip(&draft.service.vips));
        let met = |ip: std::net::IpAddr| listen.is_ipv6() || ip.is_ipv4();
        let Some((span, vip)) = vips.find(|(_, vip)| vip.ports.contains(listen.port()) && met(vip.ip)) else {
            return Ok(());
        };
        let message = format!("the proxy cannot listen on {vip}: `[admin] listen` has that port of every address");
        let fault = fault(span.clone(), message).hint("give one of them another port");
        Err(match self.places.get(&super::super::Subject::Listen) {
            Some(listen) => fault.other(listen.clone(), "taken here"),
            None => fault,
        })
    }

    fn idle_pools(&mut self, drafts: &[Draft]) {
        let named: BTreeSet<&str> = drafts.iter().flat_map(routes).map(|(route, _)| &*route.pool).collect();
        for draft in drafts.iter().filter(|draft| draft.service.is_pool()) {
            if !named.contains(&*draft.service.name) {
                let message = format!("no route leads to the pool \"{}\"", draft.service.name);
                let hint = "its backends are probed and get no request: name it in a [[service.route]], or remove it";
                self.warnings.push(fault(draft.header.clone(), message).hint(hint));
            }
        }
    }

    /// A warning where no ring is asked for what a service says.
    fn idle_hashes(&mut self, drafts: &[Draft], services: &BTreeMap<&str, &Service>) {
        for draft in drafts {
            let (Some(proxy), Some(span)) = (&draft.service.proxy, &draft.proxy.hash_on) else {
                continue;
            };
            let pools = proxy
                .routes
                .iter()
                .filter_map(|route| services.get(&*route.pool).copied());
            let mut all = pools.chain([&draft.service]);
            if proxy.http.hash_on != HashOn::Source && !all.any(|service| service.balance == Balance::Maglev) {
                let message = "`hash-on` is for balance = \"maglev\", and nothing here has it";
                let hint = "set balance = \"maglev\" for the service or a pool of its routes, or remove `hash-on`";
                self.warnings.push(fault(span.clone(), message).hint(hint));
            }
        }
    }
}

/// The routes of a service, each with the place of its `pool`.
fn routes(draft: &Draft) -> impl Iterator<Item = (&Route, &Span)> {
    let routes = draft
        .service
        .proxy
        .iter()
        .flat_map(|proxy: &std::sync::Arc<Proxy>| &proxy.routes);
    routes.zip(draft.proxy.routes.iter().map(|(_, pool)| pool))
}

fn pools_exist(drafts: &[Draft], services: &BTreeMap<&str, &Service>) -> Checked<()> {
    for (route, span) in drafts.iter().flat_map(routes) {
        let wrong = |message: String| fault(span.clone(), message);
        match services.get(&*route.pool) {
            Some(service) if service.is_pool() => {}
            Some(_) => {
                let message = format!("\"{}\" is a service, and a route leads to a pool", excerpt(&route.pool));
                return Err(wrong(message).hint("move the backends into a [[pool]] of another name"));
            }
            None => {
                let fault = wrong(format!("there is no pool \"{}\"", excerpt(&route.pool)));
                let pools = || {
                    services
                        .values()
                        .filter(|service| service.is_pool())
                        .map(|service| &*service.name)
                };
                let near = pools().min_by_key(|name| strsim::damerau_levenshtein(name, &route.pool));
                return Err(match near {
                    Some(near) => fault.hint(format!("did you mean \"{near}\"? pools stand in [[pool]]")),
                    None => fault.hint(format!("add:\n\n[[pool]]\nname = \"{}\"", route.pool)),
                });
            }
        }
    }
    Ok(())
}

/// Services may share a log, so what becomes of the file must be the same for all of them.
fn one_way_to_log(drafts: &[Draft]) -> Checked<()> {
    let mut logs: HashMap<&Path, (&AccessLog, &Span)> = HashMap::new();
    for draft in drafts {
        let log = draft
            .service
            .proxy
            .as_ref()
            .and_then(|proxy| proxy.http.access_log.as_ref());
        let (Some(log), Some(span)) = (log, &draft.proxy.access_log) else {
            continue;
        };
        let (first, place) = *logs.entry(&log.path).or_insert((log, span));
        if first != log {
            let message = format!("two services write to {} in different ways", log.path.display());
            let hint = "`format`, `max-size` and `keep` are of the file: say the same in both, or name another file";
            return Err(fault(span.clone(), message)
                .other(place.clone(), "the other")
                .hint(hint));
        }
    }
    Ok(())
}
