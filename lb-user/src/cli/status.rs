//! `fulcrum status`.

mod protection;

use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use super::args::{Daemon, Status as Args};
use super::table::columns;
use crate::api::Client;
use crate::api::types::{
    AdminState, Announcement, BackendStatus, FlowTable, Health, OrderedCertificate, Peer, Protection, Protocol, Role,
    ServiceStatus, SlotStates, Status, UnattachedInterface, UnresolvedBackend, VipStatus, VirtualRouter, XdpMode,
};
use crate::config;
use crate::model::{count, date};

/// Where the daemon listens unless told otherwise.
const SOCKET: &str = "/run/fulcrum/fulcrum.sock";

/// What says otherwise, on hosts of labs for instance.
const VARIABLE: &str = "FULCRUM_SOCKET";

/// The daemon that the arguments mean.
pub(super) fn client(daemon: &Daemon) -> Result<Client> {
    let socket = match (&daemon.socket, &daemon.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(file)) => config::load(file)?.config.admin.socket,
        (None, None) => std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(SOCKET), PathBuf::from),
    };
    Ok(Client::new(socket))
}

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let mut status = client(&args.asked.daemon)?.status().await?;
    if let Some(wanted) = &args.service {
        status.services.retain(|service| service.name == *wanted);
        if status.services.is_empty() {
            bail!("no service `{wanted}` is running");
        }
    }
    super::show(args.asked.json, &status, text)?;
    Ok(ExitCode::SUCCESS)
}

/// The status for people.
fn text(status: &Status) -> String {
    let mut text = String::new();
    let interfaces: Vec<String> = status
        .interfaces
        .iter()
        .map(|i| {
            format!(
                "{} ({})",
                i.name,
                if i.mode == XdpMode::Native { "native" } else { "generic" }
            )
        })
        .collect();
    let interfaces = if interfaces.is_empty() {
        "no interface".to_owned()
    } else {
        interfaces.join(", ")
    };
    let _ = writeln!(text, "{}: attached to {interfaces}", status.node);
    if status.draining {
        let _ = writeln!(
            text,
            "DRAINING: clients go to other nodes; `fulcrum node enable` ends that"
        );
    }
    if status.protection.as_ref().is_some_and(Protection::only_observes) {
        text.push_str(protection::OBSERVING);
    }
    for UnattachedInterface { name, reason } in &status.unattached_interfaces {
        let _ = writeln!(text, "NOT ATTACHED to {name}: {reason}");
    }
    if let Some(fault) = &status.fault {
        let _ = writeln!(text, "FAULT: {fault}");
    }
    let repairs = status.repairs.iter().filter(|(_, count)| **count > 0);
    let repairs: Vec<_> = repairs.map(|(kind, count)| format!("{kind} {count}")).collect();
    if !repairs.is_empty() {
        let _ = writeln!(text, "REPAIRED what somebody else has changed: {}", repairs.join(", "));
    }
    if let Some(reason) = &status.refused_reload {
        let _ = writeln!(
            text,
            "REFUSED RELOAD: the running configuration is older than the file\n{reason}"
        );
    }
    if let Some(reason) = &status.unread_file {
        let _ = writeln!(text, "FILE: {reason}");
    }
    if let Some(fault) = &status.overrides_fault {
        let _ = writeln!(text, "OVERRIDES: {fault}");
    }
    for router in &status.virtual_routers {
        text.push('\n');
        text.push_str(&router_text(router));
    }
    text.push_str(&announcements_text(&status.announcements));
    if !status.peers.is_empty() {
        text.push('\n');
        status.peers.iter().for_each(|peer| text.push_str(&peer_text(peer)));
    }
    for service in &status.services {
        text.push('\n');
        text.push_str(&service_text(service));
    }
    text.push_str(&certificates_text(&status.certificates));
    for (name, table) in [("known", status.flows.flows), ("tracked", status.flows.tracked)] {
        if table.entries > 0 || table.no_room > 0 {
            let FlowTable {
                entries,
                capacity,
                no_room,
                ..
            } = table;
            let _ = write!(text, "\n{name} flows: {entries} of {capacity}");
            let _ = match no_room {
                0 => writeln!(text),
                times => writeln!(text, "; {times} times there was no room"),
            };
        }
    }
    if let Some(of_node) = &status.protection {
        let _ = write!(text, "\n{}", protection::of_node(of_node));
    }
    let drops: Vec<String> = status
        .drops
        .iter()
        .filter(|&(_, &count)| count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    if !drops.is_empty() {
        let _ = writeln!(text, "\ndropped: {}", drops.join(", "));
    }
    text
}

fn peer_text(peer: &Peer) -> String {
    let mut text = format!("peer {}  {}  ", peer.name, peer.address);
    let _ = match &peer.reason {
        None => write!(text, "told of {}, {} ms behind", count(peer.sent, "flow"), peer.lag_ms),
        Some(reason) => write!(text, "NOT TOLD of flows: {reason}"),
    };
    let _ = match peer.heard {
        true => write!(text, "; tells of {}", count(peer.taken, "flow")),
        false => write!(text, "; does NOT TELL"),
    };
    for (flows, why) in [
        (peer.foreign, "that this node has no such backend for"),
        (peer.no_room, "without room"),
    ] {
        if flows > 0 {
            let _ = write!(text, ", and of {flows} {why}");
        }
    }
    text.push('\n');
    text
}

fn router_text(router: &VirtualRouter) -> String {
    let VirtualRouter { name, role, reason, .. } = router;
    let addresses: Vec<String> = router.addresses.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "{name}  {}  router-id {} on {}\n",
        addresses.join(", "),
        router.router_id,
        router.interface
    );
    let _ = write!(
        text,
        "  {}: {reason}; priority {}",
        role.to_uppercase(),
        router.priority
    );
    if router.priority != router.priority_in_file {
        let _ = write!(text, " ({} in the file)", router.priority_in_file);
    }
    let _ = writeln!(text);
    if let (Some(master), Some(priority), "backup" | "fault") = (router.master, router.master_priority, &**role) {
        let _ = writeln!(text, "  master is {master}, with priority {priority}");
    }
    if router.rival {
        let _ = writeln!(text, "  TWO MASTERS: another node says that it is master, too");
    }
    if !router.down.is_empty() {
        let _ = writeln!(text, "  down: {}", router.down.join(", "));
    }
    if let Some(fault) = &router.notify_fault {
        let _ = writeln!(text, "  NOTIFY: {fault}");
    }
    text
}

