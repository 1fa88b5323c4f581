//! The node's state, for those who ask.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use lb_common::backend::{MacFlags, Member};
use lb_common::id::MemberId;
use lb_common::protect::{ADDRESSES, PLACES, Refusals, place};
use lb_common::service::Decision;
use lb_common::stats::Counters;
use tokio::time::Instant;

use super::carried::Carried;
use super::drains::Drains;
use super::held;
use super::known::Known;
use super::merge::Facts;
use super::protect::Protection;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::acme::AcmeStatus;
use crate::model::http_status;
use crate::model::peers::PeersStatus;
use crate::model::refused::{ProtectionStatus, Refused, ServiceProtectionStatus};
use crate::model::status::{
    BackendStatus, InterfaceStatus, NatFlows, NatStatus, NatUsage, ProxiedStatus, Reached, Reloads, Repairs,
    ServiceStatus, Status, VipStatus,
};
use crate::model::tally::{ServiceTally, Tally};
use crate::model::traffic::{Traffic, serving};
use crate::model::vrrp::HaStatus;
use crate::model::{
    AdminState, Backend, Enforcement, Health, MemberKey, Mode, NatSource, NextHopState, ProbeCounts, Service, Vip,
};
use crate::plan::{Keys, ServiceKey, Share};

/// What is known, what is installed, and what has been counted.
pub(super) struct View<'a, D> {
    pub(super) facts: &'a Facts,
    pub(super) carried: &'a Carried,
    pub(super) dataplane: &'a D,
    pub(super) usage: &'a NatUsage,
    pub(super) known: &'a Known,
    pub(super) drains: &'a Drains,
    pub(super) protection: &'a Protection,
    pub(super) traffic: &'a Traffic,
    pub(super) now: Instant,
    /// When flows of all kinds were last counted, with the configuration in force in the maps.
    pub(super) counted: Option<Instant>,
}

