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
    UnattachedInterface, UnresolvedBackend, VipStatus, XdpMode,
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
    let mut text = format!("{}  {}\n", service.name, whose(service));
    if !service.healthy {
        let ServiceStatus { ready, quorum, .. } = service;
        let what = if service.is_proxied() { "requests" } else { "flows" };
        let _ = writeln!(
            text,
            "  NO QUORUM: {ready} backends can take new {what}, it needs {quorum}"
        );
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
mod tests {
    use super::*;
    use crate::api::types::{FlowTables, InterfaceStatus, NextHop, ProxyStatus};
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
    fn bytes_are_short() {
        let texts = [0, 999, 1000, 99_940, 99_960, 999_600, 123_456_789_012, u64::MAX].map(bytes);
        assert_eq!(
            texts,
            [
                "0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "1.0 MB", "123 GB", "18.4 EB"
            ]
        );
    }

    fn backend(name: &str, health: Health, reason: &str, reached: bool) -> BackendStatus {
        BackendStatus {
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
            proxy: None,
        }
    }

    fn service(name: &str, mode: &str, backends: Vec<BackendStatus>) -> ServiceStatus {
        ServiceStatus {
            name: name.to_owned(),
            vips: Vec::new(),
            protocol: Protocol::Tcp,
            mode: mode.to_owned(),
            balance: "maglev".to_owned(),
            table_size: 16384,
            slot_states: SlotStates {
                stable: 0,
                moving: 0,
                settled: 0,
            },
            healthy: true,
            ready: 2,
            quorum: 1,
            backends,
            unresolved: Vec::new(),
        }
    }

    #[test]
    fn services_of_the_proxy_show_requests() {
        let proxied = |name: &str, proxy: ProxyStatus| BackendStatus {
            slots: 0,
            next_hop: None,
            proxy: Some(proxy),
            ..backend(name, Health::Up, "200 in 1 ms", true)
        };
        let busy = ProxyStatus {
            serves: true,
            ejected: false,
            active: 3,
            connections: 8,
            requests: 12_345,
            failures: 2,
            received: 7_654_321,
            sent: 4_200,
        };
        let aside = ProxyStatus {
            ejected: true,
            ..ProxyStatus::default()
        };
        let standby = BackendStatus {
            role: Role::Backup,
            ..proxied("web3", ProxyStatus::default())
        };
        let mut shop = service(
            "shop",
            "proxy",
            vec![proxied("web1", busy), proxied("web2", aside), standby],
        );
        shop.vips = vec![VipStatus {
            address: "192.0.2.10:443".parse().unwrap(),
            exclusive: true,
        }];
        let drained = BackendStatus {
            state: AdminState::Drain,
            cut_flows: 4,
            ..proxied("web4", ProxyStatus::default())
        };
        let mut pool = service("api", "proxy", vec![drained]);
        pool.balance = "peak-ewma".to_owned();
        (pool.healthy, pool.ready) = (false, 0);
        let expected = "\
shop  tcp 192.0.2.10:443  proxy maglev
  BACKEND  ADDRESS      WEIGHT  ACTIVE  REQUESTS  FAILED  RECEIVED    SENT  HEALTH
  web1     10.0.0.6:80       1       3     12345       2    7.7 MB  4.2 kB  up: 200 in 1 ms
  web2     10.0.0.6:80       1       0         0       0       0 B     0 B  up: 200 in 1 ms; set aside for what it did to requests
  web3     10.0.0.6:80       1       0         0       0       0 B     0 B  standby; up: 200 in 1 ms

api  pool  peak-ewma
  NO QUORUM: 0 backends can take new requests, it needs 1
  BACKEND  ADDRESS      WEIGHT  ACTIVE  REQUESTS  FAILED  RECEIVED  SENT  HEALTH
  web4     10.0.0.6:80       1       0         0       0       0 B   0 B  draining; up: 200 in 1 ms; 4 requests were cut
";
        assert_eq!(format!("{}\n{}", service_text(&shop), service_text(&pool)), expected);
    }

    #[test]
    fn people_see_what_matters() {
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
