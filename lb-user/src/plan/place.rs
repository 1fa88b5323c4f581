//! Where everything goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use lb_common::addr::Ipv6Be;
use lb_common::backend::{MacFlags, Member};
use lb_common::id::{MemberId, MemberIndex};
use lb_common::service::{self, Decision, feature};

use super::contents::socket_address;
use super::desired::{Desired, DesiredAddress, DesiredProxy, DesiredService, Forwarding};
use super::entries::Table;
use super::keys::Keys;
use super::memory::Memory;
use super::snapshot::{Ring, ServiceKey, Snapshot};
use super::space::{Full, Space};
use crate::model::{RingSize, Vip};

/// The answer of [`place`].
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// What the maps shall hold.
    pub target: Snapshot,
    /// Ids of the members of each service, by service in the order of [`Desired::services`].
    pub members: Vec<BTreeMap<SocketAddr, MemberId>>,
    /// What each service's entries say, in the same order; `None` for one that found no room.
    pub decisions: Vec<Option<Decision>>,
    /// What the entries of each service of the proxy say, in the order of [`Desired::proxied`].
    pub proxied: Vec<Decision>,
    /// A service is not wholly as desired, for want of room.
    pub full: Option<Full>,
    /// The rest follows by another plan, when this one has been carried out.
    pub unfinished: bool,
}

/// Decides where `desired` goes, with `installed` staying where it is.
///
/// What is free in `installed` only after this change is not used for it, so that one grace period at the end of a
/// change is enough. A service that finds no room keeps its ring's size or its backends, and [`Placement::full`] says so:
/// carried out, the plan may free what the next one needs.
///
/// A ring that moves, because it becomes larger or because its members move, moves as it is, and changes by the plan after
/// ([`Placement::unfinished`]): so while a service's keys are swapped one by one, its old ring and its new one say the same
/// of every flow, and a crash in between leaves nothing that contradicts itself.
pub fn place(installed: &Snapshot, desired: &Desired, memory: &mut Memory) -> Placement {
    let mut space = Space::of(installed);
    let mut placement = Placement::default();
    let all = desired.keys();
    let holders = Holders::of(installed, desired, &all);
    for (number, wanted) in desired.services.iter().enumerate() {
        let known = holders.known(installed, wanted, number);
        let smaller = known.and_then(|known| smaller(installed, known, wanted));
        placement.full = placement.full.or(smaller.as_ref().map(|(full, _)| *full));
        let wanted = smaller.as_ref().map_or(wanted, |(_, wanted)| wanted);
        let placed = space.place(installed, known, wanted, memory).or_else(|full| {
            placement.full = Some(full);
            let known = known.filter(|known| known.own).ok_or(full)?;
            space.place(
                installed,
                Some(known),
                &in_place(installed, known.decision, wanted, full),
                memory,
            )
        });
        let decision = match &placed {
            Ok(placed) => Some(placed.decision),
            Err(_) => keys(wanted, &all).find_map(|key| installed_at(installed, key)),
        };
        placement.decisions.push(decision);
        let members = match placed {
            Ok(placed) => {
                let keys = keys(wanted, &all).map(|key| (key, placed.decision));
                let (block, ring) = placed.ring;
                placement.target.entries.extend(keys);
                placement.target.rings.insert(block, ring);
                placement.target.members.extend(placed.members.values().copied());
                placement.unfinished |= placed.unfinished;
                placed
                    .members
                    .into_iter()
                    .map(|(address, (id, _))| (address, id))
                    .collect()
            }
            Err(_) => keep(installed, wanted, &all, &mut placement.target),
        };
        placement.members.push(members);
    }
    memory.end_round();
    let addresses = desired
        .addresses
        .iter()
        .map(|(&ip, policy)| (ServiceKey::address(ip), address_decision(policy)));
    placement.target.entries.extend(addresses);
    placement.proxied = number(installed, desired, &all);
    for (proxied, &decision) in desired.proxied.iter().zip(&placement.proxied) {
        let keys = all.service(&proxied.vips, proxied.protocol);
        placement.target.entries.extend(keys.map(|key| (key, decision)));
    }
    let balanced = desired.services.iter().flat_map(|service| &service.vips);
    for vip in balanced.chain(desired.proxied.iter().flat_map(|proxied| &proxied.vips)) {
        announce(vip, &mut placement.target);
    }
    for (wanted, ids) in desired.services.iter().zip(&placement.members) {
        translate(wanted, ids, &all, &mut placement.target);
    }
    for &source in &desired.sources {
        add_source(source, &mut placement.target);
    }
    if desired.news {
        placement.target.features |= feature::NEWS;
    }
    if desired.clients {
        placement.target.features |= feature::CLIENT_SOURCE;
    }
    placement
}

