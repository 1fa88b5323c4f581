//! `[[service]]`, one at a time.

use std::ops::RangeInclusive;
use std::time::Duration;

use lb_common::limits::{RING_MAX_LOG2, RING_MIN_LOG2};

use super::address;
use super::backend::{self, Front};
use super::fault::{Checked, Span, fault};
use super::nat::{self, Places};
use super::raw::{Table, Value};
use super::{Reader, Subject, tunnel};
use crate::model::{AdminState, Balance, Mode, Protocol, RingSize, Service, Undeclared, Vip, count};

/// Slots per backend below which shares and churn get coarse.
const SLOTS_PER_BACKEND: u32 = 100;

/// How long a backend drains where the file does not say.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Limits of `drain-timeout`; for none at all there is a word.
const DRAIN_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// Limits of `idle-timeout`: what the data plane measures in seconds, and what no connection needs.
const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(30 * 24 * 3600);

/// A service, and the places that other services may contradict.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) service: Service,
    pub(super) header: Span,
    pub(super) name: Span,
    /// As many as VIPs.
    pub(super) vips: Vec<Span>,
    /// As many as backends with an address.
    pub(super) backends: Vec<Span>,
    pub(super) table_size: Option<Span>,
    pub(super) undeclared: Option<Span>,
    pub(super) nat: Places,
}

impl Reader {
    pub(super) fn service(&mut self, table: &Table<'_>) -> Checked<Draft> {
        let name = table.require("name", "\"web\"")?;
        self.places
            .insert(Subject::Service(name.name()?.to_owned()), table.span.clone());
        let mode = table.require("mode", "\"dsr\"")?.choice(
            &[Mode::Dsr, Mode::Tunnel, Mode::Nat].map(|mode| (mode.label(), mode)),
            &["proxy"],
        )?;
        let vips = vips(&table.require("address", "\"192.0.2.10:80\"")?, mode)?;
        let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
        let protocol = match table.get("protocol") {
            Some(protocol) => protocol.choice(&protocols, &[])?,
            None => Protocol::Tcp,
        };
        let balance = match table.get("balance") {
            Some(balance) => balance.choice(&BALANCE.map(|balance| (balance.label(), balance)), BALANCE_LATER)?,
            None => Balance::Maglev,
        };
        let table_size = table.get("table-size");
        let undeclared = table.get("undeclared");
        let ring = table_size.as_ref().map_or(Ok(RingSize::DEFAULT), ring_size)?;
        let idle_timeout = match table.get("idle-timeout") {
            Some(timeout) => timeout.duration(IDLE_TIMEOUT)?,
            None => protocol.idle_timeout(),
        };
        let drain_timeout = match table.get("drain-timeout") {
            Some(timeout) => timeout.duration_or_never(DRAIN_TIMEOUT)?,
            None => Some(DEFAULT_DRAIN_TIMEOUT),
        };
        let track = table
            .get("track")
            .map_or(Ok(true), |value| track(&value, table, protocol, balance))?;
        let kept = undeclared.as_ref().map(|value| self.undeclared(value)).transpose()?;
        let (nat, nat_places) = nat::nat(table)?;
        let tunnel = tunnel::tunnel(table)?;
        let health = self.health(table.get("health"), protocol, &table.span)?;
        let backend::Backends { placed, named } = backend::backends(table, &Front { mode, vips: &vips })?;
        let (backend_spans, backends) = placed.into_iter().unzip();
        let (vip_spans, vips) = vips.into_iter().unzip();
        let draft = Draft {
            service: Service {
                name: name.name()?.into(),
                vips,
                protocol,
                mode,
                balance,
                table_size: ring,
                nat,
                tunnel,
                idle_timeout,
                drain_timeout,
                track,
                undeclared: kept,
                proxy: None,
                health,
                backends,
                named,
            },
            header: table.span.clone(),
            name: name.span(),
            vips: vip_spans,
            backends: backend_spans,
            table_size: table_size.map(|value| value.span()),
            undeclared: undeclared.map(|value| value.span()),
            nat: nat_places,
        };
        nat::source_of_family(&draft)?;
        self.warnings.extend(nat::low_ports(&draft));
        let name = &draft.service.name;
        let places = [
            (Subject::NatSource(name.to_string()), &draft.nat.source),
            (Subject::NatPorts(name.to_string()), &draft.nat.ports),
        ];
        self.places
            .extend(places.map(|(subject, place)| (subject, place.clone())));
        self.shares(&draft)?;
        Ok(draft)
    }

