//! What facts mean. Pure.

mod paths;
mod protection;

use std::collections::HashSet;

use super::facts::{Facts, Seen};
use super::{Finding, Level};
use crate::api::types::{AdminState, BackendStatus, Health, ServiceStatus, Status, XdpMode};
use crate::model::{Config, Mode, Service};

/// The first kernel that has all that the program needs, and the first one that it was tried on.
const OLDEST: (u32, u32) = (5, 18);
const TRIED: (u32, u32) = (6, 1);

/// What clients' packets are as a rule, without an Ethernet header.
const USUAL_MTU: u32 = 1500;

const DAY: u64 = 24 * 60 * 60;

/// Certificates that are valid for less are named, in seconds.
const EXPIRY: u64 = 14 * DAY;

/// Drops that are no client's fault: why, and what to do.
const DROPS: [(&str, &str, &str); 7] = [
    (
        "nat_ports",
        "new connections of `nat` found no port",
        "give [service.nat] more ports, or more sources",
    ),
    (
        "nat_table",
        "new connections of `nat` found the table full",
        "raise flow-table-size, and restart the daemon",
    ),
    (
        "no_egress",
        "packets could not leave by the interface of their backend",
        "add that interface to [node] interfaces",
    ),
    (
        "unresolved",
        "packets came for backends whose next hop was not known",
        "see the backends without a next hop",
    ),
    (
        "no_backend",
        "packets came for services that nobody served",
        "see the services without a backend",
    ),
    (
        "no_headroom",
        "the driver leaves no room for an outer header",
        "use xdp-mode = \"generic\", or another mode",
    ),
    ("inconsistent", "the maps contradicted each other", "please report this"),
];

/// Everything.
pub(super) fn all(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = node(facts);
    for (name, seen) in &facts.interfaces {
        findings.extend(interface(config, facts, name, seen.as_ref()));
    }
    for service in &config.services {
        // The daemon itself listens where the proxy serves.
        findings.extend(listeners(service, facts).filter(|_| service.proxy.is_none()));
        findings.extend(service.named.iter().map(|backend| {
            Finding::new(
                Level::Warning,
                format!("{}/{}", service.name, backend.name),
                &backend.reason,
                "make the name known to this machine (`getent ahosts NAME` asks as Fulcrum does), or give an address",
            )
        }));
    }
    let paths = paths::all(config, facts.daemon.as_ref().ok(), &facts.asked, facts.late);
    match &facts.daemon {
        Ok(status) => {
            let told: HashSet<_> = paths.iter().map(|finding| finding.subject.as_str()).collect();
            findings.extend(running(status, facts.now, &told));
        }
        Err(reason) => findings.push(Finding::new(
            Level::Failure,
            "daemon",
            reason,
            "nothing of what follows from its probes and its maps was looked at",
        )),
    }
    findings.extend(paths);
    findings.extend(protection::all(config, facts));
    findings.push(Finding::new(
        Level::Note,
        "tests",
        "packets that this node itself sends to a VIP never meet XDP, and stay on the node",
        "try VIPs from another machine",
    ));
    findings
}