/// Numbers for the services of the proxy. Each keeps the one that it has; a new one gets the lowest that nobody has, or has had
/// until now.
fn number(installed: &Snapshot, desired: &Desired, all: &Keys) -> Vec<Decision> {
    let mut taken: BTreeSet<Decision> = BTreeSet::new();
    let mut keep = |proxied: &DesiredProxy| {
        let keys = all.service(&proxied.vips, proxied.protocol);
        let mut known = keys.filter_map(|key| installed.entries.get(&key).copied().filter(|d| d.is_proxy()));
        known.find(|&decision| taken.insert(decision))
    };
    let kept: Vec<Option<Decision>> = desired.proxied.iter().map(&mut keep).collect();
    taken.extend(installed.entries.values().filter(|decision| decision.is_proxy()));
    let mut free = (0..).map(Decision::proxy).filter(|decision| !taken.contains(decision));
    let each = kept.into_iter().map(|kept| kept.or_else(|| free.next()));
    each.map(|decision| decision.unwrap_or(Decision::proxy(0))).collect()
}

/// The VIP says which blocks its ranges are made of: the program looks no others up.
fn announce(vip: &Vip, target: &mut Snapshot) {
    if let Some(decision) = target.entries.get_mut(&ServiceKey::address(vip.ip)) {
        let ranges = vip.ports.blocks().filter(|block| block.free() > 0);
        *decision = ranges.fold(*decision, |decision, block| decision.with_blocks(block.free()));
    }
}

/// Answers to flows of `nat` come to this address.
fn add_source(source: IpAddr, target: &mut Snapshot) {
    let decision = target.entries.entry(ServiceKey::address(source)).or_default();
    *decision = decision.with_source();
}

/// What `nat` needs besides its service: the addresses where replies come in, and the members by backend.
fn translate(wanted: &DesiredService, ids: &BTreeMap<SocketAddr, MemberId>, all: &Keys, target: &mut Snapshot) {
    let installs = |key: &ServiceKey| {
        target
            .entries
            .get(key)
            .is_some_and(|d| d.mode() == Some(service::Mode::Nat))
    };
    if !keys(wanted, all).any(|key| installs(&key)) {
        return;
    }
    let is_backend = |id: &MemberId| target.members.get(id).is_some_and(|member| !member.is_node());
    let backends: Vec<_> = ids.iter().filter(|(_, id)| is_backend(id)).collect();
    for (&address, &id) in backends {
        // Of services that share a backend, the first that it is alive for speaks for all: the way there is the same.
        let alive = |id| {
            let member: Option<&Member> = target.members.get(&id);
            member.is_some_and(|member| member.next_hop.flags() & MacFlags::ALIVE != 0)
        };
        // Where packets keep their port, its flows have any.
        let port = if wanted.keeps_ports() { 0 } else { address.port() };
        let key = ServiceKey::service((address.ip(), port).into(), wanted.protocol);
        let decision = target.entries.entry(key).or_insert(Decision::backend(id));
        if decision.mode() == Some(service::Mode::Backend) && !alive(MemberId(decision.member_base())) && alive(id) {
            *decision = Decision::backend(id);
        }
        let Some(member) = target.members.get(&id).filter(|member| member.ports > 0) else {
            continue;
        };
        if member.source == Ipv6Be::default() {
            target.features |= feature::CLIENT_SOURCE;
            continue;
        }
        add_source(member.source.to_ip(), target);
    }
}

/// The keys of a service.
fn keys(service: &DesiredService, all: &Keys) -> impl Iterator<Item = ServiceKey> {
    all.service(&service.vips, service.protocol)
}

/// The service with a ring that is installed at a key, which may be a backend's or the proxy's instead.
fn installed_at(installed: &Snapshot, key: ServiceKey) -> Option<Decision> {
    installed.entries.get(&key).copied().filter(|d| d.is_balanced())
}

/// As much of a service as its installed region holds, where there is no room for another: the ring as large as it is,
/// or no backends besides those that are there. What is known of health, weights and next hops holds all the same.
fn in_place(installed: &Snapshot, decision: Decision, wanted: &DesiredService, full: Full) -> DesiredService {
    let mut less = wanted.clone();
    match full {
        Full::Ring { .. } | Full::Smaller { .. } => {
            less.table_size = RingSize::new(1 << decision.ring_log2()).unwrap_or(less.table_size);
        }
        Full::Members { .. } => {
            let there = installed.members_of(decision.member_base());
            less.members
                .retain(|member| there.values().any(|m| socket_address(m) == member.address));
        }
    }
    less
}

