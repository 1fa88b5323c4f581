//! `fulcrum status`.

use std::fmt::{Display, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};

use super::args::{Daemon, Status as Args};
use super::table::columns;
use crate::api::Client;
use crate::api::types::{
    AdminState, BackendStatus, FlowTable, Health, Protocol, Role, ServiceStatus, SlotStates, Status,
    UnattachedInterface, UnresolvedBackend, XdpMode,
};
use crate::config;

/// Where the daemon listens unless told otherwise.
const SOCKET: &str = "/run/fulcrum/fulcrum.sock";

/// The daemon that the arguments mean.
pub(super) fn client(daemon: &Daemon) -> Result<Client> {
    let socket = match (&daemon.socket, &daemon.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(file)) => config::load(file)?.config.admin.socket,
        (None, None) => PathBuf::from(SOCKET),
    };
    Ok(Client::new(socket))
}

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let mut status = client(&args.daemon)?.status().await?;
    if let Some(wanted) = &args.service {
        status.services.retain(|service| service.name == *wanted);
        if status.services.is_empty() {
            bail!("no service `{wanted}` is running");
        }
    }
    if args.json {
        super::print_json(&status)?;
    } else {
        super::print(&text(&status))?;
    }
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
    for service in &status.services {
        text.push('\n');
        text.push_str(&service_text(service));
    }
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

fn service_text(service: &ServiceStatus) -> String {
    let protocol = match service.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let vips: Vec<String> = service
        .vips
        .iter()
        .map(|vip| format!("{}{}", vip.address, if vip.exclusive { "" } else { " (shared)" }))
        .collect();
    let mut text = format!(
        "{}  {protocol} {}  {} {} over {} slots\n",
        service.name,
        vips.join(" "),
        service.mode,
        service.balance,
        service.table_size
    );
    let head = [
        "",
        "BACKEND",
        "ADDRESS",
        "WEIGHT",
        "SHARE",
        "PACKETS",
        "NEW FLOWS",
        "KNOWN",
        "PORTS",
        "HEALTH",
    ];
    if !service.healthy {
        let ServiceStatus { ready, quorum, .. } = service;
        let _ = writeln!(
            text,
            "  NO QUORUM: {ready} backends can take new flows, it needs {quorum}"
        );
    }
    let SlotStates { moving, settled, .. } = service.slot_states;
    if moving + settled > 0 {
        let _ = writeln!(text, "  {moving} slots are moving, {settled} are settled");
    }
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(service.backends.iter().map(|backend| row(backend, service)));
    if service.backends.iter().all(|backend| backend.nat.is_none()) {
        for row in &mut rows {
            row.remove(PORTS);
        }
    }
    let mut right = vec![3, 4, 5, 6, KNOWN];
    if service.backends.iter().all(|backend| backend.known_flows == 0) {
        right.pop();
        for row in &mut rows {
            row.remove(KNOWN);
        }
    }
    if service.backends.is_empty() && service.unresolved.is_empty() {
        text.push_str("  no backends\n");
    } else if !service.backends.is_empty() {
        text.push_str(&columns(&rows, &right));
    }
    for UnresolvedBackend { name, reason, .. } in &service.unresolved {
        let _ = writeln!(text, "  NO ADDRESS for {name}: {reason}");
    }
    text
}

/// The column of flows that are known.
const KNOWN: usize = 7;

/// The column of `nat` alone.
const PORTS: usize = 8;

