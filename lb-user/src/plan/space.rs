//! Space in the arrays, and who gets it: regions of members and of rings. What is installed stays where it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use lb_common::backend::{MacFlags, Member};
use lb_common::id::{MemberId, MemberIndex};
use lb_common::limits::{MEMBERS, MEMBERS_PER_SERVICE, RING_BLOCKS, SLOTS_PER_BLOCK};
use lb_common::ring::{Slot, State};
use lb_common::service::{self, Choice, Decision};
use lb_common::slot;

use super::contents::{contents, forget_mode, is_alive, serves, socket_address};
use super::desired::{DesiredMember, DesiredService, Forwarding};
use super::memory::Memory;
use super::place::{Known, remembered};
use super::regions::Regions;
use super::snapshot::{Ring, Snapshot};
use crate::balance::{Candidate, Order};
use crate::model::{RingSize, Role, Vip};

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

/// Where a service goes.
pub(super) struct Placed {
    pub(super) decision: Decision,
    pub(super) ring: (u32, Ring),
    pub(super) members: Members,
    /// The slots are not yet as they are wanted.
    pub(super) unfinished: bool,
}

/// Id and contents by address.
pub(super) type Members = BTreeMap<SocketAddr, (MemberId, Member)>;

/// Space in the arrays.
pub(super) struct Space {
    /// Of what is installed.
    bases: BTreeSet<u32>,
    members: Regions,
    rings: Regions,
}

impl Space {
    /// What `installed` takes.
    pub(super) fn of(installed: &Snapshot) -> Self {
        let mut space = Self {
            bases: installed.bases(),
            members: Regions::new(MEMBERS),
            rings: Regions::new(RING_BLOCKS),
        };
        let services = installed.entries.values().filter(|d| d.is_balanced());
        for decision in services {
            space.rings.take(decision.ring_block(), blocks(decision.ring_log2()));
            space.members.take(decision.member_base(), MEMBERS_PER_SERVICE);
        }
        for &MemberId(id) in installed.members.keys() {
            match space.bases.range(..=id).next_back() {
                Some(&base) => space.members.take(base, (id - base + 1).next_power_of_two()),
                // Nothing refers to it; an interrupted change left it.
                None => space.members.take(id, 1),
            }
        }
        space
    }

    /// Where a service goes.
    pub(super) fn place(
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
        let able = |m: &&DesiredMember| serves(&members[&m.address].1);
        let is_primary = |m: &DesiredMember| m.role == Role::Primary;
        let by_primaries = wanted
            .members
            .iter()
            .filter(able)
            .any(|m| is_primary(m) && m.weight > 0);
        let candidates: Vec<_> = wanted
            .members
            .iter()
            .filter(able)
            .filter(|m| is_primary(m) || !by_primaries)
            .map(|m| Candidate {
                address: m.address,
                weight: m.weight.into(),
                index: index(members[&m.address].0),
            })
            .collect();
        let order = match wanted.choice {
            Choice::Turn => Order::Smooth,
            Choice::Tuple | Choice::Source | Choice::Least => Order::Maglev,
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
        let mut old: BTreeMap<u16, Member> = known.map_or_else(BTreeMap::new, |k| {
            installed.members_between(k.decision.member_base(), &self.bases)
        });
        let tunnelled = known.is_some_and(|k| k.decision.mode() == Some(service::Mode::Tunnel));
        if tunnelled != (wanted.mode == Forwarding::Tunnel) {
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
