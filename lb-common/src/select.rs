//! Which backend a flow gets: the one implementation that the program runs and that `explain` asks.

use crate::addr::{Ipv4Be, Ipv6Be, PortBe};
use crate::backend::{MacFlags, Member};
use crate::flow::{FlowV4, FlowV6};
use crate::hash::Key;
use crate::id::{MemberId, MemberIndex};
use crate::nat::{NatKey, Translation};
use crate::ring::{RingBlock, Slot, position};
use crate::service::{BucketV4, BucketV6, Choice, Decision, KeyV4, KeyV6, Mode, PortBlock, protocol};
use crate::stats::DropReason;

/// Read access to the maps: those of the running program, or the manager's view of the very same memory.
pub trait Tables {
    /// Element of `SERVICES_V4`.
    fn bucket_v4(&self, index: u32) -> Option<&BucketV4>;
    /// Element of `SERVICES_V6`.
    fn bucket_v6(&self, index: u32) -> Option<&BucketV6>;
    /// Value in the hash behind `SERVICES_V4`.
    fn overflow_v4(&self, key: &KeyV4) -> Decision;
    /// Value in the hash behind `SERVICES_V6`.
    fn overflow_v6(&self, key: &KeyV6) -> Decision;
    /// Element of `RING`.
    fn ring_block(&self, index: u32) -> Option<&RingBlock>;
    /// Element of `BACKENDS`.
    fn member(&self, id: MemberId) -> Option<&Member>;
}

/// Reads a word that the other side may be storing to, once and whole.
#[inline(always)]
pub fn read_once<T: Copy>(word: &T) -> T {
    const { assert!(size_of::<T>() <= 8) };
    // SAFETY: a reference is valid and aligned; a word of up to 8 bytes is read in one piece.
    unsafe { core::ptr::read_volatile(word) }
}

macro_rules! find {
    ($tables:ident, $key:ident, $bucket:ident, $overflow:ident) => {{
        let Some(bucket) = $tables.$bucket($key.bucket()) else {
            return Decision::NONE;
        };
        let mut last = Decision::NONE;
        for entry in &bucket.entries {
            last = read_once(&entry.decision);
            if entry.key == $key && last.exists() {
                return last.unmarked();
            }
        }
        if last.overflowed() {
            return $tables.$overflow(&$key);
        }
        Decision::NONE
    }};
}

/// The decision behind an IPv4 key.
#[inline(always)]
pub fn find_v4<T: Tables + ?Sized>(tables: &T, address: Ipv4Be, port: PortBe, protocol: u8) -> Decision {
    let key = KeyV4::new(address, port, protocol);
    find!(tables, key, bucket_v4, overflow_v4)
}

/// The decision behind an IPv6 key.
#[inline(always)]
pub fn find_v6<T: Tables + ?Sized>(tables: &T, address: Ipv6Be, port: PortBe, protocol: u8) -> Decision {
    let key = KeyV6::new(address, port, protocol);
    find!(tables, key, bucket_v6, overflow_v6)
}

/// A flow of either family, as far as it leads to a service.
pub trait Tuple: Copy + Into<NatKey> {
    /// The service that its packets are for, if it is on a port of its own.
    fn service<T: Tables + ?Sized>(&self, tables: &T) -> Decision;
    /// What is known of the address that its packets are sent to.
    fn address<T: Tables + ?Sized>(&self, tables: &T) -> Decision;
    /// The service that its packets are for, if it is on blocks of ports with `free` free bits.
    fn block<T: Tables + ?Sized>(&self, tables: &T, free: u8) -> Decision;
    /// What chooses the slot.
    fn hash_for(&self, choice: Choice, seed: impl Into<Key>) -> u64;

    /// The service that its packets are for. A port of its own comes first, then the narrowest block.
    fn find<T: Tables + ?Sized>(&self, tables: &T) -> Decision {
        let own = self.service(tables);
        if own.is_service() {
            return own;
        }
        let blocks = self.address(tables).blocks();
        let each = (1..=16).filter(|free| blocks >> free & 1 != 0);
        each.map(|free| self.block(tables, free))
            .find(|decision| decision.is_service())
            .unwrap_or(Decision::NONE)
    }
}

