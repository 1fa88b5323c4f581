//! `fulcrum plan`.

use std::io;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::args::Plan as Args;
use crate::api::Client;
use crate::api::types::{BackendPlan, Change, Flows, FlowsPlan, KeyPlan, Plan, ServicePlan};
use crate::config;
use crate::model::Mode;

/// The exit code that says that something would change.
const CHANGES: u8 = 3;

/// Columns of a terminal that is not wide.
const WIDTH: usize = 80;

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let parsed = config::load(&args.config)?;
    for warning in &parsed.warnings {
        eprintln!("{}", warning.render(super::colors(&io::stderr())));
    }
    let socket = args
        .socket
        .clone()
        .unwrap_or_else(|| parsed.config.admin.socket.clone());
    let name = args.config.display().to_string();
    let plan = Client::new(socket).plan(&name, parsed.text().to_owned()).await?;
    super::show(args.json, &plan, text)?;
    if let Some(fault) = &plan.fault {
        bail!("the kernel would not be as the file wants it: {fault}");
    }
    Ok(if plan.changed {
        ExitCode::from(CHANGES)
    } else {
        ExitCode::SUCCESS
    })
}

/// The plan for people: like a diff, in lines of [`WIDTH`] columns.
fn text(plan: &Plan) -> String {
    if !plan.changed {
        return "nothing would change\n".to_owned();
    }
    let mut lines = Lines::default();
    for change in &plan.keys {
        lines.add("", '~', &key(change));
    }
    for service in &plan.services {
        lines.service(service);
    }
    for address in &plan.addresses {
        let text = format!("address {} on {}", address.address, address.interface);
        lines.add("", sign(address.change), &text);
    }
    for said in &plan.overrides {
        let text = format!(
            "what a command has set for {}/{} ends or changes",
            said.service, said.address
        );
        lines.add("", '~', &text);
    }
    let FlowsPlan {
        draining,
        reassigned,
        cut,
    } = plan.flows;
    if draining + reassigned + cut > 0 {
        let text = format!("flows that are known now: {draining} drain, {reassigned} are reassigned, {cut} are cut\n");
        lines.0 += &text;
    }
    lines.0
}

const fn sign(change: Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed | Change::Moved => '~',
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    /// `text` behind `sign`; what is too long goes on in the next line, indented.
    fn add(&mut self, indent: &str, sign: char, text: &str) {
        let mut line = format!("{indent}{sign}");
        for word in text.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.0 += &line;
                self.0.push('\n');
                line = format!("{indent}     ");
            }
            line.push(' ');
            line += word;
        }
        self.0 += &line;
        self.0.push('\n');
    }

    fn service(&mut self, service: &ServicePlan) {
        let ServicePlan { name, slots, .. } = service;
        let says = match (service.change, &service.vips_go_to) {
            (Change::Removed, Some(heir)) => format!("service {name}: its VIPs go to {heir}"),
            (Change::Added | Change::Removed, _) => format!("service {name}"),
            // With the proxy there is none.
            (Change::Changed | Change::Moved, _) if *slots == 0 => format!("service {name}"),
            (Change::Changed | Change::Moved, _) => match service.moved_slots {
                0 => format!("service {name}: no slot moves"),
                moved => format!("service {name}: {} of {slots} slots move", percent(moved, *slots)),
            },
        };
        self.add("", sign(service.change), &says);
        for change in &service.keys {
            self.add("    ", '~', &key(change));
        }
        for vip in service.closed_vips.iter().filter(|_| service.change != Change::Removed) {
            self.add("    ", '-', &format!("VIP {vip}: its flows are cut"));
        }
        for backend in &service.backends {
            self.add("    ", sign(backend.change), &backend_text(backend, *slots));
        }
    }
}

fn key(KeyPlan { key, from, to }: &KeyPlan) -> String {
    let proxy = Mode::Proxy.label();
    let means = match key.as_str() {
        "mode" if to == proxy => {
            "; from then on this node's proxy takes connections, and chooses a backend for each request"
        }
        "mode" if from == proxy => "; from then on the program sends packets to a backend, and the proxy takes none",
        _ => "",
    };
    format!("{key}: {from} -> {to}{means}")
}

fn backend_text(backend: &BackendPlan, slots: u32) -> String {
    let mut says: Vec<String> = backend.keys.iter().map(key).collect();
    if let Some(weight) = backend.weight_in_force {
        says.push(format!("a command keeps its weight at {weight}"));
    }
    if let Some(state) = backend.state_in_force {
        says.push(format!("a command keeps its state {state}"));
    }
    let mut share = Vec::new();
    if backend.gains > 0 {
        share.push(format!("gains {}", percent(backend.gains, slots)));
    }
    if backend.loses > 0 {
        share.push(format!("loses {}", percent(backend.loses, slots)));
    }
    if !share.is_empty() {
        let supposed = if backend.supposed_up { " when it is up" } else { "" };
        says.push(format!("{}{supposed}", share.join(", ")));
    }
    let flows = match backend.flows {
        Flows::Kept => None,
        Flows::Draining => Some("its flows drain"),
        Flows::Reassigned => Some("its flows are reassigned, and break where that is another backend"),
        Flows::Cut => Some("its flows are cut"),
    };
    says.extend(flows.map(|flows| format!("{flows} ({} known)", backend.known_flows)));
    let BackendPlan { name, address, .. } = backend;
    let named = if *name == address.to_string() {
        name.clone()
    } else {
        format!("{name} {address}")
    };
    if says.is_empty() {
        format!("backend {named}")
    } else {
        format!("backend {named}: {}", says.join("; "))
    }
}

