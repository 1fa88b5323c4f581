//! `[[service.backend]]`, within one service, and `[[pool.backend]]`, within one pool.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::id::MemberIndex;

use super::address::{self, Site};
use super::fault::{Checked, Fault, Span, fault};
use super::raw::{Table, excerpt};
use super::schema::Shape;
use crate::model::{self, AdminState, Backend, Mode, NamedBackend, Ports, Vip};

/// What a service's backends must agree with.
pub(super) struct Front<'a> {
    /// What it is: a service or a pool.
    pub(super) what: &'static str,
    /// Its tables of backends.
    pub(super) shape: &'static Shape,
    pub(super) mode: Mode,
    pub(super) vips: &'a [(Span, Vip)],
}

/// What a service's backends are.
#[derive(Debug, Default)]
pub(super) struct Backends {
    /// Those with an address, each with the place of it.
    pub(super) placed: Vec<(Span, Backend)>,
    /// Those that are named by a host.
    pub(super) named: Vec<NamedBackend>,
}

pub(super) fn backends(service: &Table<'_>, front: &Front<'_>) -> Checked<Backends> {
    let tables = service.tables("backend", front.shape)?;
    let most = usize::from(MemberIndex::MAX.0);
    if let Some(beyond) = tables.get(most) {
        let message = format!("a {} has at most {most} backends", front.what);
        return Err(fault(beyond.span.clone(), message).hint(format!("split the {}", front.what)));
    }
    let mut names: HashMap<Arc<str>, Span> = HashMap::new();
    let mut seen = Seen::default();
    let mut backends = Backends::default();
    for (place, table) in tables.iter().enumerate() {
        let value = table.require("address", "\"10.0.0.6:80\"")?;
        let span = value.span();
        let text = value.string()?;
        let site = address::backend(&span, text)?;
        match &site {
            Site::Address(address) => {
                front.check(&span, *address)?;
                seen.address(front, &span, *address)?;
            }
            Site::Host(_, port) => {
                front.check_ports(&span, text, *port)?;
                seen.host(front, &span, text)?;
            }
        }
        let (name_span, name): (Span, Arc<str>) = match (table.get("name"), &site) {
            (Some(name), _) => (name.span(), name.name()?.into()),
            (None, Site::Address(address)) => (span.clone(), address.to_string().into()),
            (None, Site::Host(..)) => (span.clone(), text.into()),
        };
        if let Some(first) = names.insert(Arc::clone(&name), name_span.clone()) {
            let fault = fault(
                name_span,
                format!("two backends of this {} are called \"{}\"", front.what, excerpt(&name)),
            );
            return Err(fault
                .other(first, "first here")
                .hint("commands name a backend as SERVICE/BACKEND"));
        }
        let weight = match table.get("weight") {
            Some(weight) => weight.whole(0..=u32::from(u16::MAX))? as u16,
            None => 1,
        };
        let state = match table.get("state") {
            Some(state) => state.choice(&AdminState::ALL.map(|s| (s.label(), s)))?,
            None => AdminState::Active,
        };
        let role = match table.get("role") {
            Some(role) => role.choice(&model::Role::ALL.map(|r| (r.label(), r)))?,
            None => model::Role::Primary,
        };
        match site {
            Site::Address(address) => {
                let backend = Backend {
                    name,
                    address,
                    host: None,
                    weight,
                    state,
                    role,
                    leaving: false,
                };
                backends.placed.push((span, backend));
            }
            Site::Host(host, port) => backends.named.push(NamedBackend {
                place,
                name,
                host,
                port,
                weight,
                state,
                role,
                reason: "not looked up yet".to_owned(),
            }),
        }
    }
    Ok(backends)
}

/// What the backends so far have, and where it stands.
#[derive(Default)]
struct Seen {
    addresses: HashMap<SocketAddr, Span>,
    ips: HashMap<IpAddr, Span>,
    hosts: HashMap<String, Span>,
}