impl<D: Dataplane> View<'_, D> {
    /// The state of every service.
    pub(super) fn status(&self, said: Said) -> Result<Status, ApplyError> {
        let Self {
            facts,
            dataplane,
            traffic,
            ..
        } = *self;
        let index = self.index()?;
        let services = facts.config.services.iter();
        let services = services.map(|service| self.service(service, &index));
        Ok(Status {
            node: facts.config.node.name.clone(),
            interfaces: said.interfaces,
            services: services.collect::<Result<_, _>>()?,
            drops: dataplane.drops()?,
            protection: self.protection.prefixes().map(|prefixes| ProtectionStatus {
                enforcement: facts
                    .config
                    .protection
                    .as_ref()
                    .map_or_else(Default::default, |all| all.enforcement),
                prefixes,
                addresses: index.refused(ADDRESSES).unwrap_or_default(),
            }),
            flows: self.known.tables(dataplane)?,
            http: http_status::of(traffic, &facts.config),
            reloads: said.reloads,
            fault: said.fault,
            overrides_fault: said.overrides_fault,
            repairs: said.repairs,
            started: said.started,
            settled: said.settled,
            ha: said.ha,
            draining: said.draining,
            peers: said.peers,
            certificates: said.certificates,
        })
    }

    /// What has been counted.
    pub(super) fn tally(&self) -> Result<Tally, ApplyError> {
        let services = self.facts.config.services.iter().filter(|service| !service.is_pool());
        let ids = self.carried.by_name();
        let of = |service: &Service| {
            if service.is_proxied() {
                let counted = self.traffic.service(&service.name);
                let requests = counted.requests.iter().map(|count| count.load(Relaxed)).sum();
                let bytes = counted.received.load(Relaxed) + counted.sent.load(Relaxed);
                return Ok(ServiceTally::Proxied { requests, bytes });
            }
            let mut sum = Counters::default();
            if let Some(ids) = ids.get(&*service.name) {
                let counted = self.counted(ids)?;
                ids.values().for_each(|&id| sum += counted.of(id));
            }
            Ok(ServiceTally::Balanced(sum))
        };
        Ok(Tally {
            services: services
                .map(|service| Ok((Arc::clone(&service.name), of(service)?)))
                .collect::<Result<_, ApplyError>>()?,
            drops: self.dataplane.drops()?,
        })
    }

    fn index(&self) -> Result<Index<'_>, ApplyError> {
        let Self { facts, carried, .. } = *self;
        let refusals = self.protection.prefixes().map(|_| self.dataplane.refusals(0, PLACES));
        Ok(Index {
            refusals: refusals.transpose()?.unwrap_or_default(),
            enforcements: self.protection.enforcements().collect(),
            keys: held::keys(&facts.config),
            ids: carried.by_name(),
            in_file: facts.file.services.iter().map(|s| (&*s.name, s)).collect(),
        })
    }

    /// The state of one backend; `None` when there is none.
    pub(super) fn backend(&self, member: &MemberKey) -> Result<Option<BackendStatus>, ApplyError> {
        let mut services = self.facts.config.services.iter();
        let Some(service) = services.find(|service| service.name == member.service) else {
            return Ok(None);
        };
        let status = self.service(service, &self.index()?)?;
        Ok(status.backends.into_iter().find(|b| b.address == member.backend))
    }

    /// What a service's members have counted. Their ids are next to each other, so one read serves them all.
    fn counted(&self, ids: &BTreeMap<SocketAddr, MemberId>) -> Result<Counted, ApplyError> {
        let (Some(&first), Some(&last)) = (ids.values().min(), ids.values().max()) else {
            return Ok(Counted::default());
        };
        let counters = self.dataplane.counters(first, last.0 - first.0 + 1)?;
        Ok(Counted { first, counters })
    }

    fn service(&self, service: &Service, index: &Index<'_>) -> Result<ServiceStatus, ApplyError> {
        let Self {
            facts,
            carried,
            usage,
            known,
            drains,
            traffic,
            now,
            counted,
            ..
        } = *self;
        let target = &carried.placement.target;
        let mut keys = index.keys.service(&service.vips, service.protocol);
        let entry = keys.find_map(|key| target.entries.get(&key).filter(|d| d.is_service()));
        let decision = entry.filter(|decision| decision.is_balanced());
        let ring = decision.and_then(|decision| Some((decision, target.rings.get(&decision.ring_block())?)));
        let census = ring.map(|(decision, ring)| (*decision, ring.slots.census()));
        let share = |id: MemberId| {
            let (decision, census) = census?;
            let index = id.0.checked_sub(decision.member_base())?;
            census.shares.get(index as usize).copied()
        };
        let ids = index.ids.get(&*service.name).copied();
        let counters = ids.map(|ids| self.counted(ids)).transpose()?.unwrap_or_default();
        // Meanwhile its backends have requests, and no slots.
        let requests = service.is_proxied() || facts.is_steered(service);
        let pool = if requests { facts.pool(service) } else { Vec::new() };
        let serve: HashSet<SocketAddr> = serving(&pool).iter().map(|m| m.address).collect();
        let in_file = index.in_file.get(&*service.name).map_or(&[][..], |s| &s.backends);
        let backend = |(i, backend): (usize, &Backend)| {
            // Overrides leave places and order as they are.
            let file = in_file.get(i).filter(|_| !backend.leaving);
            let id = ids.and_then(|ids| ids.get(&backend.address)).copied();
            let member = MemberKey::of(service, backend);
            let share = id.and_then(share).unwrap_or_default();
            let known_flows = id.map_or(0, |id| known.of(id));
            let translated = id.and_then(|id| usage.flows.get(&id)).map_or(0, NatFlows::open);
            let alive = id.and_then(|id| target.members.get(&id)).is_some_and(is_alive);
            let none = share == Share::default() && known_flows == 0 && translated == 0;
            let proxied = requests.then(|| {
                let serves = serve.contains(&backend.address);
                let counted = traffic.known(&member);
                counted.map_or_else(
                    || ProxiedStatus {
                        serves,
                        ..ProxiedStatus::default()
                    },
                    |counted| ProxiedStatus::of(&counted, serves),
                )
            });
            let drained = match backend.state {
                AdminState::Drain | AdminState::Disabled
                    if let Some(proxied) = proxied.filter(|_| service.is_proxied()) =>
                {
                    proxied.active == 0 && (backend.state == AdminState::Disabled || drains.is_heard(&member, now))
                }
                AdminState::Active => false,
                AdminState::Drain if drains.over().contains(&member) => !alive,
                AdminState::Drain => none && drains.since(&member).is_some_and(|since| counted >= Some(since)),
                AdminState::Disabled => !alive,
            };
            let verdict = facts.verdict(service, backend);
            let weight = facts.weight_by(service, backend, verdict);
            let reason = match (verdict, backend.state) {
                (Some(verdict), _) => Arc::clone(&verdict.reason),
                (None, AdminState::Disabled) => "not probed while disabled".into(),
                (None, AdminState::Active | AdminState::Drain) => "no probe has ended yet".into(),
            };
            BackendStatus {
                name: backend.name.clone(),
                address: backend.address,
                host: backend.host.clone(),
                weight,
                weight_in_file: file.map(|f| f.weight).filter(|&in_file| in_file != weight),
                starting: facts.starting.get(&member).copied(),
                role: backend.role,
                state: backend.state,
                state_in_file: file.map(|f| f.state).filter(|&state| state != backend.state),
                health: verdict.map_or(Health::Unknown, |v| v.health),
                health_reason: reason,
                probes: verdict
                    .map(|v| v.probes.counts())
                    .filter(|&p| p != ProbeCounts::default()),
                next_hop: (!service.is_proxied()).then(|| self.reached(service, backend)),
                slots: share.current,
                moving_slots: share.previous,
                drained,
                counters: id.map(|id| counters.of(id)).unwrap_or_default(),
                leaving: backend.leaving,
                known_flows,
                cut_flows: drains.cut_of(&member),
                nat: id.and_then(|id| nat_status(service, target.members.get(&id)?, usage.flows.get(&id))),
                proxied,
            }
        };
        let vip = |&address: &Vip| VipStatus {
            address,
            exclusive: target
                .entries
                .get(&ServiceKey::address(address.ip))
                .is_some_and(|d| d.has(Decision::OWNED)),
        };
        Ok(ServiceStatus {
            name: service.name.clone(),
            vips: service.vips.iter().map(vip).collect(),
            protocol: service.protocol,
            mode: service.mode,
            balance: service.balance,
            table_size: service.table_size.slots(),
            slots: census.map(|(_, census)| census.states).unwrap_or_default(),
            protection: index.enforcements.get(&*service.name).and_then(|&enforcement| {
                Some(ServiceProtectionStatus {
                    enforcement,
                    refused: index.refused(place(*entry?))?,
                })
            }),
            ready: u32::try_from(facts.ready(service).count()).unwrap_or(u32::MAX),
            quorum: service.health.quorum.get(),
            probe_interval: service.health.kind.probes().then_some(service.health.interval),
            backends: service.backends.iter().enumerate().map(backend).collect(),
            named: service.named.clone(),
        })
    }
}

