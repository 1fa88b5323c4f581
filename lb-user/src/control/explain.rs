//! What the program would do with a packet: its own code, asked over its own maps.

use std::net::IpAddr;
use std::sync::Arc;

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::flow::{FlowV4, FlowV6, Ports};
use lb_common::hash::Seed;
use lb_common::id::MemberId;
use lb_common::nat::{NatKey, Translation};
use lb_common::ring;
use lb_common::select::{self, Chosen, Tables};
use lb_common::service::{self, Decision, protocol};
use lb_common::stats::DropReason;

use crate::model::Mode;
use crate::model::status::{Explanation, FlowQuery, KnownFlow};

/// A member's service, the backend's name and mode, by id.
pub(super) type Names<'a> = dyn Fn(MemberId) -> Option<(Arc<str>, Arc<str>, Mode)> + 'a;

/// See the module. `name` is what to call the service that the flow belongs to, `known` finds the translation of a
/// flow.
pub(super) fn explain(
    tables: &dyn Tables,
    seed: Seed,
    flow: &FlowQuery,
    name: Option<Arc<str>>,
    names: &Names<'_>,
    known: &dyn Fn(&NatKey) -> Option<Translation>,
) -> Explanation {
    let protocol = flow.protocol.number();
    let tuple = Tuple::of(flow);
    let find = |port, protocol| match flow.destination.ip() {
        IpAddr::V4(vip) => select::find_v4(tables, vip.into(), port, protocol),
        IpAddr::V6(vip) => select::find_v6(tables, vip.into(), port, protocol),
    };
    let decision = find(PortBe::new(flow.destination.port()), protocol);
    if !decision.is_service() {
        let vip = find(PortBe(0), protocol::ANY);
        if !vip.is_vip() {
            return Explanation::NotAVip {
                address: flow.destination.ip(),
            };
        }
        return Explanation::Undeclared {
            dropped: vip.has(Decision::DROP_UNDECLARED),
        };
    }
    let hash = tuple.hash(seed);
    let slots = 1u32 << (decision.ring_log2() & 31);
    let index = ring::index(decision.ring_log2(), hash);
    let chosen = select::slot(tables, decision, hash).and_then(|slot| select::member(tables, decision, slot.current()));
    let service = name.unwrap_or_else(|| flow.destination.to_string().into());
    if decision.mode() == Some(service::Mode::Nat)
        && let Some((translation, id)) =
            known(&tuple.key()).and_then(|t| Some((t, select::backend_of(tables, &t, protocol)?.0)))
        && let Some((service, backend, mode)) = names(id)
    {
        return Explanation::Forwarded {
            service,
            backend,
            address: (translation.destination.to_ip(), translation.ports.destination.host()).into(),
            mode,
            hash,
            slot: index,
            slots,
            known: Some(KnownFlow {
                source: (translation.source.to_ip(), translation.ports.source.host()).into(),
                phase: translation.stamp.phase(),
            }),
        };
    }
    let dropped = |reason| Explanation::Dropped {
        service: Arc::clone(&service),
        reason,
        slot: index,
    };
    let Chosen { id, member, .. } = match chosen {
        Ok(chosen) => chosen,
        Err(reason) => return dropped(reason),
    };
    let Some((service, backend, mode)) = names(id) else {
        return dropped(DropReason::Inconsistent);
    };
    Explanation::Forwarded {
        service,
        backend,
        address: (member.address.to_ip(), member.port.host()).into(),
        mode,
        hash,
        slot: index,
        slots,
        known: None,
    }
}

/// The flow that is asked about, as the program sees it.
enum Tuple {
    V4(FlowV4),
    V6(FlowV6),
}

impl Tuple {
    fn of(flow: &FlowQuery) -> Self {
        let protocol = flow.protocol.number();
        let ports = Ports {
            source: PortBe::new(flow.source.port()),
            destination: PortBe::new(flow.destination.port()),
        };
        match (flow.source.ip(), flow.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::V4(FlowV4 {
                source: source.into(),
                destination: destination.into(),
                ports,
                protocol,
            }),
            (source, destination) => Self::V6(FlowV6 {
                source: Ipv6Be::mapped(source),
                destination: Ipv6Be::mapped(destination),
                ports,
                protocol,
            }),
        }
    }

    fn hash(&self, seed: Seed) -> u64 {
        match self {
            Self::V4(flow) => flow.hash(seed),
            Self::V6(flow) => flow.hash(seed),
        }
    }

    fn key(&self) -> NatKey {
        match *self {
            Self::V4(flow) => flow.into(),
            Self::V6(flow) => flow.into(),
        }
    }
}