impl Seen {
    fn address(&mut self, front: &Front<'_>, span: &Span, address: SocketAddr) -> Checked<()> {
        if let Some(first) = self.addresses.insert(address, span.clone()) {
            return Err(twice(front, span, &address.to_string(), first));
        }
        if !front.has_one_port()
            && let Some(first) = self.ips.insert(address.ip(), span.clone())
        {
            let fault = fault(
                span.clone(),
                format!("two backends of this service are on {}", address.ip()),
            );
            return Err(fault
                .other(first, "first here")
                .hint("packets keep their ports, so it is one server: its port is only where it is probed"));
        }
        Ok(())
    }

    fn host(&mut self, front: &Front<'_>, span: &Span, text: &str) -> Checked<()> {
        match self.hosts.insert(text.to_ascii_lowercase(), span.clone()) {
            Some(first) => Err(twice(front, span, text, first)),
            None => Ok(()),
        }
    }
}

fn twice(front: &Front<'_>, span: &Span, text: &str, first: Span) -> Box<Fault> {
    fault(
        span.clone(),
        format!("backend {text} stands twice in this {}", front.what),
    )
    .other(first, "first here")
    .hint("to give it a larger share, raise its weight")
}

impl Front<'_> {
    fn check(&self, span: &Span, address: SocketAddr) -> Checked<()> {
        let Some((vip_span, vip)) = self.vips.first() else {
            return Ok(());
        };
        self.check_family(span, address, vip_span, vip)?;
        self.check_ports(span, &address.to_string(), address.port())
    }

    /// Is this port, of a backend that is written like this, one where the service can be?
    fn check_ports(&self, span: &Span, text: &str, own: u16) -> Checked<()> {
        let Some((vip_span, vip)) = self.vips.first() else {
            return Ok(());
        };
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        match vip.ports {
            Ports::One(port) => self.check_port(span, host, own, vip_span, port),
            Ports::Range(_) | Ports::All => self.check_among(span, host, own, vip_span, vip),
        }
    }

    /// The packets of `dsr` go as they are, those of `nat` within their family; `tunnel` puts either into either.
    fn check_family(&self, span: &Span, address: SocketAddr, vip_span: &Span, vip: &Vip) -> Checked<()> {
        let hint = match self.mode {
            Mode::Dsr => "in dsr a backend has an address of a VIP's family",
            Mode::Nat => "nat translates within a family",
            Mode::Tunnel | Mode::Proxy => return Ok(()),
        };
        if self.vips.iter().any(|(_, vip)| vip.ip.is_ipv4() == address.is_ipv4()) {
            return Ok(());
        }
        let (own, wanted) = (address::family(address.ip()), address::family(vip.ip));
        Err(
            fault(span.clone(), format!("an {own} backend behind {wanted} VIPs only"))
                .other(vip_span.clone(), "the VIP")
                .hint(format!("{hint}: give its {wanted} address")),
        )
    }

    /// In `dsr` and `tunnel` the backend sees the VIP's own port. `nat` rewrites ports too, and `proxy` makes connections of
    /// its own.
    fn check_port(&self, span: &Span, host: &str, own: u16, vip_span: &Span, port: u16) -> Checked<()> {
        if matches!(self.mode, Mode::Nat | Mode::Proxy) || port == own {
            return Ok(());
        }
        let message = format!("the backend's port {own} is not the VIP's port {port}");
        let hint = format!("{} does not change ports: write \"{host}:{port}\"", self.mode.label());
        Err(fault(span.clone(), message)
            .other(vip_span.clone(), "the VIP")
            .hint(hint))
    }

    /// Where a service has many ports, the backend sees the one that the client has asked for, in every mode.
    fn check_among(&self, span: &Span, host: &str, own: u16, vip_span: &Span, vip: &Vip) -> Checked<()> {
        if self.vips.iter().any(|(_, vip)| vip.ports.contains(own)) {
            return Ok(());
        }
        let message = format!("the backend's port {own} is none of the service's ports");
        let right = vip.ports.first();
        let hint =
            format!("packets keep their ports, and a backend is probed at one of them: write \"{host}:{right}\"");
        Err(fault(span.clone(), message)
            .other(vip_span.clone(), "the ports")
            .hint(hint))
    }

    /// Does the service have one port, so that backends may be told apart by theirs?
    fn has_one_port(&self) -> bool {
        self.vips.iter().all(|(_, vip)| vip.ports.is_one())
    }
}