/// The VIPs of `[bgp]`, a line for each.
fn announcements_text(announcements: &[Announcement]) -> String {
    if announcements.is_empty() {
        return String::new();
    }
    let row = |vip: &Announcement| {
        let state = if vip.announced { "announced" } else { "NOT ANNOUNCED" };
        [
            String::new(),
            vip.address.to_string(),
            format!("{state}: {}", vip.reason),
        ]
    };
    let rows: Vec<_> = announcements.iter().map(|vip| row(vip).to_vec()).collect();
    format!("\nbgp\n{}", columns(&rows, &[]))
}

/// Certificates that are ordered, a line for each, and another one for what has failed.
fn certificates_text(certificates: &[OrderedCertificate]) -> String {
    if certificates.is_empty() {
        return String::new();
    }
    let at = |second| date::rfc3339(UNIX_EPOCH + Duration::from_secs(second));
    let row = |one: &OrderedCertificate| {
        let until = one
            .not_after
            .map_or_else(|| "STAND-IN".to_owned(), |end| format!("until {}", at(end)));
        let next = match (one.doing.as_str(), one.renew_at) {
            ("ordering", _) => "is being ordered".to_owned(),
            (_, None) => "another node orders".to_owned(),
            (_, Some(0)) => "is due".to_owned(),
            (_, Some(time)) => format!("next at {}", at(time)),
        };
        let row = [String::new(), one.service.clone(), one.domains.join(" "), until, next];
        row.to_vec()
    };
    let rows: Vec<_> = certificates.iter().map(row).collect();
    let mut text = format!("\ncertificates\n{}", columns(&rows, &[]));
    for one in certificates {
        if let Some(error) = &one.last_error {
            let _ = writeln!(text, "  NO NEW CERTIFICATE for {}: {error}", one.service);
        }
    }
    text
}

