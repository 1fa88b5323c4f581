//! What the program would do with a packet: its own code, asked over its own maps.

use std::net::IpAddr;
use std::sync::Arc;

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::flow::{FlowV4, FlowV6, Ports};
use lb_common::hash::Seed;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::nat::{NatKey, Translation};
use lb_common::protect;
use lb_common::ring;
use lb_common::select::{self, Chosen, Tables};
use lb_common::service::{self, Decision, protocol};
use lb_common::slot::{self, Entry, Packet};
use lb_common::stats::DropReason;

use crate::model::Mode;
use crate::model::status::{Explanation, FlowQuery, KnownFlow, Otherwise};
use crate::plan::Table;
use crate::plan::entries::Flow;

/// A member's service, the backend's name and mode, by id.
pub(super) type Names<'a> = dyn Fn(MemberId) -> Option<(Arc<str>, Arc<str>, Mode)> + 'a;

/// What is known of flows.
pub(super) struct Known<'a> {
    /// The translation of one.
    pub(super) translation: &'a dyn Fn(&NatKey) -> Option<Translation>,
    /// The entry of one.
    pub(super) entry: &'a dyn Fn(Table, &NatKey) -> Option<Entry>,
}

/// The place whose policy judges the flow's packets ([`lb_common::protect::place`]); `None`: nobody's does.
pub(super) fn judged_at(tables: &dyn Tables, query: &FlowQuery) -> Option<u32> {
    let decision = flow(query).service(tables);
    if decision.is_service() {
        return Some(protect::place(decision));
    }
    let address = address(tables, query.destination.ip());
    (address.is_vip() && address.has(Decision::DROP_UNDECLARED)).then_some(protect::ADDRESSES)
}

/// See the module. `name` is what to call the service that the flow belongs to. `None`: the proxy chooses for each request.
pub(super) fn explain(
    tables: &dyn Tables,
    seed: Seed,
    query: &FlowQuery,
    name: Option<Arc<str>>,
    names: &Names<'_>,
    known: &Known<'_>,
) -> Option<Explanation> {
    let protocol = query.protocol.number();
    let flow = flow(query);
    let decision = flow.service(tables);
    if decision.is_proxy() {
        return None;
    }
    if !decision.is_balanced() {
        return Some(undeclared(tables, query.destination.ip()));
    }
    let hash = flow.hash(decision.choice(), seed);
    let slots = 1u32 << (decision.ring_log2() & 31);
    let index = ring::index(decision.ring_log2(), hash);
    let service = name.unwrap_or_else(|| query.destination.to_string().into());
    let dropped = |reason| {
        Some(Explanation::Dropped {
            service: Arc::clone(&service),
            reason,
            slot: index,
        })
    };
    let slot = match select::slot(tables, decision, hash) {
        Ok(slot) => slot,
        Err(reason) => return dropped(reason),
    };
    if decision.mode() == Some(service::Mode::Nat)
        && let Some((translation, id)) =
            (known.translation)(&flow.key()).and_then(|t| Some((t, select::backend_of(tables, &t, protocol)?.0)))
        && let Some((service, backend, mode)) = names(id)
    {
        return Some(Explanation::Forwarded {
            service,
            backend,
            address: (translation.destination.to_ip(), translation.ports.destination.host()).into(),
            mode,
            hash,
            slot: index,
            slots,
            state: slot.state().into(),
            tracked: false,
            known: Some(KnownFlow {
                source: (translation.source.to_ip(), translation.ports.source.host()).into(),
                phase: translation.stamp.phase(),
            }),
        });
    }
    let entry = Table::of(decision).and_then(|table| (known.entry)(table, &flow.key()));
    let is_alive = |member: MemberIndex| select::is_alive(tables, decision, member);
    let (serves, tracked) = match (
        decision.choice().is_hash(),
        entry.filter(|entry| is_alive(entry.member())),
    ) {
        (true, _) if slot.is_stable() => (slot.current(), false),
        (true, entry) => {
            let serves = slot::decide(slot, entry, packet(protocol, entry), &is_alive).serve;
            (serves, entry.is_some_and(|entry| entry.member() == serves))
        }
        (false, Some(entry)) => (entry.member(), true),
        (false, None) => {
            let current = select::member(tables, decision, slot.current()).ok();
            if current.as_ref().is_some_and(|chosen| chosen.member.is_node()) {
                return None;
            }
            // In `nat` the kernel gets what belongs to no flow; a datagram always may open one.
            let by_hash = protocol == protocol::TCP && decision.mode() != Some(service::Mode::Nat);
            let member = current.filter(|_| by_hash);
            let named = member.and_then(|chosen| Some((names(chosen.id)?, chosen)));
            return Some(Explanation::Undecided {
                service,
                by: decision.choice(),
                otherwise: named.map(|((_, backend, _), chosen)| Otherwise {
                    backend,
                    address: (chosen.member.address.to_ip(), chosen.member.port.host()).into(),
                }),
            });
        }
    };
    let Chosen { id, member, .. } = match select::member(tables, decision, serves) {
        Ok(chosen) => chosen,
        Err(reason) => return dropped(reason),
    };
    if member.is_node() {
        return None;
    }
    let Some((service, backend, mode)) = names(id) else {
        return dropped(DropReason::Inconsistent);
    };
    Some(Explanation::Forwarded {
        service,
        backend,
        address: (member.address.to_ip(), member.port.host()).into(),
        mode,
        hash,
        slot: index,
        slots,
        state: slot.state().into(),
        tracked,
        known: None,
    })
}

/// Nobody declares the port.
fn undeclared(tables: &dyn Tables, address: IpAddr) -> Explanation {
    let vip = self::address(tables, address);
    if !vip.is_vip() {
        return Explanation::NotAVip { address };
    }
    Explanation::Undeclared {
        dropped: vip.has(Decision::DROP_UNDECLARED),
    }
}

/// What is known of an address, whatever services are there.
fn address(tables: &dyn Tables, address: IpAddr) -> Decision {
    match address {
        IpAddr::V4(vip) => select::find_v4(tables, vip.into(), PortBe(0), protocol::ANY),
        IpAddr::V6(vip) => select::find_v6(tables, vip.into(), PortBe(0), protocol::ANY),
    }
}

/// A packet in the middle of the flow: of one that has begun with the SYN of its entry, the next.
fn packet(protocol: u8, entry: Option<Entry>) -> Packet {
    if protocol == protocol::TCP {
        Packet::Segment(entry.map_or(0, |entry| entry.sequence.wrapping_add(1)))
    } else {
        Packet::Datagram
    }
}

/// The flow that is asked about, as the program sees it.
fn flow(query: &FlowQuery) -> Flow {
    let protocol = query.protocol.number();
    let ports = Ports {
        source: PortBe::new(query.source.port()),
        destination: PortBe::new(query.destination.port()),
    };
    match (query.source.ip(), query.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Flow::V4(FlowV4 {
            source: source.into(),
            destination: destination.into(),
            ports,
            protocol,
        }),
        (source, destination) => Flow::V6(FlowV6 {
            source: Ipv6Be::mapped(source),
            destination: Ipv6Be::mapped(destination),
            ports,
            protocol,
        }),
    }
}
