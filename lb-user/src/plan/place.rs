//! Where everything goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::addr::{Ipv6Be, Mac, PortBe};
use lb_common::backend::{MacFlags, Member};
use lb_common::id::{MemberId, MemberIndex};
use lb_common::limits::{MEMBERS, MEMBERS_PER_SERVICE, RING_BLOCKS, SLOTS_PER_BLOCK};
use lb_common::nat;
use lb_common::ring::{Slot, State};
use lb_common::service::{self, Choice, Decision, feature};
use lb_common::slot;

use super::entries::Table;
use super::keys::Keys;
use super::memory::Memory;
use super::outer::outer;
use super::regions::Regions;
use super::snapshot::{Ring, ServiceKey, Snapshot};
use crate::balance::{Candidate, Order};
use crate::model::{Balance, Mode, Nat, NatSource, NextHop, Protocol, RingSize, Tunnel, Vip};

/// What the data plane shall do. VIP, protocol and a single port are unique over all services, and ranges do not overlap;
/// backends are unique within a service.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Every VIP.
    pub addresses: BTreeMap<IpAddr, DesiredAddress>,
    /// The services on them.
    pub services: Vec<DesiredService>,
    /// Addresses that living flows of `nat` have as source, whatever the services say by now.
    pub sources: BTreeSet<IpAddr>,
    /// There are living flows of `nat` that keep the client's address.
    pub clients: bool,
}

/// A VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredAddress {
    /// Fulcrum puts the address on the node.
    pub owned: bool,
    /// Echo requests are answered.
    pub echo: bool,
    /// Packets to undeclared ports are dropped.
    pub drop_undeclared: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct DesiredService {
    /// Its VIPs; at least one, and either all with a single port, or none.
    pub vips: Vec<Vip>,
    /// Of every VIP.
    pub protocol: Protocol,
    /// How packets reach the backends.
    pub mode: Mode,
    /// How a backend is chosen.
    pub balance: Balance,
    /// Do flows keep their backend when backends change?
    pub track: bool,
    /// What backends see as the client, in [`Mode::Nat`].
    pub nat: Nat,
    /// What packets travel in, in [`Mode::Tunnel`].
    pub tunnel: Tunnel,
    /// How long a flow may be silent, where flows are kept.
    pub idle_timeout: Duration,
    /// Slots of its ring.
    pub table_size: RingSize,
    /// Its backends.
    pub members: Vec<DesiredMember>,
}

impl DesiredService {
    const fn choice(&self) -> Choice {
        match self.balance {
            Balance::Maglev => Choice::Tuple,
            Balance::SourceHash => Choice::Source,
            Balance::RoundRobin => Choice::Turn,
            Balance::LeastConnections => Choice::Least,
        }
    }

    /// Where a service that lies there chooses its backends.
    const fn decision(&self, ring_block: u32, ring_log2: u8, member_base: u32) -> Decision {
        Decision::service(mode(self.mode), self.choice(), ring_block, ring_log2, member_base)
    }

    /// Do its slots remember whom they had, so that flows keep their backend?
    fn remembers(&self) -> bool {
        self.track && Table::of(self.decision(0, 0, 0)) == Some(Table::Flows)
    }

    /// Do packets keep their port, since the service has many?
    fn keeps_ports(&self) -> bool {
        self.vips.iter().any(|vip| !vip.ports.is_one())
    }
}

/// A backend of a service.
#[derive(Clone, Debug)]
pub struct DesiredMember {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share; 0 for none.
    pub weight: u16,
    /// May it serve?
    pub alive: Alive,
    /// How it is reached.
    pub hop: Hop,
}

/// May a backend serve?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Nobody knows yet: what is installed stays, and a new backend does not serve.
    AsInstalled,
}

/// How a backend is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// So.
    Known(NextHop),
    /// It is not; it does not serve.
    Unknown,
    /// Nobody knows yet: what is installed stays.
    AsInstalled,
}