    fn undeclared(&mut self, value: &Value<'_>) -> Checked<Undeclared> {
        let undeclared = value.choice(&[Undeclared::Drop, Undeclared::Pass].map(|u| (u.label(), u)), &[])?;
        let (message, hint) = match undeclared {
            Undeclared::Drop => (
                "packets for this VIP to undeclared ports are dropped, even where the node's own services answer",
                "if the VIP is an address that you log in through, declare that port or remove `undeclared`",
            ),
            Undeclared::Pass => (
                "packets for this VIP to undeclared ports reach the node itself",
                "whatever listens on all addresses of this node can then be reached through the VIP",
            ),
        };
        self.warnings.push(value.fault(message).hint(hint));
        Ok(undeclared)
    }

    /// Is there somebody to serve, and are there slots enough for everybody?
    fn shares(&mut self, draft: &Draft) -> Checked<()> {
        let Service { backends, named, .. } = &draft.service;
        let shares = || {
            let placed = backends.iter().map(|backend| (backend.weight, backend.state));
            placed.chain(named.iter().map(|backend| (backend.weight, backend.state)))
        };
        let slots = draft.service.table_size.slots();
        let span = draft.table_size.as_ref().unwrap_or(&draft.header).clone();
        // Those that drain or are disabled now may be enabled later.
        let weighty = shares().filter(|(weight, _)| *weight > 0).count() as u32;
        let enough = |least: u32| match least.checked_next_power_of_two() {
            Some(size) if size <= 1 << RING_MAX_LOG2 => format!("set table-size = {size}"),
            _ => "split the service".to_owned(),
        };
        if weighty > slots {
            let message = format!("{weighty} backends cannot share {slots} slots");
            return Err(fault(span, message).hint(enough(weighty)));
        }
        let good = weighty.saturating_mul(SLOTS_PER_BACKEND);
        if good > slots && slots < 1 << RING_MAX_LOG2 {
            let message = format!("{slots} slots for {weighty} backends make shares coarse");
            let hint = format!(
                "{SLOTS_PER_BACKEND} slots per backend keep them within a percent or so: {}",
                enough(good.min(1 << RING_MAX_LOG2))
            );
            self.warnings.push(fault(span, message).hint(hint));
        }
        let quorum = draft.service.health.quorum.get();
        if quorum as usize > shares().count() && shares().count() > 0 {
            let have = count(shares().count(), "backend");
            let message = format!("this service never counts as healthy: it has {have}, and its quorum is {quorum}");
            self.warnings
                .push(fault(draft.header.clone(), message).hint("lower `quorum` in [service.health]"));
        }
        let serves = shares().any(|(weight, state)| weight > 0 && state == AdminState::Active);
        if !serves {
            let (what, hint) = if shares().count() == 0 {
                ("this service has no backends", "add a [[service.backend]]")
            } else {
                (
                    "every backend of this service is draining, disabled or has weight 0",
                    "enable one, or raise a weight",
                )
            };
            let message = format!("{what}: its packets are dropped");
            self.warnings.push(fault(draft.header.clone(), message).hint(hint));
        }
        Ok(())
    }
}

/// Ways to choose a backend.
const BALANCE: [Balance; 4] = [
    Balance::Maglev,
    Balance::SourceHash,
    Balance::RoundRobin,
    Balance::LeastConnections,
];

/// Those that this version does not have.
const BALANCE_LATER: &[&str] = &["by-requests", "by-traffic", "by-busyness", "heartbeat", "peak-ewma"];

