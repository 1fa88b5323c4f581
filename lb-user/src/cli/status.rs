//! `fulcrum status`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::args::{Daemon, Status as Args};
use super::table::columns;
use crate::api::Client;
use crate::api::types::{AdminState, BackendStatus, Health, Protocol, ServiceStatus, Status, XdpMode};
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
    let _ = writeln!(text, "{}: attached to {}", status.node, interfaces.join(", "));
    if let Some(fault) = &status.fault {
        let _ = writeln!(text, "FAULT: {fault}");
    }
    if let Some(reason) = &status.refused_reload {
        let _ = writeln!(
            text,
            "REFUSED RELOAD: the running configuration is older than the file\n{reason}"
        );
    }
    for service in &status.services {
        text.push('\n');
        text.push_str(&service_text(service));
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
        "HEALTH",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(service.backends.iter().map(|backend| row(backend, service.table_size)));
    if service.backends.is_empty() {
        text.push_str("  no backends\n");
    } else {
        text.push_str(&columns(&rows, &[3, 4, 5, 6]));
    }
    text
}

fn row(backend: &BackendStatus, slots: u32) -> Vec<String> {
    let share = f64::from(backend.slots) * 100.0 / f64::from(slots.max(1));
    let health = match (backend.state, backend.health) {
        (AdminState::Disabled, _) => "disabled".to_owned(),
        (AdminState::Active, Health::Up) if backend.next_hop.is_none() => {
            format!(
                "up, but {}",
                backend
                    .next_hop_reason
                    .as_deref()
                    .unwrap_or("its next hop is not known")
            )
        }
        (AdminState::Active, Health::Up) => format!("up: {}", backend.health_reason),
        (AdminState::Active, Health::Down) => format!("DOWN: {}", backend.health_reason),
        (AdminState::Active, Health::Unknown) => format!("unknown: {}", backend.health_reason),
    };
    vec![
        String::new(),
        backend.name.clone(),
        backend.address.to_string(),
        backend.weight.to_string(),
        format!("{share:.1}%"),
        backend.packets.to_string(),
        backend.new_flows.to_string(),
        health,
    ]
}
