//! What is kept from services: the rungs of [`lb_common::protect`], for packets to a service, to ports that none declares, and
//! of ICMP. Where nothing is configured, [`crate::fast`] is a program without any of it, and [`crate::full`] asks once.
//!
//! Frames that were not sent to this node are judged by nobody.

pub(crate) mod cookie;
pub(crate) mod limit;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::bpf_loop;
use lb_common::addr::Ipv6Be;
use lb_common::nat::NatKey;
use lb_common::parse::{Frame as _, Segment, l4};
use lb_common::protect::limit::Limit;
use lb_common::protect::prefixes::{Line, Lines, Ref, STEPS, V4_BYTE, Way, verdict};
use lb_common::protect::{
    ADDRESSES, FIRST_REASON, HEAD, Header, REASONS, Sheet as _, TOP_BYTES, malformed, place, policy, refused_source,
};
use lb_common::service::{Decision, protocol};
use lb_common::stats::DropReason;

use crate::clock::nanoseconds;
use crate::maps::{Head, REFUSALS, head, line_behind};
use crate::packet::Packet;
use crate::seen::Seen;
use crate::transmit;
use crate::verdict::{Outcome, Sent, Step, Stop};

/// The sheet that packets are judged by, as long as one of them is.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Current {
    head: &'static Head,
    /// The place of the other lines.
    rest: u32,
}

impl Lines for Current {
    #[inline(always)]
    fn line(&self, index: u32) -> Option<&Line> {
        if index < HEAD {
            return Some(self.head.line(index));
        }
        line_behind(self.rest, index - HEAD)
    }
}

/// The sheet, if something is configured.
#[inline(always)]
pub(crate) fn current() -> Option<Current> {
    let head = head()?;
    let rest = head.header().rest & 1;
    Some(Current { head, rest })
}

/// Who sends what to whom.
pub(crate) struct Sender {
    /// Over IPv4, and not IPv6.
    pub(crate) v4: bool,
    pub(crate) source: Ipv6Be,
    pub(crate) destination: Ipv6Be,
}

impl Sender {
    #[inline(always)]
    pub(crate) fn of(v4: bool, key: &NatKey) -> Self {
        Self {
            v4,
            source: key.source,
            destination: key.destination,
        }
    }
}

/// Refuses a packet of a service, or lets it go on: then the flags of its [`policy`], 0 where it has none. Buckets are taken from
/// without a call, or else by one.
#[inline(always)]
pub(crate) fn service<const CALLS: bool>(
    sheet: Current,
    packet: &Packet,
    service: Decision,
    sender: &Sender,
    segment: Segment,
) -> Step<u32> {
    let place = place(service);
    let (Some(header), Some(policy)) = (sheet.header(), sheet.policy(place)) else {
        return Ok(0);
    };
    let mut reason = 0;
    if policy.flags & policy::MALFORMED != 0 {
        reason = malformed(&sender.source, &sender.destination, segment);
    }
    let mut known = 0;
    if reason == 0 {
        known = known_of(sheet, sender, place, header, policy.roots.of(sender.v4));
        reason = refused_source(known);
    }
    if reason == 0
        && policy.flags & policy::AMOUNTS != 0
        && known & verdict::EXEMPT == 0
        && let Some(amounts) = sheet.amounts(place)
    {
        // What is somebody else's takes nothing from anybody.
        transmit::for_this_node(packet)?;
        let now = nanoseconds();
        if !limit::admits::<CALLS>(&amounts.packets, sender, now, place) {
            reason = DropReason::PacketRate as u32;
        } else if segment.opens() && !limit::admits::<CALLS>(&amounts.connections, sender, now, place) {
            reason = DropReason::ConnectionRate as u32;
        }
    }
    if reason != 0 {
        refuse(packet, place, policy.flags, reason)?;
    }
    Ok(policy.flags)
}

/// What the lists know of a sender. They are walked through only where a glance is not enough: a call is as long as all before it.
#[inline(always)]
fn known_of(sheet: Current, sender: &Sender, place: u32, header: &Header, own: Ref) -> u32 {
    let Ipv6Be([high, low]) = sender.source;
    let v4 = u32::from(sender.v4);
    let known = sheet
        .glance(header, sender.v4, &sender.source)
        .unwrap_or_else(|| fulcrum_source(high, low, v4, OF_ALL));
    if own.is_end() {
        known | own.rest()
    } else if refused_source(known) != 0 {
        known
    } else {
        known | fulcrum_source(high, low, v4, place)
    }
}

/// In place of the place of a service: the lists for all.
const OF_ALL: u32 = u32::MAX;

/// What the lists of the service at a place know of an address, or those for all. A global function: the verifier looks at it once.
/// It reads the roots for itself, since it may find a newer sheet than its caller has.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_source(high: u64, low: u64, v4: u32, place: u32) -> u32 {
    let Some(sheet) = current() else {
        return 0;
    };
    let Some(header) = sheet.header() else {
        return 0;
    };
    let v4 = v4 != 0;
    let mut first = if v4 { V4_BYTE } else { 0 };
    let address = Ipv6Be([high, low]);
    let root = if place == OF_ALL {
        first += TOP_BYTES;
        sheet.begin(&header.roots, v4, &address)
    } else {
        sheet.own(place, v4)
    };
    walk(sheet, root, first, &address)
}