/// `track`, which contradicts what keeps track in any case.
fn track(value: &Value<'_>, service: &Table<'_>, protocol: Protocol, balance: Balance) -> Checked<bool> {
    let track = value.boolean()?;
    if protocol == Protocol::Tcp {
        let fault = value.fault("`track` is for UDP services");
        let fault = match service.get("protocol") {
            Some(protocol) => fault.other(protocol.span(), "the protocol"),
            None => fault,
        };
        return Err(fault.hint("TCP connections always keep their backend: remove it"));
    }
    let by_turns = matches!(balance, Balance::RoundRobin | Balance::LeastConnections);
    if by_turns && !track {
        let message = format!("{} keeps track of every flow", balance.label());
        let fault = value.fault(message);
        let fault = match service.get("balance") {
            Some(balance) => fault.other(balance.span(), "the balance"),
            None => fault,
        };
        let hint = "it could not tell which backend a flow's next packet goes to: remove `track`, or set balance = \
                    \"maglev\" or \"source-hash\"";
        return Err(fault.hint(hint));
    }
    Ok(track)
}

fn vips(value: &Value<'_>, mode: Mode) -> Checked<Vec<(Span, Vip)>> {
    let mut vips: Vec<(Span, Vip)> = Vec::new();
    for (span, text) in value.string_or_strings()? {
        let vip = address::vip(&span, text)?;
        if let Some((first, other)) = vips.first() {
            agree(&span, &vip, first, other, mode)?;
        }
        vips.push((span, vip));
    }
    if vips.is_empty() {
        let hint = "a service has at least one VIP: address = \"192.0.2.10:80\"";
        return Err(value.fault("no address is given").hint(hint));
    }
    Ok(vips)
}

/// Can the same backends serve another VIP besides the first one?
fn agree(span: &Span, vip: &Vip, first: &Span, other: &Vip, mode: Mode) -> Checked<()> {
    if vip.ports.is_one() != other.ports.is_one() {
        let message = format!(
            "one VIP of this service has a single port and another has many, {} and {}",
            other.ports, vip.ports
        );
        let hint = "what comes to many ports keeps its own, and a backend's port means something else there: make it \
                    two services";
        return Err(fault(span.clone(), message)
            .other(first.clone(), "the other")
            .hint(hint));
    }
    match mode {
        Mode::Dsr | Mode::Tunnel if vip.ports.is_one() && vip.ports != other.ports => {
            let message = format!(
                "the VIPs of this service have different ports, {} and {}",
                other.ports, vip.ports
            );
            let hint = format!(
                "{} does not change ports, so no backend could serve both: make it two services",
                mode.label()
            );
            Err(fault(span.clone(), message)
                .other(first.clone(), "the other port")
                .hint(hint))
        }
        Mode::Nat if other.ip.is_ipv4() != vip.ip.is_ipv4() => {
            let message = format!(
                "the VIPs of this service have different families, {} and {}",
                address::family(other.ip),
                address::family(vip.ip)
            );
            let hint = "nat translates within a family: make it two services, one for each";
            Err(fault(span.clone(), message)
                .other(first.clone(), "the other family")
                .hint(hint))
        }
        Mode::Dsr | Mode::Tunnel | Mode::Nat | Mode::Proxy => Ok(()),
    }
}

fn ring_size(value: &Value<'_>) -> Checked<RingSize> {
    const LEAST: u32 = 1 << RING_MIN_LOG2;
    const MOST: u32 = 1 << RING_MAX_LOG2;
    let slots = value
        .whole(LEAST..=MOST)
        .map_err(|fault| fault.hint("it is a power of two"))?;
    RingSize::new(slots).ok_or_else(|| {
        let above = slots.next_power_of_two();
        let hint = format!("the nearest are {} and {above}", above / 2);
        value
            .fault(format!("`table-size` must be a power of two, {slots} is not"))
            .hint(hint)
    })
}
