//! `[[service]]`, one at a time.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::backend::{self, Front};
use super::fault::{Checked, Span, fault};
use super::health::Asker;
use super::nat::{self, Places};
use super::raw::{Table, Value};
use super::{Reader, Subject, address, balance, proxy, schema, tunnel};
use crate::model::acme::ChallengeKind;
use crate::model::{Balance, Mode, Ports, Protocol, Service, Undeclared, Vip};

/// How long a backend drains where the file does not say.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Limits of `drain-timeout`; for none at all there is a word.
const DRAIN_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// Limits of `idle-timeout`: what the data plane measures in seconds, and what no connection needs.
const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(30 * 24 * 3600);

/// A service or a pool, and the places that other services may contradict.
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
    pub(super) proxy: proxy::Places,
}

impl Reader {
    pub(super) fn service(&mut self, table: &Table<'_>) -> Checked<Draft> {
        let name = table.require("name", "\"web\"")?;
        self.places
            .insert(Subject::Service(name.name()?.to_owned()), table.span.clone());
        let modes = [Mode::Dsr, Mode::Tunnel, Mode::Nat, Mode::Proxy].map(|mode| (mode.label(), mode));
        let mode = table.require("mode", "\"dsr\"")?.choice(&modes)?;
        let vips = vips(&table.require("address", "\"192.0.2.10:80\"")?, mode)?;
        let protocol = protocol(table, mode)?;
        let balance = balance::balance(table, mode)?;
        let table_size = table.get("table-size");
        let undeclared = table.get("undeclared");
        let ring = balance::ring(table_size.as_ref())?;
        let idle_timeout = match table.get("idle-timeout") {
            Some(timeout) => timeout.duration(IDLE_TIMEOUT)?,
            None => protocol.idle_timeout(),
        };
        if let (Mode::Proxy, Some(value)) = (mode, table.get("idle-timeout")) {
            let message = "`idle-timeout` is about packets, and the proxy passes none";
            let hint = "set `timeouts` in [service.http]; this one is kept for the day when the mode is another";
            self.warnings.push(value.fault(message).hint(hint));
        }
        let drain_timeout = drain_timeout(table)?;
        let track = table
            .get("track")
            .map_or(Ok(true), |value| track(&value, table, protocol, balance))?;
        let kept = undeclared.as_ref().map(|value| self.undeclared(value)).transpose()?;
        let (nat, nat_places) = nat::nat(table)?;
        let tunnel = tunnel::tunnel(table)?;
        let protection = self.service_protection(table, mode, protocol)?;
        let steers = self.steers(table, mode, protocol, &vips)?;
        let (proxy, proxy_places) = self.proxy(table, name.name()?, mode, steers)?;
        let asker = Asker {
            mode,
            protocol,
            shape: &schema::HEALTH,
            header: &table.span,
        };
        let health = self.health(table.get("health"), &asker)?;
        let front = Front {
            what: "service",
            shape: &schema::BACKEND,
            mode,
            vips: &vips,
        };
        let backend::Backends { placed, named } = backend::backends(table, &front)?;
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
                proxy,
                protection,
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
            proxy: proxy_places,
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

    /// `steer-challenges`, of which the proxy has no need.
    fn steers(&mut self, service: &Table<'_>, mode: Mode, protocol: Protocol, vips: &[(Span, Vip)]) -> Checked<bool> {
        const PORT: u16 = ChallengeKind::Http01.port();
        let Some(value) = service.get("steer-challenges") else {
            return Ok(false);
        };
        let steers = value.boolean()?;
        if mode == Mode::Proxy {
            let message = "`steer-challenges` is for services whose backends get the packets, and the proxy answers authorities \
                           in any case";
            let hint = "remove it; it is kept for the day when the mode is another";
            self.warnings.push(value.fault(message).hint(hint));
            return Ok(false);
        }
        let has_port = vips.iter().any(|(_, vip)| vip.ports == Ports::One(PORT));
        if steers && (protocol != Protocol::Tcp || !has_port) {
            let message =
                format!("authorities look for http-01 at port {PORT} of TCP, which this service does not have");
            let fault = match vips.first() {
                Some((span, _)) => value.fault(message).other(span.clone(), "the address"),
                None => value.fault(message),
            };
            return Err(fault.hint(format!("remove it, or set it for the service at port {PORT}")));
        }
        Ok(steers)
    }

    fn undeclared(&mut self, value: &Value<'_>) -> Checked<Undeclared> {
        let undeclared = value.choice(&[Undeclared::Drop, Undeclared::Pass].map(|u| (u.label(), u)))?;
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
}

/// How long a backend of `owner` drains; `None`: until its last flow has ended.
pub(super) fn drain_timeout(owner: &Table<'_>) -> Checked<Option<Duration>> {
    match owner.get("drain-timeout") {
        Some(timeout) => timeout.duration_or_never(DRAIN_TIMEOUT),
        None => Ok(Some(DEFAULT_DRAIN_TIMEOUT)),
    }
}

/// HTTP goes over TCP.
fn protocol(service: &Table<'_>, mode: Mode) -> Checked<Protocol> {
    let Some(value) = service.get("protocol") else {
        return Ok(Protocol::Tcp);
    };
    let protocol = value.choice(&[Protocol::Tcp, Protocol::Udp].map(|p| (p.label(), p)))?;
    if (protocol, mode) == (Protocol::Udp, Mode::Proxy) {
        let fault = value.fault("the proxy speaks HTTP over TCP, and this is UDP");
        let fault = match service.get("mode") {
            Some(mode) => fault.other(mode.span(), "the mode"),
            None => fault,
        };
        return Err(fault.hint("remove `protocol`, or choose another mode"));
    }
    Ok(protocol)
}

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
        if mode == Mode::Proxy && !vip.ports.is_one() {
            let message = format!("the proxy listens on one port of a VIP, and {vip} has many");
            let hint = "name the ports one by one: address = [\"192.0.2.10:80\", \"192.0.2.10:8080\"]";
            return Err(fault(span, message).hint(hint));
        }
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