fn percent(part: u32, whole: u32) -> String {
    format!("{:.1}%", f64::from(part) * 100.0 / f64::from(whole.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{AddressPlan, AdminState, OverridePlan};

    fn backend(name: &str, change: Change) -> BackendPlan {
        BackendPlan {
            name: name.to_owned(),
            address: "10.0.0.6:80".parse().unwrap(),
            change,
            keys: Vec::new(),
            weight_in_force: None,
            state_in_force: None,
            slots_before: 0,
            slots_after: 0,
            gains: 0,
            loses: 0,
            supposed_up: false,
            flows: Flows::Kept,
            known_flows: 0,
        }
    }

    fn service(name: &str, change: Change) -> ServicePlan {
        ServicePlan {
            name: name.to_owned(),
            change,
            keys: Vec::new(),
            slots: 1000,
            moved_slots: 0,
            closed_vips: Vec::new(),
            vips_go_to: None,
            backends: Vec::new(),
        }
    }

    fn key(key: &str, from: &str, to: &str) -> KeyPlan {
        KeyPlan {
            key: key.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    #[test]
    fn a_plan_reads_like_a_diff() {
        let web = ServicePlan {
            keys: vec![key("address", "192.0.2.10:80, 192.0.2.20:80", "192.0.2.10:80")],
            moved_slots: 343,
            closed_vips: vec!["192.0.2.20:80".to_owned()],
            backends: vec![
                BackendPlan {
                    keys: vec![key("weight", "1", "3")],
                    weight_in_force: Some(4),
                    gains: 30,
                    loses: 10,
                    ..backend("web1", Change::Changed)
                },
                BackendPlan {
                    gains: 250,
                    supposed_up: true,
                    ..backend("10.0.0.6:80", Change::Added)
                },
                BackendPlan {
                    keys: vec![key("state", "active", "disabled")],
                    state_in_force: Some(AdminState::Drain),
                    ..backend("web3", Change::Changed)
                },
                BackendPlan {
                    loses: 333,
                    flows: Flows::Draining,
                    known_flows: 12,
                    ..backend("web2", Change::Removed)
                },
                BackendPlan {
                    flows: Flows::Reassigned,
                    known_flows: 2,
                    ..backend("web4", Change::Moved)
                },
            ],
            ..service("web", Change::Changed)
        };
        let old = ServicePlan {
            closed_vips: vec!["192.0.2.30:80".to_owned()],
            backends: vec![BackendPlan {
                loses: 1000,
                flows: Flows::Cut,
                known_flows: 3,
                ..backend("old1", Change::Removed)
            }],
            ..service("old", Change::Removed)
        };
        let moved = ServicePlan {
            vips_go_to: Some("web".to_owned()),
            ..service("moved", Change::Removed)
        };
        let plan = Plan {
            changed: true,
            keys: vec![key("protection.deny", "3 prefixes", "1000003 prefixes (+1000000 -0)")],
            services: vec![web, service("new", Change::Added), old, moved],
            addresses: vec![
                AddressPlan {
                    address: "2001:db8::10".parse().unwrap(),
                    change: Change::Added,
                    interface: "eth0".to_owned(),
                },
                AddressPlan {
                    address: "192.0.2.20".parse().unwrap(),
                    change: Change::Removed,
                    interface: "lo".to_owned(),
                },
            ],
            overrides: vec![OverridePlan {
                service: "web".to_owned(),
                address: "10.0.0.9:80".parse().unwrap(),
            }],
            flows: FlowsPlan {
                draining: 12,
                reassigned: 2,
                cut: 3,
            },
            fault: None,
        };
        let expected = "\
~ protection.deny: 3 prefixes -> 1000003 prefixes (+1000000 -0)
~ service web: 34.3% of 1000 slots move
    ~ address: 192.0.2.10:80, 192.0.2.20:80 -> 192.0.2.10:80
    - VIP 192.0.2.20:80: its flows are cut
    ~ backend web1 10.0.0.6:80: weight: 1 -> 3; a command keeps its weight at 4;
          gains 3.0%, loses 1.0%
    + backend 10.0.0.6:80: gains 25.0% when it is up
    ~ backend web3 10.0.0.6:80: state: active -> disabled; a command keeps its
          state drain
    - backend web2 10.0.0.6:80: loses 33.3%; its flows drain (12 known)
    ~ backend web4 10.0.0.6:80: its flows are reassigned, and break where that
          is another backend (2 known)
+ service new
- service old
    - backend old1 10.0.0.6:80: loses 100.0%; its flows are cut (3 known)
- service moved: its VIPs go to web
+ address 2001:db8::10 on eth0
- address 192.0.2.20 on lo
~ what a command has set for web/10.0.0.9:80 ends or changes
flows that are known now: 12 drain, 2 are reassigned, 3 are cut
";
        assert_eq!(text(&plan), expected);
        assert!(expected.lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn no_change_is_said() {
        let plan = Plan {
            changed: false,
            keys: Vec::new(),
            services: Vec::new(),
            addresses: Vec::new(),
            overrides: Vec::new(),
            flows: FlowsPlan::default(),
            fault: None,
        };
        assert_eq!(text(&plan), "nothing would change\n");
    }
}