fn node(facts: &Facts) -> Vec<Finding> {
    let release = &facts.release;
    let kernel = match version(release) {
        Some(version) if version < OLDEST => Finding::new(
            Level::Failure,
            "kernel",
            format!("Linux {release} lacks what the program needs"),
            "use Linux 6.1 or later (docs/kernel-support.md)",
        ),
        Some(version) if version < TRIED => Finding::new(
            Level::Warning,
            "kernel",
            format!("the program was never tried on Linux {release}"),
            "use Linux 6.1 or later (docs/kernel-support.md)",
        ),
        _ => Finding::new(Level::Fine, "kernel", format!("Linux {release}"), ""),
    };
    let mut findings = vec![kernel];
    if let Some(missing) = &facts.privileges {
        findings.push(Finding::new(
            Level::Note,
            "privileges",
            format!("this command is {missing}"),
            "",
        ));
    }
    if facts.synchronized == Some(false) {
        findings.push(Finding::new(
            Level::Warning,
            "clock",
            "nobody keeps it right: logs and captures of several nodes will not fit together",
            "run chrony or systemd-timesyncd",
        ));
    }
    findings
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn interface(config: &Config, facts: &Facts, name: &str, seen: Option<&Seen>) -> Vec<Finding> {
    let failure = |cause: &str, remedy: &str| vec![Finding::new(Level::Failure, name, cause, remedy)];
    let Some(Seen { link, lro, rp_filter }) = seen else {
        return failure(
            "there is no interface of this name",
            "name one that `ip link` shows in [node] interfaces",
        );
    };
    if link.mac.is_none() {
        return failure(
            "it is no Ethernet: packets on it have no MAC to rewrite",
            "name the NIC itself",
        );
    }
    if !link.up {
        return failure("it is switched off", &format!("ip link set {name} up"));
    }
    if !link.running {
        return failure("it has no carrier", "look at the cable, and at the other end");
    }
    let mut findings = Vec::new();
    let mut warn = |cause: String, remedy: &str| findings.push(Finding::new(Level::Warning, name, cause, remedy));
    if *lro {
        let remedy = format!("ethtool -K {name} lro off");
        warn(
            "it merges packets (LRO), and what is merged cannot be balanced as it came".to_owned(),
            &remedy,
        );
    }
    if link.master.is_some() {
        warn(
            "it is a port of a bridge or a bond, which has the node's addresses and may have another MAC".to_owned(),
            "name the bond's own interface, or take it out of the bridge",
        );
    }
    if *rp_filter == Some(1) && config.node.interfaces.len() > 1 {
        warn(
            "rp_filter is strict: the kernel drops what comes here and would be answered elsewhere, such as pings"
                .to_owned(),
            &format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2"),
        );
    }
    if let Some(needed) = tunnel_mtu(config).filter(|needed| *needed > link.mtu) {
        let most = USUAL_MTU - (needed - link.mtu).min(USUAL_MTU);
        warn(
            format!(
                "its MTU of {} leaves {most} bytes to packets in tunnels: larger ones are sent back",
                link.mtu
            ),
            &format!("ip link set {name} mtu {needed}, here and on the way to the backends"),
        );
    }
    let attached = facts
        .daemon
        .as_ref()
        .is_ok_and(|s| s.interfaces.iter().any(|i| i.name == name));
    if link.xdp.is_some() && facts.daemon.is_err() {
        findings.push(Finding::new(
            Level::Note,
            name,
            "an XDP program is attached: what an earlier daemon has left goes on balancing, another one is in the way",
            "fulcrum detach takes off what is ours; `ip link` and `bpftool net` show what is there",
        ));
    } else if attached && findings.is_empty() {
        findings.push(Finding::new(Level::Fine, name, format!("MTU {}", link.mtu), ""));
    }
    findings
}

/// The MTU that packets of the usual size need in the tunnels that there are.
fn tunnel_mtu(config: &Config) -> Option<u32> {
    let tunnels = config.services.iter().filter(|service| service.mode == Mode::Tunnel);
    let backends = tunnels.flat_map(|service| &service.backends);
    let outer = backends.map(|backend| if backend.address.is_ipv4() { 20 } else { 40 });
    Some(USUAL_MTU + outer.max()?)
}

/// Programs on this node that take what the node sends to a VIP.
fn listeners(service: &Service, facts: &Facts) -> Option<Finding> {
    let taken = facts.listeners.iter().find(|listener| {
        let ip = listener.address.ip();
        listener.protocol == service.protocol
            && service.vips.iter().any(|vip| {
                let hears = ip == vip.ip || ip.is_unspecified() && (ip.is_ipv6() || vip.ip.is_ipv4());
                hears && vip.ports.is_one() && vip.ports.contains(listener.address.port())
            })
    })?;
    Some(Finding::new(
        Level::Note,
        service.name.as_ref(),
        format!(
            "a program of this node listens on {} too: it gets what the node sends to the VIP, and what comes while \
             the program is off",
            taken.address
        ),
        "stop it, unless it is meant to be there",
    ))
}

/// Of backends that are `told` of, it is known better why they are down.
fn running(status: &Status, now: u64, told: &HashSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |level, subject: &str, cause: String, remedy: &str| {
        findings.push(Finding::new(level, subject, cause, remedy));
    };
    for interface in &status.unattached_interfaces {
        let remedy = "packets that come in there are not balanced";
        add(Level::Failure, &interface.name, interface.reason.clone(), remedy);
    }
    for interface in status.interfaces.iter().filter(|i| i.mode == XdpMode::Generic) {
        let cause = "the program is attached generically, behind the driver, which is slower";
        add(
            Level::Warning,
            &interface.name,
            cause.to_owned(),
            "the daemon's log says why the driver refused",
        );
    }
    if let Some(fault) = &status.fault {
        add(
            Level::Failure,
            "daemon",
            format!("the kernel is not as the file wants it: {fault}"),
            "it tries again by itself",
        );
    }
    if let Some(refused) = &status.refused_reload {
        let first = refused.lines().next().unwrap_or_default();
        add(
            Level::Warning,
            "daemon",
            format!("the file was refused, an earlier one is in force: {first}"),
            "fulcrum reload says where",
        );
    }
    if let Some(unread) = &status.unread_file {
        let cause = format!("the file is not what is in force: {unread}");
        add(
            Level::Warning,
            "daemon",
            cause,
            "fulcrum plan shows what it would change, fulcrum reload reads it",
        );
    }
    if let Some(fault) = &status.overrides_fault {
        let cause = format!("a restart forgets what commands have set: {fault}");
        add(
            Level::Warning,
            "daemon",
            cause,
            "make room in state-dir, or let it be written",
        );
    }
    for (reason, cause, remedy) in DROPS {
        let count = status.drops.get(reason).copied().unwrap_or(0);
        if count > 0 {
            add(
                Level::Warning,
                reason,
                format!("{cause}: {count} since the maps were made"),
                remedy,
            );
        }
    }
    let no_room = status.flows.flows.no_room + status.flows.tracked.no_room;
    if no_room > 0 {
        let cause = format!("{no_room} flows found no room in the tables of flows since the maps were made");
        add(
            Level::Warning,
            "flows",
            cause,
            "raise flow-table-size, and restart the daemon",
        );
    }
    for service in &status.services {
        findings.extend(served(service, now, told));
    }
    findings
}

fn served(service: &ServiceStatus, now: u64, told: &HashSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let serving = service.backends.iter().filter(|backend| backend.serves()).count();
    if serving == 0 {
        findings.push(Finding::new(
            Level::Failure,
            &service.name,
            "nobody serves it",
            "see its backends; `fulcrum status` shows all of them",
        ));
    } else {
        let all = service.backends.len();
        findings.push(Finding::new(
            Level::Fine,
            &service.name,
            format!("{serving} of {all} backends serve"),
            "",
        ));
    }
    for backend in service
        .backends
        .iter()
        .filter(|backend| backend.state == AdminState::Active)
    {
        findings.extend(reached(&service.name, backend, told));
        findings.extend(certified(&service.name, backend, now));
    }
    findings
}

/// Is its certificate about to expire, as its probes have seen it?
fn certified(service: &str, backend: &BackendStatus, now: u64) -> Option<Finding> {
    let left = backend.certificate_not_after?.checked_sub(now);
    let cause = match left {
        None => "its certificate has expired".to_owned(),
        Some(left) if left < EXPIRY => format!("its certificate expires in {} days", left / DAY),
        Some(_) => return None,
    };
    let subject = format!("{service}/{}", backend.name);
    Some(Finding::new(Level::Warning, subject, cause, "renew it on the backend"))
}

fn reached(service: &str, backend: &BackendStatus, told: &HashSet<&str>) -> Option<Finding> {
    let subject = format!("{service}/{}", backend.name);
    if backend.is_unreachable() {
        let reason = backend.next_hop_reason.as_deref().unwrap_or("not known yet");
        // One that is down loses nothing by it.
        let level = if backend.slots > 0 {
            Level::Failure
        } else {
            Level::Warning
        };
        let cause = format!("there is no way to {}: {reason}", backend.address.ip());
        return Some(Finding::new(
            level,
            subject,
            cause,
            "look at `ip route get` and `ip neighbour` of that address",
        ));
    }
    (backend.health == Health::Down && !told.contains(subject.as_str())).then(|| {
        let cause = format!("{} is down: {}", backend.address, backend.health_reason);
        Finding::new(
            Level::Warning,
            subject,
            cause,
            "it gets no traffic until its probes succeed",
        )
    })
}

#[cfg(test)]
mod tests;
