//! What `[protection]` keeps away that belongs to the network itself. Lists of services are narrower, and meant as they are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::addr::Ipv6Be;
use lb_common::protect::prefixes::{Line, V4_BYTE, find};
use lb_common::protect::{Roots, refused_source};

use super::super::facts::Facts;
use super::super::{Finding, Level};
use crate::api::types::{Refused, Status};
use crate::model::{Config, Enforcement, Protection, count};
use crate::plan::prefixes::{List, Wanted, append, deciding};

const SUBJECT: &str = "protection";

/// See the module.
pub(super) fn all(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(protection) = &config.protection {
        findings.extend(lists(protection, config, facts));
    }
    findings.extend(observing(config));
    findings.extend(facts.daemon.as_ref().ok().and_then(evictions));
    findings
}

/// Who is refused that should perhaps not be.
fn lists(protection: &Protection, config: &Config, facts: &Facts) -> Vec<Finding> {
    let wanted = Wanted {
        lists: &protection.lists,
        bogons: protection.bogons,
        denies: &[],
    };
    let sieve = Sieve::new(&wanted);
    let refused = |named: Vec<(String, IpAddr)>| {
        let mut seen = BTreeSet::new();
        let mut refused = named
            .into_iter()
            .filter(|(_, ip)| seen.insert(*ip) && sieve.refuses(*ip));
        let (name, ip) = refused.next()?;
        let (list, prefix) = deciding(&wanted, ip)?;
        let list = if list == List::Bogons { "bogons" } else { "deny" };
        let whom = match refused.count() {
            0 => name,
            more => format!("{name} and {more} more"),
        };
        Some((whom, format!("{prefix} in `{list}` of [protection] holds {ip}")))
    };
    // Link-local ones are no clients' anyway, and everybody has some.
    let own = facts.addresses.iter().filter(|ip| !is_link_local(**ip));
    let own = refused(own.map(|&ip| ("the node's own network".to_owned(), ip)).collect());
    let backends = config.services.iter().flat_map(|service| {
        let named =
            |backend: &crate::model::Backend| (format!("{}/{}", service.name, backend.name), backend.address.ip());
        service.backends.iter().map(named)
    });
    let backends = refused(backends.collect());
    let peers = config.peers.iter().flat_map(|peers| &peers.others);
    let peers = refused(
        peers
            .map(|peer| (format!("peer {}", peer.name), peer.address.ip()))
            .collect(),
    );
    let own = own.map(|(whom, why)| {
        Finding::new(
            Level::Warning,
            SUBJECT,
            format!("{whom} is refused: {why}; so are routers there that say that packets are too big"),
            "put the network into `allow` of [protection]",
        )
    });
    let others = backends.into_iter().chain(peers).map(|(whom, why)| {
        Finding::new(
            Level::Note,
            SUBJECT,
            format!("{whom} cannot be a client of a VIP: {why}"),
            "put it into `allow` of [protection] if it is to be one",
        )
    });
    own.into_iter().chain(others).collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Lists that may have a million prefixes, for many who are looked up there.
struct Sieve {
    lines: Vec<Line>,
    roots: Roots,
}

impl Sieve {
    fn new(wanted: &Wanted<'_>) -> Self {
        let mut lines = Vec::new();
        let roots = append(wanted, &mut lines);
        Self { lines, roots }
    }

    fn refuses(&self, ip: IpAddr) -> bool {
        let first = if ip.is_ipv4() { V4_BYTE } else { 0 };
        let known = find(
            self.lines.as_slice(),
            self.roots.of(ip.is_ipv4()),
            first,
            &Ipv6Be::mapped(ip),
        );
        refused_source(known) != 0
    }
}

/// What reads as if it refused something, and does not.
fn observing(config: &Config) -> Option<Finding> {
    let observes = |enforcement: Option<Enforcement>| enforcement == Some(Enforcement::Observe);
    let of_all = observes(config.protection.as_ref().map(|all| all.enforcement));
    let services = config.services.iter().filter(|service| {
        let own = service.protection.as_ref().and_then(|own| own.enforcement);
        observes(own)
    });
    let who = match services.count() {
        _ if of_all => "[protection] only observes".to_owned(),
        0 => return None,
        services => format!("protection of {} only observes", count(services, "service")),
    };
    Some(Finding::new(
        Level::Note,
        SUBJECT,
        format!("{who}: nothing is dropped, it is counted"),
        "`fulcrum status` shows what would have been; take `enforcement` out when that is right",
    ))
}

/// Limits that have let more in than they say.
fn evictions(status: &Status) -> Option<Finding> {
    let all = status.protection.iter().map(|protection| &protection.addresses);
    let each = status.services.iter().filter_map(|service| service.protection.as_ref());
    let refused = all.chain(each.map(|protection| &protection.refused));
    let evicted: u64 = refused.map(|refused: &Refused| refused.sources_evicted).sum();
    (evicted > 0).then(|| {
        let times = count(evicted, "time");
        Finding::new(
            Level::Warning,
            SUBJECT,
            format!(
                "{times} a source that had sent much was forgotten for want of room: limits let more in than they say"
            ),
            "count more sources together: a shorter `per` and `per-ipv6`",
        )
    })
}

#[cfg(test)]
mod tests;
