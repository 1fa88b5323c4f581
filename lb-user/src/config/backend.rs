//! `[[service.backend]]`, within one service.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::id::MemberIndex;

use super::address::{self, Role};
use super::fault::{Checked, Span, fault};
use super::raw::{Table, excerpt};
use super::schema;
use crate::model::{self, AdminState, Backend, Mode, Ports, Vip};

/// What a service's backends must agree with.
pub(super) struct Front<'a> {
    pub(super) mode: Mode,
    pub(super) vips: &'a [(Span, Vip)],
}

/// The backends, each with the place of its address.
pub(super) fn backends(service: &Table<'_>, front: &Front<'_>) -> Checked<Vec<(Span, Backend)>> {
    let tables = service.tables("backend", &schema::BACKEND)?;
    let most = usize::from(MemberIndex::MAX.0);
    if let Some(beyond) = tables.get(most) {
        let message = format!("a service has at most {most} backends");
        return Err(fault(beyond.span.clone(), message).hint("split the service"));
    }
    let mut names: HashMap<Arc<str>, Span> = HashMap::new();
    let mut addresses: HashMap<SocketAddr, Span> = HashMap::new();
    let mut hosts: HashMap<IpAddr, Span> = HashMap::new();
    let mut backends = Vec::with_capacity(tables.len());
    for table in &tables {
        let value = table.require("address", "\"10.0.0.6:80\"")?;
        let span = value.span();
        let address = address::parse(&span, value.string()?, Role::Backend)?;
        front.check(&span, address)?;
        if let Some(first) = addresses.insert(address, span.clone()) {
            let fault = fault(span, format!("backend {address} stands twice in this service"));
            return Err(fault
                .other(first, "first here")
                .hint("to give it a larger share, raise its weight"));
        }
        if !front.has_one_port()
            && let Some(first) = hosts.insert(address.ip(), span.clone())
        {
            let fault = fault(span, format!("two backends of this service are on {}", address.ip()));
            return Err(fault
                .other(first, "first here")
                .hint("packets keep their ports, so it is one server: its port is only where it is probed"));
        }
        let (name_span, name): (Span, Arc<str>) = match table.get("name") {
            Some(name) => (name.span(), name.name()?.into()),
            None => (span.clone(), address.to_string().into()),
        };
        if let Some(first) = names.insert(Arc::clone(&name), name_span.clone()) {
            let fault = fault(
                name_span,
                format!("two backends of this service are called \"{}\"", excerpt(&name)),
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
            Some(state) => state.choice(&AdminState::ALL.map(|s| (s.label(), s)), &[])?,
            None => AdminState::Active,
        };
        let role = match table.get("role") {
            Some(role) => role.choice(&model::Role::ALL.map(|r| (r.label(), r)), &[])?,
            None => model::Role::Primary,
        };
        let backend = Backend {
            name,
            address,
            weight,
            state,
            role,
            leaving: false,
        };
        backends.push((span, backend));
    }
    Ok(backends)
}

impl Front<'_> {
    fn check(&self, span: &Span, address: SocketAddr) -> Checked<()> {
        let Some((vip_span, vip)) = self.vips.first() else {
            return Ok(());
        };
        self.check_family(span, address, vip_span, vip)?;
        match vip.ports {
            Ports::One(port) => self.check_port(span, address, vip_span, port),
            Ports::Range(_) | Ports::All => self.check_among(span, address, vip_span, vip),
        }
    }

    /// The packets of `dsr` go as they are, those of `nat` within their family; `tunnel` puts either into either.
    fn check_family(&self, span: &Span, address: SocketAddr, vip_span: &Span, vip: &Vip) -> Checked<()> {
        let hint = match self.mode {
            Mode::Dsr => "in dsr a backend has an address of a VIP's family",
            Mode::Nat => "nat translates within a family",
            Mode::Tunnel => return Ok(()),
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

    /// In `dsr` and `tunnel` the backend sees the VIP's own port. `nat` rewrites ports too.
    fn check_port(&self, span: &Span, address: SocketAddr, vip_span: &Span, port: u16) -> Checked<()> {
        if self.mode == Mode::Nat || port == address.port() {
            return Ok(());
        }
        let message = format!("the backend's port {} is not the VIP's port {port}", address.port());
        let right = SocketAddr::new(address.ip(), port);
        let hint = format!("{} does not change ports: write \"{right}\"", self.mode.label());
        Err(fault(span.clone(), message)
            .other(vip_span.clone(), "the VIP")
            .hint(hint))
    }

    /// Where a service has many ports, the backend sees the one that the client has asked for, in every mode.
    fn check_among(&self, span: &Span, address: SocketAddr, vip_span: &Span, vip: &Vip) -> Checked<()> {
        if self.vips.iter().any(|(_, vip)| vip.ports.contains(address.port())) {
            return Ok(());
        }
        let message = format!("the backend's port {} is none of the service's ports", address.port());
        let right = SocketAddr::new(address.ip(), vip.ports.first());
        let hint = format!("packets keep their ports, and a backend is probed at one of them: write \"{right}\"");
        Err(fault(span.clone(), message)
            .other(vip_span.clone(), "the ports")
            .hint(hint))
    }

    /// Does the service have one port, so that backends may be told apart by theirs?
    fn has_one_port(&self) -> bool {
        self.vips.iter().all(|(_, vip)| vip.ports.is_one())
    }
}
