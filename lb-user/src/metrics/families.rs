//! Every family of a node: name, labels, meaning, and where its numbers come from. docs/metrics.md is made of this list.
//!
//! Past 500 lines: one table.

mod acme;
mod http;
mod peers;
mod protection;
mod vrrp;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::http_status::Durations;
use crate::model::status::{BackendStatus, FlowTable, ServiceStatus, SlotStates, Status};
use crate::model::{AdminState, Health};

/// A family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Of its samples. Ends in the unit, then in what the kind wants: `_total` or `_info`.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// Unit in the name, where it has one.
    pub unit: Option<&'static str>,
    /// Names of its labels, in their order.
    pub labels: &'static [&'static str],
    /// One sentence, without a full stop.
    pub help: &'static str,
    pub(super) source: Source,
}

/// What numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until it begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1: the labels say it.
    Info,
    /// Durations by upper bound.
    Histogram,
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Whole(u64),
    Real(f64),
    /// Of a histogram, in seconds.
    Durations(&'a Durations),
}

/// Where the samples of a family come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// One, without labels.
    Node(fn(&Status) -> Value<'_>),
    /// One per service, with the label `service`.
    Service(fn(&ServiceStatus) -> Value<'_>),
    /// At most one per backend, with the labels `service` and `backend`.
    Backend(fn(&BackendStatus) -> Option<Value<'_>>),
    /// Any number per backend, with labels of their own after `service` and `backend`.
    EachBackend(fn(&BackendStatus, &mut Put<'_>) -> fmt::Result),
    /// Any number, with labels of its own.
    Own(fn(&Status, &mut Put<'_>) -> fmt::Result),
}

/// Takes the values of a sample's labels, and its value.
pub(super) type Put<'a> = dyn FnMut(&[&str], Value<'_>) -> fmt::Result + 'a;

pub(super) const BACKEND: &[&str] = &["service", "backend"];

/// All families, in the order of the text.
pub const FAMILIES: &[Family] = &{
    let lists = [
        NODE,
        protection::FAMILIES,
        vrrp::FAMILIES,
        peers::FAMILIES,
        http::FAMILIES,
        acme::FAMILIES,
    ];
    const LENGTH: usize = NODE.len()
        + protection::FAMILIES.len()
        + vrrp::FAMILIES.len()
        + peers::FAMILIES.len()
        + http::FAMILIES.len()
        + acme::FAMILIES.len();
    let mut all = [NODE[0]; LENGTH];
    let (mut at, mut list) = (0, 0);
    while list < lists.len() {
        let some = lists[list];
        let (_, rest) = all.split_at_mut(at);
        rest.split_at_mut(some.len()).0.copy_from_slice(some);
        (at, list) = (at + some.len(), list + 1);
    }
    all
};

/// Those of the node, and of what the program does.
const NODE: &[Family] = &[
    Family {
        name: "fulcrum_build_info",
        kind: Kind::Info,
        unit: None,
        labels: &["version", "arch"],
        help: "The running daemon: its version, and the processor architecture that it is built for",
        source: Source::Own(|_, put| put(&[env!("CARGO_PKG_VERSION"), std::env::consts::ARCH], Value::Whole(1))),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &[],
        help: "When the daemon started, in seconds since 1970; program and maps outlive it",
        source: Source::Node(|status| seconds(status.started)),
    },
    Family {
        name: "fulcrum_fault",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "Whether the kernel is not as the file wants it (1), which `fulcrum status` explains",
        source: Source::Node(|status| truth(status.fault.is_some())),
    },
    Family {
        name: "fulcrum_repairs_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["kind"],
        help: "What somebody else has changed and the daemon has put right since it started, by kind: program (taken off an \
               interface), entry, slot or member (of maps), or address (a VIP taken off the node); looked for every 30 seconds",
        source: Source::Own(|status, put| {
            let mut repairs = status.repairs.each().into_iter();
            repairs.try_for_each(|(kind, count)| put(&[kind], Value::Whole(count)))
        }),
    },
    Family {
        name: "fulcrum_config_reloads_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["result"],
        help: "Times that the running daemon read its file again, by result: accepted or refused",
        source: Source::Own(|status, put| {
            put(&["accepted"], Value::Whole(status.reloads.accepted))?;
            put(&["refused"], Value::Whole(status.reloads.refused))
        }),
    },
    Family {
        name: "fulcrum_config_last_reload_success",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "Whether the file was accepted (1) when it was last read; if not, an older one runs",
        source: Source::Node(|status| truth(status.reloads.refusal.is_none())),
    },
    Family {
        name: "fulcrum_config_last_reload_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &[],
        help: "When the file was last read, accepted or refused, in seconds since 1970",
        source: Source::Node(|status| seconds(status.reloads.last)),
    },
    Family {
        name: "fulcrum_interface_info",
        kind: Kind::Info,
        unit: None,
        labels: &["interface", "mode"],
        help: "An interface that the XDP program is attached to, and how: native (in the driver) or generic (slower)",
        source: Source::Own(|status, put| {
            status.interfaces.iter().try_for_each(|interface| {
                let Ok(mode) = interface.attached else { return Ok(()) };
                put(&[&interface.name, mode.label()], Value::Whole(1))
            })
        }),
    },
    Family {
        name: "fulcrum_interface_attached",
        kind: Kind::Gauge,
        unit: None,
        labels: &["interface"],
        help: "Whether the program is attached to the interface (1), which needs an interface of this name to be there",
        source: Source::Own(|status, put| {
            let mut interfaces = status.interfaces.iter();
            interfaces.try_for_each(|interface| put(&[&interface.name], truth(interface.attached.is_ok())))
        }),
    },
    Family {
        name: "fulcrum_drops_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["reason"],
        help: "Packets that the program dropped since its maps were made, by reason",
        source: Source::Own(|status, put| {
            let mut drops = status.drops.iter();
            drops.try_for_each(|(reason, packets)| put(&[reason.label()], Value::Whole(*packets)))
        }),
    },
    Family {
        name: "fulcrum_service_info",
        kind: Kind::Info,
        unit: None,
        labels: &["service", "mode", "balance", "protocol"],
        help: "A service, and what the file says of it",
        source: Source::Own(|status, put| {
            status.services.iter().try_for_each(|service| {
                let labels = [service.mode.label(), service.balance.label(), service.protocol.label()];
                put(&[&service.name, labels[0], labels[1], labels[2]], Value::Whole(1))
            })
        }),
    },
    Family {
        name: "fulcrum_service_backends_up",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service"],
        help: "Backends of the service that are active and up",
        source: Source::Service(|service| Value::Whole(service.backends.iter().filter(|b| serves(b)).count() as u64)),
    },
    Family {
        name: "fulcrum_service_slots",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service", "state"],
        help: "Slots of the service's ring by what they remember: stable (nothing), moving (they have changed, and older \
               flows stay where they are) or settled (flows that are known stay where they are)",
        source: Source::Own(slots),
    },
    Family {
        name: "fulcrum_flows",
        kind: Kind::Gauge,
        unit: None,
        labels: &["table"],
        help: "Flows of dsr and tunnel that are known, by table: flows (of slots that have changed) or tracked (of services \
               that choose by turn or by load); counted every five seconds",
        source: Source::Own(|status, put| tables(status, put, |table| table.entries.into())),
    },
    Family {
        name: "fulcrum_flows_max",
        kind: Kind::Gauge,
        unit: None,
        labels: &["table"],
        help: "Flows that the table has room for",
        source: Source::Own(|status, put| tables(status, put, |table| table.capacity.into())),
    },
    Family {
        name: "fulcrum_flows_written_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["table"],
        help: "Flows that were written to the table since the maps were made",
        source: Source::Own(|status, put| tables(status, put, |table| table.written)),
    },
    Family {
        name: "fulcrum_flows_no_room_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["table"],
        help: "Flows that found no room in the table since the maps were made: raise flow-table-size",
        source: Source::Own(|status, put| tables(status, put, |table| table.no_room)),
    },
    Family {
        name: "fulcrum_service_healthy",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service"],
        help: "Whether as many of the service's backends as its quorum can take new flows (1)",
        source: Source::Service(|service| truth(service.is_healthy())),
    },
    Family {
        name: "fulcrum_service_backends_ready",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service"],
        help: "Backends of the service that can take new flows: active, up, reached, and with a weight",
        source: Source::Service(|service| Value::Whole(service.ready.into())),
    },
    Family {
        name: "fulcrum_service_backends_unresolved",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service"],
        help: "Backends of the service that are named by a host and have no address",
        source: Source::Service(|service| Value::Whole(service.named.len() as u64)),
    },
    Family {
        name: "fulcrum_service_quorum",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service"],
        help: "Backends that must be ready for the service to count as healthy",
        source: Source::Service(|service| Value::Whole(service.quorum.into())),
    },
    Family {
        name: "fulcrum_service_probe_interval_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: &["service"],
        help: "From the start of a probe of a backend to that of the next one, as the file wants it; missing where nobody probes",
        source: Source::Own(|status, put| {
            status
                .services
                .iter()
                .try_for_each(|service| match service.probe_interval {
                    Some(interval) => put(&[&service.name], Value::Real(interval.as_secs_f64())),
                    None => Ok(()),
                })
        }),
    },
    Family {
        name: "fulcrum_backend_packets_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Packets forwarded to the backend since the maps were made",
        source: Source::Backend(|backend| Some(Value::Whole(backend.counters.packets))),
    },
    Family {
        name: "fulcrum_backend_bytes_total",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: BACKEND,
        help: "Bytes of these packets, Ethernet headers included",
        source: Source::Backend(|backend| Some(Value::Whole(backend.counters.bytes))),
    },
    Family {
        name: "fulcrum_backend_new_flows_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Packets among them that open a TCP connection (SYN without ACK), repeated ones included; in nat, flows \
               that got a port, UDP included",
        source: Source::Backend(|backend| Some(Value::Whole(backend.counters.new_flows))),
    },
    Family {
        name: "fulcrum_backend_reply_packets_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Packets from the backend to its clients since the maps were made; nat only, since elsewhere they do not \
               pass the node",
        source: Source::Backend(|backend| backend.nat.map(|_| Value::Whole(backend.counters.reply_packets))),
    },
    Family {
        name: "fulcrum_backend_reply_bytes_total",
        kind: Kind::Counter,
        unit: Some("bytes"),
        labels: BACKEND,
        help: "Bytes of these packets, Ethernet headers included",
        source: Source::Backend(|backend| backend.nat.map(|_| Value::Whole(backend.counters.reply_bytes))),
    },
    Family {
        name: "fulcrum_backend_nat_ports",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Ports that flows to the backend can get, one each; nat only",
        source: Source::Backend(|backend| backend.nat.map(|nat| Value::Whole(nat.ports.count().into()))),
    },
    Family {
        name: "fulcrum_backend_nat_ports_in_use",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service", "backend", "phase"],
        help: "Ports among these that flows have, by how far the flow has come: opening, established, half_closed, or \
               closed (the port rests, and is used again where there is no other); counted every five seconds",
        source: Source::EachBackend(nat_ports),
    },
    Family {
        name: "fulcrum_backend_known_flows",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Flows of the backend that are known in dsr and tunnel: those of slots that have changed, or all where they \
               are chosen by turn or by load; counted every five seconds",
        source: Source::Backend(|backend| Some(Value::Whole(backend.known_flows.into()))),
    },
    Family {
        name: "fulcrum_backend_cut_flows_total",
        kind: Kind::Counter,
        unit: None,
        labels: BACKEND,
        help: "Known flows of the backend that were cut when drain-timeout had passed, since the daemon started",
        source: Source::Backend(|backend| Some(Value::Whole(backend.cut_flows))),
    },
    Family {
        name: "fulcrum_backend_leaving",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Whether the file has the backend no more, which finishes its flows and then goes (1)",
        source: Source::Backend(|backend| Some(truth(backend.leaving))),
    },
    Family {
        name: "fulcrum_backend_active",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Whether the backend is meant to serve (1), which one is not that is drained, disabled or leaving",
        source: Source::Backend(|backend| Some(truth(backend.state == AdminState::Active && !backend.leaving))),
    },
    Family {
        name: "fulcrum_backend_up",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Whether the backend is active and the probes say that it is up (1)",
        source: Source::Backend(|backend| Some(truth(serves(backend)))),
    },
    Family {
        name: "fulcrum_backend_weight",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Weight of the backend, from 0 to 65535",
        source: Source::Backend(|backend| Some(Value::Whole(backend.weight.into()))),
    },
    Family {
        name: "fulcrum_backend_slots",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Slots of the service's ring that the backend serves",
        source: Source::Backend(|backend| Some(Value::Whole(backend.slots.into()))),
    },
    Family {
        name: "fulcrum_backend_next_hop_resolved",
        kind: Kind::Gauge,
        unit: None,
        labels: BACKEND,
        help: "Whether it is known how the backend is reached on the wire (1); missing with the proxy, where the kernel knows",
        source: Source::Backend(|backend| Some(truth(backend.next_hop.as_ref()?.is_ok()))),
    },
    Family {
        name: "fulcrum_backend_probe_duration_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: BACKEND,
        help: "How long the last probe took that succeeded or failed; missing before the first one",
        source: Source::Backend(|backend| Some(Value::Real(backend.probes?.last?.as_secs_f64()))),
    },
    Family {
        name: "fulcrum_backend_last_probe_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: BACKEND,
        help: "When the last probe ended, whatever came of it, in seconds since 1970; missing before the first one",
        source: Source::Backend(|backend| Some(seconds(backend.probes?.ended?))),
    },
    Family {
        name: "fulcrum_backend_certificate_not_after_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: BACKEND,
        help: "Until when the certificate is valid that the backend showed a probe last, in seconds since 1970; missing where \
               probes do not use TLS",
        source: Source::Backend(|backend| Some(Value::Whole(backend.probes?.certificate_not_after?))),
    },
    Family {
        name: "fulcrum_backend_probes_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["service", "backend", "outcome"],
        help: "Probes since the daemon began to probe the backend, by outcome: success, failure, or local (did not leave \
               this node, which says nothing about the backend); missing before the first one",
        source: Source::EachBackend(probes),
    },
];

fn slots(status: &Status, put: &mut Put<'_>) -> fmt::Result {
    status.services.iter().try_for_each(|service| {
        let SlotStates {
            stable,
            moving,
            settled,
        } = service.slots;
        for (state, slots) in [("stable", stable), ("moving", moving), ("settled", settled)] {
            put(&[&service.name, state], Value::Whole(slots.into()))?;
        }
        Ok(())
    })
}

fn tables(status: &Status, put: &mut Put<'_>, of: impl Fn(FlowTable) -> u64) -> fmt::Result {
    put(&["flows"], Value::Whole(of(status.flows.flows)))?;
    put(&["tracked"], Value::Whole(of(status.flows.tracked)))
}

fn nat_ports(backend: &BackendStatus, put: &mut Put<'_>) -> fmt::Result {
    let Some(nat) = backend.nat else { return Ok(()) };
    let phases = [
        ("opening", nat.flows.opening),
        ("established", nat.flows.established),
        ("half_closed", nat.flows.half_closed),
        ("closed", nat.flows.closed),
    ];
    let mut phases = phases.into_iter();
    phases.try_for_each(|(phase, count)| put(&[phase], Value::Whole(count.into())))
}

fn probes(backend: &BackendStatus, put: &mut Put<'_>) -> fmt::Result {
    let Some(probes) = backend.probes else { return Ok(()) };
    put(&["success"], Value::Whole(probes.succeeded))?;
    put(&["failure"], Value::Whole(probes.failed))?;
    put(&["local"], Value::Whole(probes.local))
}

fn serves(backend: &BackendStatus) -> bool {
    backend.state == AdminState::Active && backend.health == Health::Up
}

fn truth(it_is: bool) -> Value<'static> {
    Value::Whole(it_is.into())
}

fn seconds(time: SystemTime) -> Value<'static> {
    Value::Real(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}