/// A map has no room for what is desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Rings do not fit.
    #[error("no room for a ring of {slots} slots: RING holds {} slots; use smaller table-size values", u64::from(RING_BLOCKS) * u64::from(SLOTS_PER_BLOCK))]
    Ring {
        /// What was asked for.
        slots: u32,
    },
    /// Members do not fit.
    #[error("no room for {members} backends of a service: BACKENDS holds {MEMBERS} in all services together")]
    Members {
        /// What was asked for.
        members: usize,
    },
    /// A ring cannot become smaller: its slots would have to agree on their backends first.
    #[error(
        "the service on {vip} keeps its {installed} slots: a ring whose flows are to stay cannot become smaller than it \
         is; leave table-size at {installed}, or take the service out of the file first, which ends its flows"
    )]
    Smaller {
        /// One of the service's addresses.
        vip: Vip,
        /// What it has.
        installed: u32,
    },
}

/// The answer of [`place`].
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// What the maps shall hold.
    pub target: Snapshot,
    /// Ids of the members of each service, by service in the order of [`Desired::services`].
    pub members: Vec<BTreeMap<SocketAddr, MemberId>>,
    /// What each service's entries say, in the same order; `None` for one that found no room.
    pub decisions: Vec<Option<Decision>>,
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
    let all = Keys::of(desired.services.iter().map(|s| (&s.vips[..], s.protocol)));
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
    for vip in desired.services.iter().flat_map(|service| &service.vips) {
        announce(vip, &mut placement.target);
    }
    for (wanted, ids) in desired.services.iter().zip(&placement.members) {
        translate(wanted, ids, &all, &mut placement.target);
    }
    for &source in &desired.sources {
        add_source(source, &mut placement.target);
    }
    if desired.clients {
        placement.target.features |= feature::CLIENT_SOURCE;
    }
    placement
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
    for (&address, &id) in ids {
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

/// The service that is installed at a key, which may be a backend's instead.
fn installed_at(installed: &Snapshot, key: ServiceKey) -> Option<Decision> {
    installed.entries.get(&key).copied().filter(|d| d.is_service())
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
fn remembered<'a>(installed: &'a Snapshot, known: Known, wanted: &DesiredService) -> Option<&'a Ring> {
    let stays = wanted.remembers()
        && Table::of(known.decision) == Some(Table::Flows)
        && known.decision.choice() == wanted.choice();
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
struct Known {
    decision: Decision,
    /// Its region is this service's alone, which may change it in place.
    own: bool,
}

/// Which services will hold the keys that lead to each installed region.
struct Holders<'a> {
    all: &'a Keys,
    /// By member base; keys that go lead nowhere.
    services: BTreeMap<u32, BTreeSet<usize>>,
}