#[expect(clippy::disallowed_methods, reason = "certificates end by it")]
fn row(backend: &BackendStatus, service: &ServiceStatus) -> Vec<String> {
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
    let in_file = backend.state_in_file;
    let health = match backend.state {
        AdminState::Active if in_file.is_none() => row_health(backend),
        AdminState::Active => format!("{}; {}", in_force(&"active", in_file), row_health(backend)),
        AdminState::Drain => format!("{}; {}", in_force(&"draining", in_file), row_health(backend)),
        AdminState::Disabled => in_force(&"disabled", in_file),
    };
    let health = match (backend.role, backend.slots) {
        (Role::Primary, _) => health,
        (Role::Backup, 0) => format!("standby; {health}"),
        (Role::Backup, _) => format!("backup in service; {health}"),
    };
    let health = match backend.slow_start_tenths {
        Some(tenths) => format!("{health}; slow start, {tenths}0% of its weight"),
        None => health,
    };
    let health = if backend.leaving {
        format!("leaving: {health}")
    } else {
        health
    };
    let health = match backend.certificate_not_after {
        Some(not_after) => format!("{health}; {}", certificate(not_after, SystemTime::now())),
        None => health,
    };
    let health = match backend.cut_flows {
        0 => health,
        cut => format!("{health}; {cut} flows were cut"),
    };
    vec![
        String::new(),
        backend.name.clone(),
        backend.address.to_string(),
        in_force(&backend.weight, backend.weight_in_file),
        format!("{share:.1}%"),
        backend.packets.to_string(),
        new_flows,
        backend.known_flows.to_string(),
        ports,
        health,
    ]
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
        Health::Up if backend.next_hop.is_none() => {
            let reason = backend.next_hop_reason.as_deref();
            format!("up, but {}", reason.unwrap_or("its next hop is not known"))
        }
        Health::Up => format!("up: {}", backend.health_reason),
        Health::Down => format!("DOWN: {}", backend.health_reason),
        Health::Unknown => format!("unknown: {}", backend.health_reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{FlowTables, InterfaceStatus, NextHop, VipStatus};
    use std::collections::BTreeMap;

    #[test]
    fn the_days_of_a_certificate_are_counted() {
        let day = 24 * 3600;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * day);
        for (not_after, expected) in [
            (0, "certificate has expired"),
            (1000 * day - 1, "certificate has expired"),
            (1001 * day - 1, "certificate ends in less than a day"),
            (1002 * day - 1, "certificate ends in 1 day"),
            (1090 * day + 5, "certificate ends in 90 days"),
        ] {
            assert_eq!(certificate(not_after, now), expected);
        }
        assert!(certificate(u64::MAX, now).starts_with("certificate ends in "));
    }

    #[test]
    fn people_see_what_matters() {
        let backend = |name: &str, health, reason: &str, reached: bool| BackendStatus {
            name: name.to_owned(),
            address: "10.0.0.6:80".parse().unwrap(),
            weight: 1,
            weight_in_file: None,
            slow_start_tenths: None,
            host: None,
            role: Role::Primary,
            state: AdminState::Active,
            state_in_file: None,
            health,
            health_reason: reason.to_owned(),
            certificate_not_after: None,
            next_hop: reached.then(|| NextHop {
                mac: "02:00:00:00:00:06".to_owned(),
                interface: "eth0".to_owned(),
            }),
            next_hop_reason: (!reached).then(|| "no route to 10.0.0.6".to_owned()),
            slots: 8192,
            moving_slots: 0,
            drained: false,
            packets: 5,
            bytes: 500,
            new_flows: 2,
            reply_packets: 0,
            reply_bytes: 0,
            leaving: false,
            known_flows: 0,
            cut_flows: 0,
            nat: None,
        };
        let status = Status {
            node: "lb1".to_owned(),
            version: "0.1.0".to_owned(),
            interfaces: vec![InterfaceStatus {
                name: "eth0".to_owned(),
                mode: XdpMode::Native,
            }],
            unattached_interfaces: vec![UnattachedInterface {
                name: "eth1".to_owned(),
                reason: "there is no interface of this name".to_owned(),
            }],
            services: vec![ServiceStatus {
                name: "web".to_owned(),
                vips: vec![VipStatus {
                    address: "192.0.2.10:80".parse().unwrap(),
                    exclusive: false,
                }],
                protocol: Protocol::Tcp,
                mode: "dsr".to_owned(),
                balance: "maglev".to_owned(),
                table_size: 16384,
                slot_states: SlotStates {
                    stable: 16100,
                    moving: 280,
                    settled: 4,
                },
                healthy: false,
                ready: 2,
                quorum: 3,
                backends: vec![
                    backend("web1", Health::Up, "connected in 0.3 ms", true),
                    backend("web2", Health::Down, "connection refused", true),
                    backend("web3", Health::Up, "connected in 0.3 ms", false),
                    BackendStatus {
                        weight: 4,
                        weight_in_file: Some(1),
                        state: AdminState::Drain,
                        state_in_file: Some(AdminState::Active),
                        ..backend("web4", Health::Up, "connected in 0.3 ms", true)
                    },
                    BackendStatus {
                        leaving: true,
                        state: AdminState::Drain,
                        known_flows: 12,
                        cut_flows: 7,
                        ..backend("web0", Health::Up, "connected in 0.3 ms", true)
                    },
                    BackendStatus {
                        state: AdminState::Disabled,
                        ..backend("web5", Health::Unknown, "not probed while disabled", true)
                    },
                    BackendStatus {
                        state_in_file: Some(AdminState::Disabled),
                        ..backend("web6", Health::Up, "connected in 0.3 ms", true)
                    },
                    BackendStatus {
                        slow_start_tenths: Some(3),
                        ..backend("web7", Health::Up, "connected in 0.3 ms", true)
                    },
                    BackendStatus {
                        role: Role::Backup,
                        slots: 0,
                        ..backend("web8", Health::Up, "connected in 0.3 ms", true)
                    },
                    BackendStatus {
                        role: Role::Backup,
                        ..backend("web9", Health::Up, "connected in 0.3 ms", true)
                    },
                ],
                unresolved: vec![UnresolvedBackend {
                    name: "web10".to_owned(),
                    host: "web10.lan".to_owned(),
                    port: 80,
                    reason: "web10.lan has no address".to_owned(),
                }],
            }],
            flows: FlowTables {
                flows: FlowTable {
                    entries: 12,
                    capacity: 262_144,
                    written: 90,
                    no_room: 3,
                },
                tracked: FlowTable::default(),
            },
            drops: [("undeclared".to_owned(), 3), ("fragment".to_owned(), 0)].into(),
            repairs: BTreeMap::from([("slot".to_owned(), 3), ("entry".to_owned(), 0)]),
            refused_reload: None,
            unread_file: Some("/etc/x has changed since it was read".to_owned()),
            fault: Some("map RING is full".to_owned()),
            overrides_fault: Some("they would be forgotten".to_owned()),
        };
        let expected = "\
lb1: attached to eth0 (native)
NOT ATTACHED to eth1: there is no interface of this name
FAULT: map RING is full
REPAIRED what somebody else has changed: slot 3
FILE: /etc/x has changed since it was read
OVERRIDES: they would be forgotten

web  tcp 192.0.2.10:80 (shared)  dsr maglev over 16384 slots
  NO QUORUM: 2 backends can take new flows, it needs 3
  280 slots are moving, 4 are settled
  BACKEND  ADDRESS           WEIGHT  SHARE  PACKETS  NEW FLOWS  KNOWN  HEALTH
  web1     10.0.0.6:80            1  50.0%        5          2      0  up: connected in 0.3 ms
  web2     10.0.0.6:80            1  50.0%        5          2      0  DOWN: connection refused
  web3     10.0.0.6:80            1  50.0%        5          2      0  up, but no route to 10.0.0.6
  web4     10.0.0.6:80  4 (file: 1)  50.0%        5          2      0  draining (file: active); up: connected in 0.3 ms
  web0     10.0.0.6:80            1  50.0%        5          2     12  leaving: draining; up: connected in 0.3 ms; 7 flows were cut
  web5     10.0.0.6:80            1  50.0%        5          2      0  disabled
  web6     10.0.0.6:80            1  50.0%        5          2      0  active (file: disabled); up: connected in 0.3 ms
  web7     10.0.0.6:80            1  50.0%        5          2      0  up: connected in 0.3 ms; slow start, 30% of its weight
  web8     10.0.0.6:80            1   0.0%        5          2      0  standby; up: connected in 0.3 ms
  web9     10.0.0.6:80            1  50.0%        5          2      0  backup in service; up: connected in 0.3 ms
  NO ADDRESS for web10: web10.lan has no address

known flows: 12 of 262144; 3 times there was no room

dropped: undeclared 3
";
        assert_eq!(text(&status), expected);
    }
}