macro_rules! tuple {
    ($flow:ident, $find:ident, $key:ident, $bucket:ident, $overflow:ident) => {
        impl Tuple for $flow {
            #[inline(always)]
            fn service<T: Tables + ?Sized>(&self, tables: &T) -> Decision {
                $find(tables, self.destination, self.ports.destination, self.protocol)
            }

            #[inline(always)]
            fn address<T: Tables + ?Sized>(&self, tables: &T) -> Decision {
                $find(tables, self.destination, PortBe(0), protocol::ANY)
            }

            #[inline(always)]
            fn block<T: Tables + ?Sized>(&self, tables: &T, free: u8) -> Decision {
                let block = PortBlock::of(self.ports.destination.host(), free);
                let key = $key::block(self.destination, block, self.protocol);
                find!(tables, key, $bucket, $overflow)
            }

            #[inline(always)]
            fn hash_for(&self, choice: Choice, seed: impl Into<Key>) -> u64 {
                match choice {
                    Choice::Source => self.hash_source(seed),
                    Choice::Tuple | Choice::Turn | Choice::Least => self.hash(seed),
                }
            }
        }
    };
}

tuple!(FlowV4, find_v4, KeyV4, bucket_v4, overflow_v4);
tuple!(FlowV6, find_v6, KeyV6, bucket_v6, overflow_v6);

/// The slot of a service's ring that `hash` falls on.
#[inline(always)]
pub fn slot<T: Tables + ?Sized>(tables: &T, service: Decision, hash: u64) -> Result<Slot, DropReason> {
    let (block, index) = position(service.ring_block(), service.ring_log2(), hash);
    let block = tables.ring_block(block).ok_or(DropReason::Inconsistent)?;
    Ok(read_once(&block.slots[index]))
}

/// Who gets a packet.
pub struct Chosen<'a> {
    /// Where it is counted.
    pub id: MemberId,
    /// Who it is.
    pub member: &'a Member,
    /// The next hop, read once: MAC and flags belong together.
    pub next_hop: MacFlags,
}

/// A member of a service, and how it is reached.
#[inline(always)]
pub fn member<T: Tables + ?Sized>(tables: &T, service: Decision, index: MemberIndex) -> Result<Chosen<'_>, DropReason> {
    if index == MemberIndex::NONE {
        return Err(DropReason::NoBackend);
    }
    let id = service.member(index);
    let member = tables.member(id).ok_or(DropReason::Inconsistent)?;
    let next_hop = read_once(&member.next_hop);
    if next_hop.flags() & MacFlags::RESOLVED == 0 {
        return Err(DropReason::Unresolved);
    }
    Ok(Chosen { id, member, next_hop })
}

/// Is this member alive?
#[inline(always)]
pub fn is_alive<T: Tables + ?Sized>(tables: &T, service: Decision, index: MemberIndex) -> bool {
    let member = tables.member(service.member(index));
    index != MemberIndex::NONE && member.is_some_and(|m| read_once(&m.next_hop).flags() & MacFlags::ALIVE != 0)
}

/// Where the member of a backend of `nat` lies, by the backend's address, port and protocol. One whose packets keep their
/// ports is there with port 0.
#[inline(always)]
pub fn backend_at<T: Tables + ?Sized>(tables: &T, address: Ipv6Be, port: PortBe, protocol: u8) -> Option<MemberId> {
    member_at(tables, address, port, protocol).or_else(|| member_at(tables, address, PortBe(0), protocol))
}

#[inline(always)]
fn member_at<T: Tables + ?Sized>(tables: &T, address: Ipv6Be, port: PortBe, protocol: u8) -> Option<MemberId> {
    let decision = if address.is_v4() {
        find_v4(tables, address.last_v4(), port, protocol)
    } else {
        find_v6(tables, address, port, protocol)
    };
    matches!(decision.mode(), Some(Mode::Backend)).then(|| MemberId(decision.member_base()))
}

/// The backend of a flow that is translated so, wherever its member lies now; `None` when it is gone, or not alive.
#[inline(always)]
pub fn backend_of<'a, T: Tables + ?Sized>(
    tables: &'a T,
    flow: &Translation,
    protocol: u8,
) -> Option<(MemberId, &'a Member)> {
    let is = |member: &&Member| {
        member.address == flow.destination
            && (member.port == flow.ports.destination
                || read_once(&member.next_hop).flags() & MacFlags::KEEPS_PORT != 0)
    };
    let mut id = flow.member;
    let mut found = tables.member(id).filter(is);
    if found.is_none() {
        id = backend_at(tables, flow.destination, flow.ports.destination, protocol)?;
        found = tables.member(id).filter(is);
    }
    let member = found?;
    let alive = read_once(&member.next_hop).flags() & MacFlags::ALIVE != 0;
    alive.then_some((id, member))
}