/// The service with the ring that it has, where it should become smaller and remembers its flows.
fn smaller(installed: &Snapshot, known: Known, wanted: &DesiredService) -> Option<(Full, DesiredService)> {
    let log2 = known.decision.ring_log2();
    let remembered = remembered(installed, known, wanted).is_some();
    if !remembered || log2 <= wanted.table_size.log2() {
        return None;
    }
    let full = Full::Smaller {
        vip: *wanted.vips.first()?,
        installed: 1 << log2,
    };
    Some((
        full,
        in_place(installed, known.decision, wanted, Full::Ring { slots: 0 }),
    ))
}

/// The installed ring, where its flows are to stay: as long as the same hash chooses the slot.
pub(super) fn remembered<'a>(installed: &'a Snapshot, known: Known, wanted: &DesiredService) -> Option<&'a Ring> {
    let stays = wanted.remembers()
        && Table::of(known.decision) == Some(Table::Flows)
        && known.decision.choice() == wanted.choice;
    installed.rings.get(&known.decision.ring_block()).filter(|_| stays)
}

/// Leaves what is installed of a service where it is.
fn keep(
    installed: &Snapshot,
    wanted: &DesiredService,
    all: &Keys,
    target: &mut Snapshot,
) -> BTreeMap<SocketAddr, MemberId> {
    let mut ids = BTreeMap::new();
    for key in keys(wanted, all) {
        let Some(decision) = installed_at(installed, key) else {
            continue;
        };
        let (block, base) = (decision.ring_block(), decision.member_base());
        target.entries.insert(key, decision);
        target
            .rings
            .extend(installed.rings.get(&block).map(|ring| (block, ring.clone())));
        for (index, member) in installed.members_of(base) {
            let id = decision.member(MemberIndex(index));
            target.members.insert(id, member);
            ids.insert(socket_address(&member), id);
        }
    }
    ids
}

/// What is installed of a service.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) decision: Decision,
    /// Its region is this service's alone, which may change it in place.
    pub(super) own: bool,
}

/// Which services will hold the keys that lead to each installed region, those of the proxy behind the others.
struct Holders<'a> {
    all: &'a Keys,
    /// By member base; keys that go lead nowhere.
    services: BTreeMap<u32, BTreeSet<usize>>,
}

impl<'a> Holders<'a> {
    fn of(installed: &Snapshot, desired: &Desired, all: &'a Keys) -> Self {
        let mut services: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        let balanced = desired.services.iter().map(|s| (&s.vips, s.protocol));
        let proxied = desired.proxied.iter().map(|p| (&p.vips, p.protocol));
        for (number, (vips, protocol)) in balanced.chain(proxied).enumerate() {
            let keys = all.service(vips, protocol);
            for decision in keys.filter_map(|key| installed_at(installed, key)) {
                services.entry(decision.member_base()).or_default().insert(number);
            }
        }
        Self { all, services }
    }

    /// What is installed of service `number`: a region that it holds alone, if there is one.
    ///
    /// A region whose keys part, since a VIP moves from one service to another, is nobody's to change: packets of the
    /// other's VIPs still meet it until their entries are swapped.
    fn known(&self, installed: &Snapshot, wanted: &DesiredService, number: usize) -> Option<Known> {
        let known = |decision: Decision| {
            let holders = &self.services[&decision.member_base()];
            Known {
                decision,
                own: holders.len() == 1 && holders.contains(&number) && in_place_of(decision, wanted.mode),
            }
        };
        let mut all = keys(wanted, self.all)
            .filter_map(|key| installed_at(installed, key))
            .map(known);
        let first = all.next()?;
        Some(
            std::iter::once(first)
                .chain(all)
                .find(|known| known.own)
                .unwrap_or(first),
        )
    }
}

/// May the members of an installed service become those of `mode` where they are? `nat` and `tunnel` read the same fields
/// in different ways.
fn in_place_of(installed: Decision, mode: Forwarding) -> bool {
    match (installed.mode(), mode) {
        (Some(service::Mode::Tunnel), Forwarding::Tunnel) => true,
        (Some(service::Mode::Tunnel), Forwarding::Dsr | Forwarding::Nat)
        | (Some(service::Mode::Nat), Forwarding::Tunnel) => false,
        (_, Forwarding::Dsr | Forwarding::Nat | Forwarding::Tunnel) => true,
    }
}

fn address_decision(policy: &DesiredAddress) -> Decision {
    let flag = |set, flag| if set { flag } else { 0 };
    Decision::address(
        flag(policy.owned, Decision::OWNED)
            | flag(policy.echo, Decision::ECHO)
            | flag(policy.drop_undeclared, Decision::DROP_UNDECLARED),
    )
}
