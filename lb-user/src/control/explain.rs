//! What the program would do with a packet: its own code, asked over its own maps.

use std::net::IpAddr;
use std::sync::Arc;

use lb_common::addr::PortBe;
use lb_common::flow::{FlowV4, FlowV6, Ports};
use lb_common::hash::Seed;
use lb_common::id::MemberId;
use lb_common::ring;
use lb_common::select::{self, Chosen, Tables};
use lb_common::service::{Decision, protocol};
use lb_common::stats::DropReason;

use crate::model::Mode;
use crate::model::status::{Explanation, FlowQuery};

/// A member's service, the backend's name and mode, by id.
pub(super) type Names<'a> = dyn Fn(MemberId) -> Option<(Arc<str>, Arc<str>, Mode)> + 'a;

/// See the module. `service` is the name to give the service that the flow belongs to.
pub(super) fn explain(
    tables: &dyn Tables,
    seed: Seed,
    flow: &FlowQuery,
    service: Option<Arc<str>>,
    names: &Names<'_>,
) -> Explanation {
    let protocol = flow.protocol.number();
    let ports = Ports {
        source: PortBe::new(flow.source.port()),
        destination: PortBe::new(flow.destination.port()),
    };
    let find = |port, protocol| match flow.destination.ip() {
        IpAddr::V4(vip) => select::find_v4(tables, vip.into(), port, protocol),
        IpAddr::V6(vip) => select::find_v6(tables, vip.into(), port, protocol),
    };
    let decision = find(ports.destination, protocol);
    if !decision.exists() {
        let vip = find(PortBe(0), protocol::ANY);
        if !vip.exists() {
            return Explanation::NotAVip {
                address: flow.destination.ip(),
            };
        }
        return Explanation::Undeclared {
            dropped: vip.has(Decision::DROP_UNDECLARED),
        };
    }
    let hash = match (flow.source.ip(), flow.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => FlowV4 {
            source: source.into(),
            destination: destination.into(),
            ports,
            protocol,
        }
        .hash(seed),
        (source, destination) => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            FlowV6 {
                source: v6(source).into(),
                destination: v6(destination).into(),
                ports,
                protocol,
            }
            .hash(seed)
        }
    };
    let slots = 1u32 << (decision.ring_log2() & 31);
    let index = ring::index(decision.ring_log2(), hash);
    let chosen = select::slot(tables, decision, hash).and_then(|slot| select::member(tables, decision, slot));
    let service = service.unwrap_or_else(|| flow.destination.to_string().into());
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
    }
}