/// What one list knows of an address. The first step, which is the last one in a short list, without a call.
#[inline(always)]
fn walk(sheet: Current, root: Ref, first: u32, address: &Ipv6Be) -> u32 {
    let mut way = Way::new(sheet, root, first, address);
    if !way.is_over() && way.step() && !way.is_over() {
        // SAFETY: the callback takes what it is given here.
        unsafe { bpf_loop(STEPS, step as *mut c_void, (&raw mut way).cast(), 0) };
    }
    way.known()
}

/// One step; 1 at the end. The verifier walks through a callback once, and through a loop of our own once for each round and
/// each kind of node.
unsafe extern "C" fn step(_: u32, way: *mut Way<Current>) -> u64 {
    // SAFETY: `walk` hands over its own.
    let way = unsafe { &mut *way };
    u64::from(!way.step() || way.is_over())
}

/// What becomes of a packet of a service on the long way: [`Outcome::UNKNOWN`] if it goes on.
#[inline(always)]
pub(crate) fn judged(packet: &Packet, seen: &mut Seen) -> Outcome {
    // Where nothing is configured, a call would be a twelfth of what `nat` takes.
    if head().is_none() {
        seen.admitted = 0;
        return Outcome::UNKNOWN;
    }
    Outcome::from_raw(fulcrum_admit(packet.ctx()))
}

/// A global function: the verifier looks at it once, and its stack is its own.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_admit(ctx: *mut xdp_md) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    if core::mem::take(&mut seen.admitted) != 0 {
        return Outcome::UNKNOWN.raw();
    }
    // A header that is wrong is judged further on, or by the kernel.
    let Some(sheet) = current() else {
        return Outcome::UNKNOWN.raw();
    };
    let packet = Packet::of(ctx);
    let sender = Sender::of(seen.v4 != 0, &seen.key);
    let step = if seen.service.is_service() {
        seen.segment(&packet)
            .and_then(|segment| service::<true>(sheet, &packet, seen.service, &sender, segment))
    } else if is_discovery(&packet, seen) {
        Ok(0)
    } else {
        address(sheet, &packet, &sender, !l4::has_ports(seen.protocol())).map(|()| 0)
    };
    match step {
        // A fragment is the kernel's.
        Ok(flags) if flags & policy::COOKIES != 0 && seen.part == 0 => Outcome::COOKIE.raw(),
        Ok(_) => Outcome::UNKNOWN.raw(),
        Err(stop) => Outcome::of(Err::<Sent, _>(stop)).raw(),
    }
}

/// The packet that this CPU hands on is not judged a second time: it takes one from each limit, and is counted once.
#[inline(always)]
pub(crate) fn has_admitted() {
    if let Ok(seen) = Seen::of_this_cpu() {
        seen.admitted = 1;
    }
}

/// Neighbour discovery (RFC 4861 §4), which no router passes on: from link-local addresses, and who is not heard cannot be
/// reached.
#[inline(always)]
fn is_discovery(packet: &Packet, seen: &Seen) -> bool {
    // Not a byte alone: from its comparison the verifier does not learn that it lies in the packet.
    let two = |at: usize| packet.read::<u16>(at).map(u16::to_ne_bytes);
    seen.v4 == 0
        && seen.protocol() == protocol::ICMPV6
        && two(seen.l4()).is_some_and(|bytes| matches!(bytes[0], 133..=137))
        && two(seen.l3() + 6).is_some_and(|bytes| bytes[1] == 255)
}

/// Refuses a packet to a VIP at a port that no service declares, for who sends it; or a message of ICMP to a VIP that is
/// Fulcrum's, for that or because there are too many.
#[inline(always)]
fn address(sheet: Current, packet: &Packet, sender: &Sender, counts: bool) -> Step<()> {
    let Some(header) = sheet.header() else {
        return Ok(());
    };
    let known = known_of(sheet, sender, ADDRESSES, header, Ref::NOTHING);
    let mut reason = refused_source(known);
    let limit: &Limit = &header.icmp;
    if reason == 0 && counts && known & verdict::EXEMPT == 0 {
        transmit::for_this_node(packet)?;
        if !limit::admits::<true>(limit, sender, nanoseconds(), ADDRESSES) {
            reason = DropReason::IcmpRate as u32;
        }
    }
    if reason == 0 {
        return Ok(());
    }
    refuse(packet, ADDRESSES, header.flags, reason)
}

/// Counts a refusal, and drops the packet if that is not only observed.
#[inline(always)]
pub(crate) fn refuse(packet: &Packet, place: u32, flags: u32, reason: u32) -> Step<()> {
    transmit::for_this_node(packet)?;
    let observes = flags & policy::OBSERVES != 0;
    if let Some(refusals) = REFUSALS.get_ptr_mut(place) {
        // SAFETY: this CPU's element, which nobody else writes.
        let refusals = unsafe { &mut *refusals };
        let index = reason.wrapping_sub(FIRST_REASON) as usize & (REASONS - 1);
        if observes {
            refusals.observed[index] += 1;
        } else {
            refusals.refused[index] += 1;
        }
    }
    if observes {
        if let Ok(seen) = Seen::of_this_cpu() {
            seen.observed = reason;
        }
        return Ok(());
    }
    // SAFETY: the code of a reason, of which there are no others here.
    Err(Stop::Drop(unsafe { core::mem::transmute::<u32, DropReason>(reason) }))
}
