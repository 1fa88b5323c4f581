//! The text as others read it.

mod counted;
mod documented;
mod golden;
mod http;
mod protection;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lb_common::addr::Mac;
use lb_common::stats::{Counters, DropReason};

use super::*;
use crate::model::acme::CertificateStatus;
use crate::model::peers::PeersStatus;
use crate::model::status::{
    AttachMode, BackendStatus, FlowTable, FlowTables, InterfaceStatus, NatFlows, NatStatus, Reached, Reloads, Repairs,
    ServiceStatus, SlotStates,
};
use crate::model::vrrp::HaStatus;
use crate::model::{AdminState, Balance, Health, Mode, PortRange, ProbeCounts, Protocol, Role};

fn encoded(status: Status, format: Format) -> String {
    let mut text = String::new();
    encode(status, format, &mut text).unwrap();
    text
}

fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

fn backend(name: &str) -> BackendStatus {
    BackendStatus {
        proxied: None,
        nat: Some(NatStatus {
            source: None,
            ports: PortRange::DEFAULT,
            flows: NatFlows {
                opening: 1,
                established: 20,
                half_closed: 3,
                closed: 4,
            },
        }),
        name: name.into(),
        address: "10.0.0.6:80".parse().unwrap(),
        weight: 5,
        host: None,
        weight_in_file: None,
        starting: None,
        role: Role::Primary,
        state: AdminState::Active,
        state_in_file: None,
        health: Health::Up,
        health_reason: "connected in 0.3 ms".into(),
        probes: Some(ProbeCounts {
            succeeded: 12,
            failed: 1,
            local: 0,
            last: Some(Duration::from_micros(310)),
            certificate_not_after: Some(1_800_000_000),
            ended: Some(at(1_700_000_061_250)),
        }),
        next_hop: Some(Ok(Reached {
            mac: Mac([2, 0, 0, 0, 0, 0x0a]),
            interface: "eth0".into(),
        })),
        slots: 16384,
        moving_slots: 0,
        drained: false,
        leaving: false,
        known_flows: 9,
        cut_flows: 2,
        counters: Counters {
            packets: 12,
            // More than an i64 or a double holds.
            bytes: u64::MAX - 1,
            new_flows: 4,
            reply_packets: 11,
            reply_bytes: 1 << 61,
        },
    }
}

fn service(name: &str, backends: Vec<BackendStatus>) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        vips: Vec::new(),
        protocol: Protocol::Tcp,
        mode: Mode::Nat,
        balance: Balance::Maglev,
        table_size: 16384,
        named: Vec::new(),
        ready: 1,
        quorum: 2,
        protection: None,
        probe_interval: Some(Duration::from_millis(2_500)),
        slots: SlotStates {
            stable: 16000,
            moving: 284,
            settled: 100,
        },
        backends,
    }
}

fn status(services: Vec<ServiceStatus>) -> Status {
    let mut reloads = Reloads::none(at(0));
    reloads.accept(at(1_000));
    reloads.refuse(at(1_700_000_060_500), "no".to_owned());
    Status {
        node: "lb1".to_owned(),
        interfaces: vec![InterfaceStatus {
            name: "eth0".to_owned(),
            attached: Ok(AttachMode::Native),
        }],
        services,
        flows: FlowTables {
            flows: FlowTable {
                entries: 12,
                capacity: 262_144,
                written: 90,
                no_room: 3,
            },
            tracked: FlowTable::default(),
        },
        http: Vec::new(),
        protection: None,
        drops: vec![(DropReason::Truncated, 0), (DropReason::NoBackend, 7)],
        reloads,
        fault: None,
        overrides_fault: None,
        draining: true,
        repairs: Repairs {
            slots: 3,
            ..Repairs::default()
        },
        started: at(1_700_000_000_250),
        settled: true,
        ha: HaStatus::example(),
        peers: PeersStatus::example(),
        certificates: vec![CertificateStatus::example()],
    }
}

/// A backend of which nothing is known yet.
fn unknown(name: &str) -> BackendStatus {
    BackendStatus {
        health: Health::Unknown,
        probes: None,
        nat: None,
        next_hop: Some(Err("no answer to ARP".to_owned())),
        counters: Counters::default(),
        ..backend(name)
    }
}

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for Family {
        name,
        kind,
        unit,
        labels,
        help,
        ..
    } in FAMILIES
    {
        assert!(names.insert(name), "{name} twice");
        assert!(name.starts_with("fulcrum_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_info"), *kind == Kind::Info, "{name}");
        let without = name.trim_end_matches("_total");
        assert!(unit.is_none_or(|unit| without.ends_with(&format!("_{unit}"))), "{name}");
        assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len(), "{name}");
        // The encoder does not escape help.
        assert!(
            !help.contains(['\n', '\\', '"']) && !help.ends_with('.'),
            "{name}: {help}"
        );
    }
}

#[test]
fn label_values_are_escaped() {
    let mut status = status(Vec::new());
    // The kernel takes such names. No file does, of services and backends.
    let name = "a\"b\\c\nd";
    status.interfaces[0].name = name.to_owned();
    status.services.push(service(name, vec![backend(name)]));
    for format in [Format::OpenMetrics, Format::Text] {
        let text = encoded(status.clone(), format);
        for line in [
            r#"fulcrum_interface_info{interface="a\"b\\c\nd",mode="native"} 1"#,
            r#"fulcrum_backend_up{service="a\"b\\c\nd",backend="a\"b\\c\nd"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{text}");
        }
    }
}

#[test]
fn what_is_disabled_is_not_up() {
    let disabled = BackendStatus {
        state: AdminState::Disabled,
        ..backend("web1")
    };
    let down = BackendStatus {
        health: Health::Down,
        ..backend("web2")
    };
    let text = encoded(
        status(vec![service("web", vec![disabled, down, backend("web3")])]),
        Format::Text,
    );
    let ups: Vec<_> = text
        .lines()
        .filter(|l| l.starts_with("fulcrum_backend_up{"))
        .map(|l| l.chars().last().unwrap())
        .collect();
    assert_eq!(ups, ['0', '0', '1']);
    assert!(text.contains("fulcrum_service_backends_up{service=\"web\"} 1\n"));
}

/// What a scrape of the largest nodes costs: 20,000 backends. Optimised, 100 ms at most; else this only runs through.
#[test]
fn many_backends_are_quickly_told() {
    let services = (0..1_000)
        .map(|s| {
            let backends = (0..20).map(|b| backend(&format!("backend-{b}"))).collect();
            service(&format!("service-{s}"), backends)
        })
        .collect();
    let status = status(services);
    for format in [Format::OpenMetrics, Format::Text] {
        let best = (0..3).map(|_| {
            let status = status.clone();
            let begun = Instant::now();
            let text = encoded(status, format);
            (begun.elapsed(), text.len())
        });
        let (took, bytes) = best.min().unwrap();
        println!("{format:?}: {took:?}, {bytes} bytes");
        assert!(cfg!(debug_assertions) || took < Duration::from_millis(100), "{took:?}");
    }
}
