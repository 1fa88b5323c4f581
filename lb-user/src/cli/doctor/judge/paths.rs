//! What follows from what backends answer, and do not answer.

use std::net::{IpAddr, SocketAddr};

use super::super::paths::{Asked, Outcome};
use super::super::{Finding, Level};
use crate::api::types::{AdminState, BackendStatus, Status};
use crate::model::{Config, HealthCheck, Mode, NatSource, Via};
use crate::net::address::host_prefix;

/// A cause and a remedy.
type Verdict = (String, String);

/// What is wrong with backends that were asked. Whoever serves, or may, loses traffic by it.
pub(super) fn all(config: &Config, status: Option<&Status>, asked: &[Asked], late: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unasked: Vec<(&str, usize)> = Vec::new();
    for asked in asked {
        let Some(service) = config.services.iter().find(|service| service.name == asked.service) else {
            continue;
        };
        let backend = status.and_then(|status| backend(status, asked));
        // Who is out of service on purpose is no finding, and who is not reached is one already.
        if backend.is_some_and(|backend| backend.state != AdminState::Active || backend.is_unreachable()) {
            continue;
        }
        let level = if backend.is_none_or(BackendStatus::serves) {
            Level::Failure
        } else {
            Level::Warning
        };
        if let Some((cause, remedy)) = verdict(asked, &service.health) {
            findings.push(Finding::new(level, subject(asked), cause, remedy));
            continue;
        }
        let reasons = asked.vips.iter().filter_map(|(_, seen)| match seen {
            Outcome::NotAsked(why) => Some(why.as_str()),
            _ => None,
        });
        for why in reasons {
            match unasked.iter_mut().find(|(known, _)| *known == why) {
                Some((_, count)) => *count += 1,
                None => unasked.push((why, 1)),
            }
        }
    }
    for (why, count) in unasked {
        findings.push(Finding::new(
            Level::Note,
            "paths",
            format!(
                "{} could not be asked through the service: {why}",
                crate::model::count(count, "backend")
            ),
            "",
        ));
    }
    if late > 0 {
        findings.push(Finding::new(
            Level::Note,
            "paths",
            format!("there was no time to ask {late} more backends"),
            "",
        ));
    }
    findings.extend(status.into_iter().flat_map(|status| returning(config, status)));
    findings
}

/// What a finding about a backend is about.
pub(super) fn subject(asked: &Asked) -> String {
    format!("{}/{}", asked.service, asked.backend)
}

fn backend<'s>(status: &'s Status, asked: &Asked) -> Option<&'s BackendStatus> {
    let service = status.services.iter().find(|service| *service.name == *asked.service)?;
    service.backends.iter().find(|backend| backend.address == asked.address)
}

/// What is wrong with a backend, by what came from its own address and from the VIPs; `None` where nothing is, or where
/// its probes say it better.
fn verdict(asked: &Asked, check: &HealthCheck) -> Option<Verdict> {
    let own = asked.address;
    let worst = asked.vips.iter().find(|(_, seen)| is_wrong(seen));
    let Some((vip, seen)) = worst else {
        let through = asked.vips.iter().any(|(_, seen)| *seen == Outcome::Answers);
        return match &asked.direct {
            // What clients get is what counts, but its probes are deceived.
            Outcome::Refused | Outcome::Silent if through && check.via == Via::Service => None,
            Outcome::Refused | Outcome::Silent if through => Some((
                format!("it answers through the service, and not at {own}, where it is probed"),
                "set via = \"service\" in [service.health], or let it listen there too".to_owned(),
            )),
            Outcome::Refused => Some(nobody_listens(own)),
            Outcome::Silent => Some(dead(own)),
            _ => None,
        };
    };
    let ip = vip.ip();
    Some(match (seen, &asked.direct) {
        (Outcome::Refused, _) => (
            format!("packets to {vip} reach it, and nobody listens there"),
            format!("let its server listen on {vip}, or on all addresses"),
        ),
        (Outcome::HandedOn, _) => (
            format!("it does not hold {ip}: it hands on what comes for it"),
            holding(asked.tunnelled, ip),
        ),
        (Outcome::Silent, Outcome::Silent) => dead(own),
        (
            Outcome::Silent,
            Outcome::Answers
            | Outcome::Wrong(_)
            | Outcome::Refused
            | Outcome::Unknown
            | Outcome::NotAsked(_)
            | Outcome::HandedOn,
        ) => {
            let at_own = match asked.direct {
                Outcome::Refused => "is there",
                Outcome::Unknown | Outcome::NotAsked(_) => "may be there",
                _ => "answers",
            };
            let cause = if asked.tunnelled {
                format!("it {at_own} at {own}, and no answer comes from {vip} through the tunnel")
            } else {
                format!("it {at_own} at {own}, and no answer comes from {vip}: is {ip} missing on it?")
            };
            (cause, holding(asked.tunnelled, ip))
        }
        (Outcome::Wrong(same), Outcome::Wrong(own)) if same == own => return None,
        (Outcome::Wrong(how), _) => (
            format!("what answers at {vip} is not as wanted: {how}"),
            format!("look at what its server does for {vip}"),
        ),
        (Outcome::Answers | Outcome::Unknown | Outcome::NotAsked(_), _) => return None,
    })
}

fn is_wrong(seen: &Outcome) -> bool {
    match seen {
        Outcome::Answers | Outcome::Unknown | Outcome::NotAsked(_) => false,
        Outcome::Refused | Outcome::Silent | Outcome::HandedOn | Outcome::Wrong(_) => true,
    }
}

fn nobody_listens(own: SocketAddr) -> Verdict {
    (
        format!("nobody listens on {own}"),
        "start its server, or correct the port".to_owned(),
    )
}

fn dead(own: SocketAddr) -> Verdict {
    (
        format!("nothing comes from {own}"),
        format!(
            "see whether {} is on, and whether a firewall drops what this node sends",
            own.ip()
        ),
    )
}

/// How a backend comes to take packets for a VIP.
fn holding(tunnelled: bool, vip: IpAddr) -> String {
    let prefix = host_prefix(vip);
    let add = format!("ip addr add {vip}/{prefix} dev lo");
    if tunnelled {
        format!("on it: fulcrum decap -i IFACE, or a tunnel device; and {add}")
    } else if vip.is_ipv4() {
        format!("on it: sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2; {add}")
    } else {
        format!("on it: {add}")
    }
}

/// Backends of `nat` that see clients, and whose answers do not come by here.
fn returning(config: &Config, status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    let services = config
        .services
        .iter()
        .filter(|service| service.mode == Mode::Nat && matches!(service.nat.source, NatSource::Client));
    for service in services {
        let backends = status
            .services
            .iter()
            .filter(|s| *s.name == *service.name)
            .flat_map(|s| &s.backends);
        for backend in backends.filter(|b| b.slots > 0 && b.packets > 0 && b.reply_packets == 0) {
            findings.push(Finding::new(
                Level::Failure,
                format!("{}/{}", service.name, backend.name),
                "it gets packets of clients, and none of its answers has come by this node",
                "on it: route to the clients through this node (ip route replace default via ADDRESS-OF-THIS-NODE)",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
