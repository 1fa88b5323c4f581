//! Where everything goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::addr::{Ipv6Be, Mac, PortBe};
use lb_common::backend::{MacFlags, Member};
use lb_common::id::{MemberId, MemberIndex};
use lb_common::limits::{MEMBERS, MEMBERS_PER_SERVICE, RING_BLOCKS, SLOTS_PER_BLOCK};
use lb_common::nat;
use lb_common::service::{self, Decision, feature};

use super::keys::Keys;
use super::outer::outer;
use super::regions::Regions;
use super::snapshot::{Ring, ServiceKey, Snapshot};
use crate::balance::{Candidate, Rings};
use crate::model::{Mode, Nat, NatSource, NextHop, Protocol, RingSize, Tunnel, Vip};

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
}

/// The answer of [`place`].
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// What the maps shall hold.
    pub target: Snapshot,
    /// Ids of the members of each service, by service in the order of [`Desired::services`].
    pub members: Vec<BTreeMap<SocketAddr, MemberId>>,
    /// A service is not wholly as desired, for want of room.
    pub full: Option<Full>,
}

/// Decides where `desired` goes, with `installed` staying where it is.
///
/// What is free in `installed` only after this change is not used for it, so that one grace period at the end of a
/// change is enough. A service that finds no room keeps its ring's size or its backends, and [`Placement::full`] says so:
/// carried out, the plan may free what the next one needs.
pub fn place(installed: &Snapshot, desired: &Desired, rings: &mut Rings) -> Placement {
    let mut space = Space::of(installed);
    let mut placement = Placement::default();
    let all = Keys::of(desired.services.iter().map(|s| (&s.vips[..], s.protocol)));
    let holders = Holders::of(installed, desired, &all);
    for (number, wanted) in desired.services.iter().enumerate() {
        let known = holders.known(installed, wanted, number);
        let placed = space.place(installed, known, wanted, rings).or_else(|full| {
            placement.full = Some(full);
            let known = known.filter(|known| known.own).ok_or(full)?;
            space.place(
                installed,
                Some(known),
                &in_place(installed, known.decision, wanted, full),
                rings,
            )
        });
        let members = match placed {
            Ok(placed) => {
                let keys = keys(wanted, &all).map(|key| (key, placed.decision));
                let (block, ring) = placed.ring;
                placement.target.entries.extend(keys);
                placement.target.rings.insert(block, ring);
                placement.target.members.extend(placed.members.values().copied());
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
    rings.end_round();
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
        Full::Ring { .. } => {
            less.table_size = RingSize::new(1 << decision.ring_log2()).unwrap_or(less.table_size);
        }
        Full::Members { .. } => {
            let there = members_of(installed, decision.member_base());
            less.members
                .retain(|member| there.values().any(|m| socket_address(m) == member.address));
        }
    }
    less
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
        for (index, member) in members_of(installed, base) {
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
        rings: &mut Rings,
    ) -> Result<Placed, Full> {
        let (base, members) = self.place_members(installed, known, wanted)?;
        // A ring is changed in place only while its indices mean the same members; a new base takes a new ring.
        let stays = known.filter(|k| k.own && k.decision.member_base() == base);
        let (block, log2) = self.place_ring(stays.map(|k| k.decision), wanted.table_size)?;
        let candidates: Vec<_> = wanted
            .members
            .iter()
            .filter(|m| serves(&members[&m.address].1))
            .map(|m| Candidate {
                address: m.address,
                weight: m.weight.into(),
                index: MemberIndex((members[&m.address].0.0 - base) as u16),
            })
            .collect();
        let empty = || vec![MemberIndex::NONE; wanted.table_size.slots() as usize].into();
        let slots = rings.ring(&candidates, wanted.table_size).unwrap_or_else(empty);
        Ok(Placed {
            decision: Decision::service(mode(wanted.mode), service::Choice::Tuple, block, log2, base),
            ring: (block, Ring { log2, slots }),
            members,
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
            known.map_or_else(BTreeMap::new, |k| members_of(installed, k.decision.member_base()));
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

/// Blocks of a ring.
const fn blocks(log2: u8) -> u32 {
    (1 << log2) / SLOTS_PER_BLOCK
}

/// The installed members from `base` on, up to the next service's.
fn members_of(installed: &Snapshot, base: u32) -> BTreeMap<u16, Member> {
    let next = installed
        .entries
        .values()
        .filter(|d| d.is_service())
        .map(|d| d.member_base())
        .filter(|&other| other > base)
        .min()
        .unwrap_or(MEMBERS)
        .min(base + u32::from(u16::MAX));
    let members = installed
        .members
        .range(MemberId(base + 1)..MemberId(next.max(base + 1)));
    members.map(|(id, &member)| ((id.0 - base) as u16, member)).collect()
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
