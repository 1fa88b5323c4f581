//! `[[service.backend]]`, within one service.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::id::MemberIndex;

use super::address::{self, Role};
use super::fault::{Checked, Fault, Span, fault};
use super::raw::{Table, excerpt};
use super::schema;
use crate::model::{AdminState, Backend, Mode};

/// What a service's backends must agree with.
pub(super) struct Front<'a> {
    pub(super) mode: Mode,
    pub(super) vips: &'a [(Span, SocketAddr)],
}

/// The backends, each with the place of its address. What is probably not meant goes to `warnings`.
#[expect(clippy::vec_box, reason = "faults come boxed, and go boxed into warnings")]
pub(super) fn backends(
    service: &Table<'_>,
    front: &Front<'_>,
    warnings: &mut Vec<Box<Fault>>,
) -> Checked<Vec<(Span, Backend)>> {
    let tables = service.tables("backend", &schema::BACKEND)?;
    let most = usize::from(MemberIndex::MAX.0);
    if let Some(beyond) = tables.get(most) {
        let message = format!("a service has at most {most} backends");
        return Err(fault(beyond.span.clone(), message).hint("split the service"));
    }
    let mut names: HashMap<Arc<str>, Span> = HashMap::new();
    let mut addresses: HashMap<SocketAddr, Span> = HashMap::new();
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
            Some(state) => {
                let chosen = state.choice(&AdminState::ALL.map(|s| (s.label(), s)), &[])?;
                warnings.extend(front.cut(state.span(), chosen));
                chosen
            }
            None => AdminState::Active,
        };
        let backend = Backend {
            name,
            address,
            weight,
            state,
            leaving: false,
        };
        backends.push((span, backend));
    }
    Ok(backends)
}

impl Front<'_> {
    /// A warning where draining does not keep what is asked of it.
    fn cut(&self, span: Span, state: AdminState) -> Option<Box<Fault>> {
        match (self.mode, state) {
            (Mode::Dsr, AdminState::Drain) => {
                let message = "in this version dsr cannot tell old connections from new ones: they are cut";
                let hint = "its clients notice as they would with \"disabled\"; it is still probed";
                Some(fault(span, message).hint(hint))
            }
            (Mode::Nat | Mode::Tunnel, _) | (Mode::Dsr, AdminState::Active | AdminState::Disabled) => None,
        }
    }

    /// In `dsr` only the destination MAC is rewritten: the backend sees the VIP's own port, in the VIP's family. `nat`
    /// rewrites ports too.
    fn check(&self, span: &Span, address: SocketAddr) -> Checked<()> {
        let Some((vip_span, vip)) = self.vips.first() else {
            return Ok(());
        };
        if !self.vips.iter().any(|(_, vip)| vip.is_ipv4() == address.is_ipv4()) {
            let family = |address: &SocketAddr| address::family(address.ip());
            let message = format!("an {} backend behind {} VIPs only", family(&address), family(vip));
            let hint = match self.mode {
                Mode::Dsr => "in dsr a backend has an address of a VIP's family",
                Mode::Nat => "nat translates within a family",
                Mode::Tunnel => "",
            };
            let hint = format!("{hint}: give its {} address", family(vip));
            return Err(fault(span.clone(), message)
                .other(vip_span.clone(), "the VIP")
                .hint(hint));
        }
        if self.mode == Mode::Dsr && vip.port() != address.port() {
            let message = format!(
                "the backend's port {} is not the VIP's port {}",
                address.port(),
                vip.port()
            );
            let hint = format!(
                "dsr does not change ports: write \"{}\"",
                SocketAddr::new(address.ip(), vip.port())
            );
            return Err(fault(span.clone(), message)
                .other(vip_span.clone(), "the VIP")
                .hint(hint));
        }
        Ok(())
    }
}