fn service_text(service: &ServiceStatus) -> String {
    let mut text = format!("{}  {}\n", service.name, whose(service));
    if !service.healthy {
        let ServiceStatus { ready, quorum, .. } = service;
        let what = if service.is_proxied() { "requests" } else { "flows" };
        let _ = writeln!(
            text,
            "  NO QUORUM: {ready} backends can take new {what}, it needs {quorum}"
        );
    }
    if let Some(protection) = &service.protection {
        text.push_str(&protection::of_service(protection));
    }
    if service.is_steered() {
        text.push_str("  new connections are the proxy's, since an authority may come\n");
    }
    let SlotStates { moving, settled, .. } = service.slot_states;
    if moving + settled > 0 {
        let _ = writeln!(text, "  {moving} slots are moving, {settled} are settled");
    }
    if service.backends.is_empty() && service.unresolved.is_empty() {
        text.push_str("  no backends\n");
    } else if !service.backends.is_empty() {
        text.push_str(&table(service));
    }
    for UnresolvedBackend { name, reason, .. } in &service.unresolved {
        let _ = writeln!(text, "  NO ADDRESS for {name}: {reason}");
    }
    text
}

/// Where a service is, and how it chooses.
fn whose(service: &ServiceStatus) -> String {
    let ServiceStatus { mode, balance, .. } = service;
    if service.is_pool() {
        return format!("pool  {balance}");
    }
    let protocol = match service.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let vip = |vip: &VipStatus| format!("{}{}", vip.address, if vip.exclusive { "" } else { " (shared)" });
    let vips: Vec<String> = service.vips.iter().map(vip).collect();
    let vips = vips.join(" ");
    if service.is_proxied() {
        return format!("{protocol} {vips}  {mode} {balance}");
    }
    format!("{protocol} {vips}  {mode} {balance} over {} slots", service.table_size)
}

/// The backends of a service, with the columns that say something.
fn table(service: &ServiceStatus) -> String {
    let backends = &service.backends;
    let proxied = service.is_proxied();
    let nat = backends.iter().any(|backend| backend.nat.is_some());
    let known = backends.iter().any(|backend| backend.known_flows > 0);
    let columns_of: [(&str, bool, bool); 15] = [
        // Its head, whether it is there, whether it is one of numbers.
        ("", true, false),
        ("BACKEND", true, false),
        ("ADDRESS", true, false),
        ("WEIGHT", true, true),
        ("SHARE", !proxied, true),
        ("PACKETS", !proxied, true),
        ("NEW FLOWS", !proxied, true),
        ("KNOWN", !proxied && known, true),
        ("PORTS", nat, false),
        ("ACTIVE", proxied, true),
        ("REQUESTS", proxied, true),
        ("FAILED", proxied, true),
        ("RECEIVED", proxied, true),
        ("SENT", proxied, true),
        ("HEALTH", true, false),
    ];
    let there = |row: &[String]| -> Vec<String> {
        let shown = row.iter().zip(columns_of).filter(|(_, (_, there, _))| *there);
        shown.map(|(cell, _)| cell.clone()).collect()
    };
    let mut rows = vec![there(&columns_of.map(|(head, ..)| head.to_owned()))];
    rows.extend(backends.iter().map(|backend| there(&row(backend, service))));
    let shown = columns_of.iter().filter(|(_, there, _)| *there);
    let right: Vec<usize> = shown
        .enumerate()
        .filter(|(_, (.., right))| *right)
        .map(|(i, _)| i)
        .collect();
    columns(&rows, &right)
}

