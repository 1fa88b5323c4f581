//! The node's state, for those who ask.

use std::collections::HashMap;
use std::time::SystemTime;

use lb_common::id::{MemberId, MemberIndex};
use lb_common::service::Decision;

use super::carried::Carried;
use super::merge::Facts;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::status::{BackendStatus, InterfaceStatus, Reached, Reloads, ServiceStatus, Status, VipStatus};
use crate::model::{AdminState, Backend, Health, NextHopState, ProbeCounts, Service};
use crate::plan::ServiceKey;

/// What the reconciler knows besides.
pub(super) struct Daemon {
    pub(super) reloads: Reloads,
    pub(super) fault: Option<String>,
    pub(super) started: SystemTime,
}

/// The state of every service, from what is known and what is installed.
pub(super) fn status(
    facts: &Facts,
    carried: &Carried,
    dataplane: &impl Dataplane,
    interfaces: &[InterfaceStatus],
    daemon: Daemon,
) -> Result<Status, ApplyError> {
    let services = facts.config.services.iter();
    let services = services.map(|service| service_status(facts, carried, dataplane, service));
    Ok(Status {
        node: facts.config.node.name.clone(),
        interfaces: interfaces.to_vec(),
        services: services.collect::<Result<_, _>>()?,
        drops: dataplane.drops()?,
        reloads: daemon.reloads,
        fault: daemon.fault,
        started: daemon.started,
    })
}

fn service_status(
    facts: &Facts,
    carried: &Carried,
    dataplane: &impl Dataplane,
    service: &Service,
) -> Result<ServiceStatus, ApplyError> {
    let target = &carried.placement.target;
    let decision = target
        .entries
        .get(&ServiceKey::service(service.vips[0], service.protocol));
    let ring = decision.and_then(|decision| Some((decision, target.rings.get(&decision.ring_block())?)));
    let slots = ring.map_or_else(HashMap::new, |(decision, ring)| slots(*decision, &ring.slots));
    let ids = carried.ids(&service.name);
    let backend = |backend: &Backend| -> Result<BackendStatus, ApplyError> {
        let id = ids.and_then(|ids| ids.get(&backend.address)).copied();
        let verdict = facts.verdict(service, backend);
        let reason = match (verdict, backend.state) {
            (Some(verdict), _) => verdict.reason.clone(),
            (None, AdminState::Disabled) => "not probed while disabled".to_owned(),
            (None, AdminState::Active) => "no probe has ended yet".to_owned(),
        };
        Ok(BackendStatus {
            name: backend.name.clone(),
            address: backend.address,
            weight: backend.weight,
            state: backend.state,
            health: verdict.map_or(Health::Unknown, |v| v.health),
            health_reason: reason,
            probes: verdict
                .map(|v| v.probes.counts())
                .filter(|&p| p != ProbeCounts::default()),
            next_hop: match facts.next_hop(service, backend) {
                Some(NextHopState::Resolved(hop)) => Ok(Reached {
                    mac: hop.mac,
                    interface: facts.interfaces.get(&hop.interface).cloned().unwrap_or_default(),
                }),
                Some(NextHopState::Pending(reason) | NextHopState::Unresolved(reason)) => Err(reason),
                None => Err("not looked up yet".to_owned()),
            },
            slots: id.and_then(|id| slots.get(&id)).copied().unwrap_or(0),
            counters: id.map(|id| dataplane.counters(id)).transpose()?.unwrap_or_default(),
        })
    };
    let vip = |&address: &std::net::SocketAddr| VipStatus {
        address,
        exclusive: target
            .entries
            .get(&ServiceKey::address(address.ip()))
            .is_some_and(|d| d.has(Decision::OWNED)),
    };
    Ok(ServiceStatus {
        name: service.name.clone(),
        vips: service.vips.iter().map(vip).collect(),
        protocol: service.protocol,
        mode: service.mode,
        balance: service.balance,
        table_size: service.table_size.slots(),
        backends: service.backends.iter().map(backend).collect::<Result<_, _>>()?,
    })
}

/// How many slots each member has. A node has up to 16 Mi of them, and everybody who asks waits for this: so it counts by
/// index, and looks nothing up.
fn slots(decision: Decision, ring: &[MemberIndex]) -> HashMap<MemberId, u32> {
    let most = ring.iter().map(|index| index.0).max().unwrap_or(0);
    let mut counts = vec![0_u32; usize::from(most) + 1];
    for index in ring {
        counts[usize::from(index.0)] += 1;
    }
    let members = (0..=most).map(|index| decision.member(MemberIndex(index)));
    members.zip(counts).collect()
}