impl<'a> Holders<'a> {
    fn of(installed: &Snapshot, desired: &Desired, all: &'a Keys) -> Self {
        let mut services: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        for (number, service) in desired.services.iter().enumerate() {
            for decision in keys(service, all).filter_map(|key| installed_at(installed, key)) {
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

/// Where a service goes.
struct Placed {
    decision: Decision,
    ring: (u32, Ring),
    members: Members,
    /// The slots are not yet as they are wanted.
    unfinished: bool,
}

/// Id and contents by address.
type Members = BTreeMap<SocketAddr, (MemberId, Member)>;

const fn mode(mode: Mode) -> service::Mode {
    match mode {
        Mode::Dsr => service::Mode::Dsr,
        Mode::Nat => service::Mode::Nat,
        Mode::Tunnel => service::Mode::Tunnel,
    }
}

/// May the members of an installed service become those of `mode` where they are? `nat` and `tunnel` read the same fields
/// in different ways.
fn in_place_of(installed: Decision, mode: Mode) -> bool {
    match (installed.mode(), mode) {
        (Some(service::Mode::Tunnel), Mode::Tunnel) => true,
        (Some(service::Mode::Tunnel), Mode::Dsr | Mode::Nat) | (Some(service::Mode::Nat), Mode::Tunnel) => false,
        (_, Mode::Dsr | Mode::Nat | Mode::Tunnel) => true,
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

/// Does health let this member serve?
fn is_alive(member: &Member) -> bool {
    member.next_hop.flags() & MacFlags::ALIVE != 0
}

/// Does this member take part in the ring?
fn serves(member: &Member) -> bool {
    const BOTH: u16 = MacFlags::ALIVE | MacFlags::RESOLVED;
    member.next_hop.flags() & BOTH == BOTH
}

/// Space in the arrays.
struct Space {
    members: Regions,
    rings: Regions,
}

impl Space {
    /// What `installed` takes.
    fn of(installed: &Snapshot) -> Self {
        let mut space = Self {
            members: Regions::new(MEMBERS),
            rings: Regions::new(RING_BLOCKS),
        };
        let services = installed.entries.values().filter(|d| d.is_service());
        let bases: BTreeSet<u32> = services.clone().map(|d| d.member_base()).collect();
        for decision in services {
            space.rings.take(decision.ring_block(), blocks(decision.ring_log2()));
            space.members.take(decision.member_base(), MEMBERS_PER_SERVICE);
        }
        for &MemberId(id) in installed.members.keys() {
            match bases.range(..=id).next_back() {
                Some(&base) => space.members.take(base, (id - base + 1).next_power_of_two()),
                // Nothing refers to it; an interrupted change left it.
                None => space.members.take(id, 1),
            }
        }
        space
    }

    /// Where a service goes.
    fn place(
        &mut self,
        installed: &Snapshot,
        known: Option<Known>,
        wanted: &DesiredService,
        memory: &mut Memory,
    ) -> Result<Placed, Full> {
        let (base, mut members) = self.place_members(installed, known, wanted)?;
        // A ring is changed in place only while its indices mean the same members; a new base takes a new ring.
        let stays = known.filter(|k| k.own && k.decision.member_base() == base);
        let (block, log2) = self.place_ring(stays.map(|k| k.decision), wanted.table_size)?;
        let decision = wanted.decision(block, log2, base);
        // Members keep their indices wherever they move, so slots stay right.
        let remembered = known.and_then(|known| remembered(installed, known, wanted));
        let index = |id: MemberId| MemberIndex((id.0 - base) as u16);
        let awaited = remembered.is_some_and(|ring| await_the_dead(installed, base, ring, &mut members));
        let candidates: Vec<_> = wanted
            .members
            .iter()
            .filter(|m| serves(&members[&m.address].1))
            .map(|m| Candidate {
                address: m.address,
                weight: m.weight.into(),
                index: index(members[&m.address].0),
            })
            .collect();
        let order = match wanted.balance {
            Balance::RoundRobin => Order::Smooth,
            Balance::Maglev | Balance::SourceHash | Balance::LeastConnections => Order::Maglev,
        };
        let whom = memory.rings.ring(&candidates, wanted.table_size, order);
        let moves = known.is_some_and(|known| known.decision.ring_block() != block);
        if let Some(ring) = remembered.filter(|_| moves) {
            return Ok(Placed {
                decision,
                ring: (block, as_it_is(&ring.spread(log2), whom.as_deref(), base, &members)),
                members,
                unfinished: true,
            });
        }
        let alive = members.values().filter(|(_, member)| is_alive(member));
        let alive = alive.map(|&(id, _)| index(id)).collect();
        let there = installed.rings.get(&block).filter(|ring| ring.log2 == log2);
        let slots = memory.slots(
            block,
            wanted.table_size.slots() as usize,
            there.filter(|_| stays.is_some()).map(|ring| &ring.slots),
            whom.as_ref(),
            remembered.map(|_| alive),
        );
        Ok(Placed {
            decision,
            ring: (block, Ring { log2, slots }),
            members,
            unfinished: awaited,
        })
    }

    /// Base and members of a service: installed ones keep their ids, new ones take the lowest that are free.
    fn place_members(
        &mut self,
        installed: &Snapshot,
        known: Option<Known>,
        wanted: &DesiredService,
    ) -> Result<(u32, Members), Full> {
        let full = || Full::Members {
            members: wanted.members.len(),
        };
        let mut old: BTreeMap<u16, Member> =
            known.map_or_else(BTreeMap::new, |k| installed.members_of(k.decision.member_base()));
        let tunnelled = known.is_some_and(|k| k.decision.mode() == Some(service::Mode::Tunnel));
        if tunnelled != (wanted.mode == Mode::Tunnel) {
            old.values_mut().for_each(forget_mode);
        }
        let index_by_address: HashMap<SocketAddr, u16> = old.iter().map(|(&i, m)| (socket_address(m), i)).collect();
        let mut free = (1..=MemberIndex::MAX.0).filter(|i| !old.contains_key(i));
        let mut indices = Vec::with_capacity(wanted.members.len());
        for member in &wanted.members {
            let index = index_by_address.get(&member.address).copied().or_else(|| free.next());
            indices.push(index.ok_or_else(full)?);
        }
        let top = indices.iter().chain(old.keys()).max().map_or(0, |&i| u32::from(i));
        let len = (top + 1).next_power_of_two().max(MEMBERS_PER_SERVICE);
        let own = known.filter(|k| k.own).map(|k| k.decision.member_base());
        let base = match own {
            Some(base) if self.members.extends(base, len) => {
                self.members.take(base, len);
                base
            }
            _ => self.members.allocate(len).ok_or_else(full)?,
        };
        let place = |(member, index): (&DesiredMember, u16)| {
            let contents = contents(wanted, member, index_by_address.get(&member.address).map(|i| &old[i]));
            (member.address, (MemberId(base + u32::from(index)), contents))
        };
        Ok((base, wanted.members.iter().zip(indices).map(place).collect()))
    }

    /// First block and size of a service's ring: the installed region when the size is the same.
    fn place_ring(&mut self, known: Option<Decision>, size: RingSize) -> Result<(u32, u8), Full> {
        let block = match known {
            Some(d) if d.ring_log2() == size.log2() => Some(d.ring_block()),
            _ => self.rings.allocate(blocks(size.log2())),
        };
        block
            .map(|block| (block, size.log2()))
            .ok_or(Full::Ring { slots: size.slots() })
    }
}

/// Lets members that come alive stay dead for this plan, when a slot of `ring` still has them as its previous member: an
/// interrupted plan has not told it of their death. True when there are such; see [`lb_common::slot::next`].
fn await_the_dead(installed: &Snapshot, base: u32, ring: &Ring, members: &mut Members) -> bool {
    let risen = |id: &MemberId, member: &Member| {
        let was = installed.members.get(id).is_some_and(is_alive);
        is_alive(member) && !was
    };
    let mut risen: Vec<&mut (MemberId, Member)> = members.values_mut().filter(|(id, m)| risen(id, m)).collect();
    if risen.is_empty() {
        return false;
    }
    let previous = ring.slots.iter().filter_map(|slot| match slot.state() {
        State::Moving(previous) => Some(MemberId(base + u32::from(previous.0))),
        State::Stable | State::Settled => None,
    });
    let previous: BTreeSet<MemberId> = previous.collect();
    risen.retain(|(id, _)| previous.contains(id));
    for (_, member) in &mut risen {
        let flags = member.next_hop.flags() & !MacFlags::ALIVE;
        member.next_hop = MacFlags::new(member.next_hop.mac(), flags);
    }
    !risen.is_empty()
}

/// A ring that moves: its slots stay as they are, except where they refer to members that the service has no more.
fn as_it_is(ring: &Ring, whom: Option<&[MemberIndex]>, base: u32, members: &Members) -> Ring {
    let index = |id: MemberId| MemberIndex((id.0 - base) as u16);
    let alive: BTreeMap<MemberIndex, bool> = members
        .values()
        .map(|(id, member)| (index(*id), is_alive(member)))
        .collect();
    let is_member = |member: MemberIndex| member == MemberIndex::NONE || alive.contains_key(&member);
    let is_alive = |member: MemberIndex| alive.get(&member).copied().unwrap_or(false);
    let slot = |(i, &slot): (usize, &Slot)| {
        let current = slot.current();
        let previous_stays = !matches!(slot.state(), State::Moving(previous) if !is_member(previous));
        match (is_member(current), previous_stays) {
            (true, true) => slot,
            (true, false) => slot::next(slot, current, &is_alive),
            (false, _) => slot::next(slot, whom.map_or(MemberIndex::NONE, |whom| whom[i]), &is_alive),
        }
    };
    Ring {
        log2: ring.log2,
        slots: ring.slots.iter().enumerate().map(slot).collect(),
    }
}

/// Blocks of a ring.
const fn blocks(log2: u8) -> u32 {
    (1 << log2) / SLOTS_PER_BLOCK
}

/// Where a member listens.
fn socket_address(member: &Member) -> SocketAddr {
    SocketAddr::new(member.address.to_ip(), member.port.host())
}

/// Forgets what means something else in another mode.
fn forget_mode(member: &mut Member) {
    member.source = Ipv6Be::default();
    (member.first_port, member.ports, member.idle) = (0, 0, 0);
}

/// What a member's element shall hold.
fn contents(service: &DesiredService, wanted: &DesiredMember, installed: Option<&Member>) -> Member {
    let alive = match wanted.alive {
        Alive::Yes => true,
        Alive::No => false,
        Alive::AsInstalled => installed.is_some_and(|m| m.next_hop.flags() & MacFlags::ALIVE != 0),
    };
    let hop = match wanted.hop {
        Hop::Known(hop) => Some(hop),
        Hop::Unknown => None,
        Hop::AsInstalled => installed
            .filter(|m| m.next_hop.flags() & MacFlags::RESOLVED != 0)
            .map(|m| NextHop {
                mac: m.next_hop.mac(),
                local: m.local.mac(),
                interface: m.interface,
                router: None,
                source: (m.source != Ipv6Be::default()).then(|| m.source.to_ip()),
                mtu: m.outer().mtu,
            }),
    };
    // It is there in every mode, so that `nat` may come and go by one word.
    let source = source(&service.nat.source, wanted, hop, installed);
    // In `nat` a way without a source is none.
    let hop = hop.filter(|_| source.is_some() || service.mode != Mode::Nat);
    let mut flags = 0;
    if alive {
        flags |= MacFlags::ALIVE;
    }
    if hop.is_some() {
        flags |= MacFlags::RESOLVED;
    }
    if service.keeps_ports() {
        flags |= MacFlags::KEEPS_PORT;
    }
    let hop = hop.unwrap_or(NextHop {
        mac: Mac::default(),
        local: Mac::default(),
        interface: 0,
        router: None,
        source: None,
        mtu: installed.map_or(0, |m| m.outer().mtu),
    });
    let member = Member {
        address: Ipv6Be::mapped(wanted.address.ip()),
        next_hop: MacFlags::new(hop.mac, flags),
        local: MacFlags::new(hop.local, 0),
        interface: hop.interface,
        port: PortBe::new(wanted.address.port()),
        weight: wanted.weight,
        ..Member::default()
    };
    if service.mode == Mode::Tunnel {
        let (source, outer) = outer(&service.tunnel, wanted.address.ip(), hop.mtu);
        return Member { source, ..member }.with_outer(outer);
    }
    let Some(source) = source else {
        return member;
    };
    let ports = service.nat.ports;
    Member {
        source,
        idle: nat::at_least(u64::try_from(service.idle_timeout.as_nanos()).unwrap_or(u64::MAX)),
        first_port: ports.first(),
        ports: ports.count(),
        ..member
    }
}

/// What a backend sees as the client in `nat`: all zero for the client itself, `None` when the node has nothing to show.
/// Where the way is not known at the moment, the source stays.
fn source(
    source: &NatSource,
    wanted: &DesiredMember,
    hop: Option<NextHop>,
    installed: Option<&Member>,
) -> Option<Ipv6Be> {
    let before = || installed.map(|m| m.source).filter(|&s| s != Ipv6Be::default());
    let of_family = |ip: &IpAddr| ip.is_ipv4() == wanted.address.is_ipv4();
    match source {
        NatSource::Auto => hop.map_or_else(before, |hop| hop.source.map(Ipv6Be::mapped)),
        NatSource::Client => Some(Ipv6Be::default()),
        NatSource::Floating(addresses) => addresses.iter().copied().find(of_family).map(Ipv6Be::mapped),
    }
}