/// A cell of every column.
fn row(backend: &BackendStatus, service: &ServiceStatus) -> [String; 15] {
    let share = f64::from(backend.slots) * 100.0 / f64::from(service.table_size.max(1));
    // UDP has no packet that opens a flow; `nat` knows all the same.
    let new_flows = match service.protocol {
        Protocol::Udp if backend.nat.is_none() => "-".to_owned(),
        Protocol::Tcp | Protocol::Udp => backend.new_flows.to_string(),
    };
    let ports = backend.nat.as_ref().map_or_else(String::new, |nat| {
        let taken = nat.opening + nat.established + nat.half_closed + nat.closed;
        format!("{taken} of {}", u32::from(nat.last_port - nat.first_port) + 1)
    });
    let proxy = backend.proxy.unwrap_or_default();
    [
        String::new(),
        backend.name.clone(),
        backend.address.to_string(),
        in_force(&backend.weight, backend.weight_in_file),
        format!("{share:.1}%"),
        backend.packets.to_string(),
        new_flows,
        backend.known_flows.to_string(),
        ports,
        proxy.active.to_string(),
        proxy.requests.to_string(),
        proxy.failures.to_string(),
        bytes(proxy.received),
        bytes(proxy.sent),
        condition(backend),
    ]
}

/// A number of bytes, in at most eight characters.
fn bytes(number: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut left = number as f64;
    let mut unit = "B";
    for larger in units {
        if left < 999.5 {
            break;
        }
        left /= 1000.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{number} B"),
        _ if left < 99.95 => format!("{left:.1} {unit}"),
        _ => format!("{left:.0} {unit}"),
    }
}

/// All that is to be said of a backend's state.
#[expect(clippy::disallowed_methods, reason = "certificates end by it")]
fn condition(backend: &BackendStatus) -> String {
    let in_file = backend.state_in_file;
    let mut said = match backend.state {
        AdminState::Active if in_file.is_none() => row_health(backend),
        AdminState::Active => format!("{}; {}", in_force(&"active", in_file), row_health(backend)),
        AdminState::Drain => format!("{}; {}", in_force(&"draining", in_file), row_health(backend)),
        AdminState::Disabled => in_force(&"disabled", in_file),
    };
    match backend.role {
        Role::Primary => {}
        Role::Backup if backend.serves() => said = format!("backup in service; {said}"),
        Role::Backup => said = format!("standby; {said}"),
    }
    if let Some(tenths) = backend.slow_start_tenths {
        said += &format!("; slow start, {tenths}0% of its weight");
    }
    if backend.leaving {
        said = format!("leaving: {said}");
    }
    if backend.proxy.is_some_and(|proxy| proxy.ejected) {
        said += "; set aside for what it did to requests";
    }
    if let Some(not_after) = backend.certificate_not_after {
        said += &format!("; {}", certificate(not_after, SystemTime::now()));
    }
    match (backend.cut_flows, backend.proxy) {
        (0, _) => {}
        (cut, None) => said += &format!("; {cut} flows were cut"),
        (cut, Some(_)) => said += &format!("; {cut} requests were cut"),
    }
    said
}

/// A value, and what the file says where that differs.
pub(super) fn in_force(value: &impl Display, in_file: Option<impl Display>) -> String {
    match in_file {
        Some(in_file) => format!("{value} (file: {in_file})"),
        None => value.to_string(),
    }
}

/// What is left of a certificate that is valid until `not_after`, in seconds since 1970.
fn certificate(not_after: u64, now: SystemTime) -> String {
    let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after));
    // One that ends later than clocks reach does not end.
    let left = end.map_or(Ok(Duration::MAX), |end| end.duration_since(now));
    match left.map(|left| left.as_secs() / (24 * 3600)) {
        Ok(0) => "certificate ends in less than a day".to_owned(),
        Ok(1) => "certificate ends in 1 day".to_owned(),
        Ok(days) => format!("certificate ends in {days} days"),
        Err(_) => "certificate has expired".to_owned(),
    }
}

/// What probes and next hop say of a backend.
pub(super) fn row_health(backend: &BackendStatus) -> String {
    match backend.health {
        Health::Up if backend.is_unreachable() => {
            let reason = backend.next_hop_reason.as_deref();
            format!("up, but {}", reason.unwrap_or("its next hop is not known"))
        }
        Health::Up => format!("up: {}", backend.health_reason),
        Health::Down => format!("DOWN: {}", backend.health_reason),
        Health::Unknown => format!("unknown: {}", backend.health_reason),
    }
}

#[cfg(test)]
mod tests;