impl<D> View<'_, D> {
    fn reached(&self, service: &Service, backend: &Backend) -> Result<Reached, String> {
        match self.facts.next_hop(service, backend) {
            Some(NextHopState::Resolved(hop)) => Ok(Reached {
                mac: hop.mac,
                interface: self.facts.interfaces.get(&hop.interface).cloned().unwrap_or_default(),
            }),
            Some(NextHopState::Pending(reason) | NextHopState::Unresolved(reason)) => Err(reason),
            None => Err("not looked up yet".to_owned()),
        }
    }
}

/// What every service is looked up in.
struct Index<'a> {
    keys: Keys,
    /// Of their members.
    ids: HashMap<&'a str, &'a BTreeMap<SocketAddr, MemberId>>,
    /// Services as the file has them.
    in_file: HashMap<&'a str, &'a Service>,
    /// What has been refused, by place; nothing where nothing protects services.
    refusals: Vec<Refusals>,
    /// Of services that something protects.
    enforcements: HashMap<&'a str, Enforcement>,
}

impl Index<'_> {
    fn refused(&self, place: u32) -> Option<Refused> {
        self.refusals.get(place as usize).map(|&counted| counted.into())
    }
}

/// Counters of members whose ids are next to each other.
#[derive(Debug, Default)]
struct Counted {
    first: MemberId,
    counters: Vec<Counters>,
}

impl Counted {
    fn of(&self, id: MemberId) -> Counters {
        let place = id.0.checked_sub(self.first.0);
        let counters = place.and_then(|place| self.counters.get(place as usize));
        counters.copied().unwrap_or_default()
    }
}

/// What the reconciler knows besides.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) interfaces: Vec<InterfaceStatus>,
    pub(super) reloads: Reloads,
    pub(super) fault: Option<String>,
    pub(super) overrides_fault: Option<String>,
    pub(super) repairs: Repairs,
    pub(super) started: SystemTime,
    pub(super) settled: bool,
    pub(super) ha: HaStatus,
    pub(super) draining: bool,
    pub(super) peers: PeersStatus,
    pub(super) certificates: AcmeStatus,
}

/// What a member of a `nat` service uses; `None` in other modes, and before it is known what it may use.
fn nat_status(service: &Service, member: &Member, flows: Option<&NatFlows>) -> Option<NatStatus> {
    (service.mode == Mode::Nat && member.ports > 0).then(|| NatStatus {
        source: (service.nat.source != NatSource::Client).then(|| member.source.to_ip()),
        ports: service.nat.ports,
        flows: flows.copied().unwrap_or_default(),
    })
}

/// Does health let this member serve?
fn is_alive(member: &Member) -> bool {
    member.next_hop.flags() & MacFlags::ALIVE != 0
}
