//! Network address translation: the backend sees the node, or the client at another address, as its peer, and answers
//! through the node. Source and destination are rewritten in both directions, checksums updated by a difference that is
//! the flow's own (RFC 1624).

use aya_ebpf::bindings::xdp_md;
use lb_common::addr::{Ipv4Be, Ipv6Be};
use lb_common::backend::{MacFlags, Member};
use lb_common::csum;
use lb_common::flow::Ports;
use lb_common::id::MemberId;
use lb_common::nat::{NatKey, Side, Translation};
use lb_common::parse::{Segment, field, l4};
use lb_common::select::{self, Tables as _, read_once};
use lb_common::service::{Decision, feature, protocol};
use lb_common::stats::DropReason;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::clock;
use crate::flows::{self, Heard, Opening};
use crate::load;
use crate::maps::{self, Maps, NAT, NAT_REPLY};
use crate::news;
use crate::packet::Packet;
use crate::seen::Seen;
use crate::stats;
use crate::transmit::{self, Way};
use crate::verdict::{Outcome, Sent, Step, Stop};

/// Sends a client's packet to its flow's backend; a flow that is not known is opened.
#[inline(always)]
pub(crate) fn send(packet: &Packet) -> Outcome {
    Outcome::from_raw(fulcrum_nat(packet.ctx()))
}

/// A global function: the verifier looks at it once, and knows nothing of what led here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_nat(ctx: *mut xdp_md) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    Outcome::of(send_known(&Packet::of(ctx), seen)).raw()
}

#[inline(always)]
fn send_known(packet: &Packet, seen: &'static mut Seen) -> Step<Sent> {
    let segment = seen.segment(packet)?;
    seen.heard = heard(packet, segment)?;
    let mut opened = false;
    let known = NAT.get_ptr_mut(&seen.key).and_then(|entry| usable(seen, entry));
    let (entry, id, member) = match known {
        Some(known) => known,
        None if seen.is_later() => return Err(Stop::Drop(DropReason::Fragment)),
        None => {
            open(seen)?;
            opened = true;
            let entry = NAT.get_ptr_mut(&seen.key).ok_or(Stop::Drop(DropReason::NatTable))?;
            backend_of(seen, entry).ok_or(Stop::Drop(DropReason::NoBackend))?
        }
    };
    let next_hop = read_once(&member.next_hop);
    if next_hop.flags() & MacFlags::RESOLVED == 0 {
        return Err(Stop::Drop(DropReason::Unresolved));
    }
    seen.member = id;
    rewrite(packet, seen, entry)?;
    let way = Way::new(packet, next_hop, read_once(&member.local), member.interface);
    let sent = transmit::depart(packet, way)?;
    stats::forwarded(id, seen.bytes as usize, opened);
    Ok(sent)
}

/// What is to be known of a client's packet, if it was sent to this node.
#[inline(always)]
fn heard(packet: &Packet, segment: Segment) -> Step<Heard> {
    let eth = transmit::for_this_node(packet)?;
    // SAFETY: inside the header that `for_this_node` returned.
    let (local, client) = unsafe { (field(&raw const (*eth).dst_addr), field(&raw const (*eth).src_addr)) };
    Ok(Heard {
        client: MacFlags::new(client, 0),
        local: MacFlags::new(local, 0),
        interface: packet.interface(),
        now: clock::now(),
        segment,
    })
}

type Known<'a> = (*mut Translation, MemberId, &'a Member);

/// The entry of a flow with its backend, if both are there to go on with. A flow that cannot go on is ended.
#[inline(always)]
fn usable(seen: &Seen, entry: *mut Translation) -> Option<Known<'static>> {
    let heard = &seen.heard;
    let stamp = flows::stamp(entry);
    // SAFETY: the entry lies in a map.
    let client = unsafe { (*entry).client };
    let told = stamp.heard(Side::Client, heard.segment.event(), heard.now);
    let news = heard.segment.opens() || client != heard.client || told != stamp;
    if (news || stamp.is_claimed()) && !flows::confirm(seen, entry) {
        return None;
    }
    let known = backend_of(seen, entry);
    if known.is_none() {
        flows::end(&seen.key, entry);
    }
    known
}

/// The backend of a flow, alive, wherever its member lies now: the flow is told.
#[inline(always)]
fn backend_of(seen: &Seen, entry: *mut Translation) -> Option<Known<'static>> {
    // SAFETY: the entry lies in a map.
    let flow = unsafe { &*entry };
    let (id, member) = select::backend_of(&Maps, flow, seen.protocol())?;
    if id != flow.member {
        flows::follow(&seen.key, entry, id);
    }
    Some((entry, id, member))
}

/// Opens a flow. TCP begins with a SYN: anything else belongs to a connection that is over, and the kernel, which has
/// the VIP, answers it with a RST, so that the client knows.
#[inline(always)]
fn open(seen: &Seen) -> Step<()> {
    if seen.protocol() == protocol::TCP && !seen.heard.segment.opens() {
        return Err(unknown());
    }
    let index = load::choose(seen.service, seen.hash())?;
    let chosen = select::member(&Maps, seen.service, index)?;
    if chosen.next_hop.flags() & MacFlags::ALIVE == 0 {
        // It is about to leave the ring.
        return Err(Stop::Drop(DropReason::NoBackend));
    }
    if chosen.next_hop.flags() & MacFlags::NODE != 0 {
        return Err(Stop::Pass);
    }
    if chosen.member.ports == 0 {
        return Err(Stop::Drop(DropReason::Unresolved));
    }
    let opening = Opening {
        seen,
        member: chosen.member,
        id: chosen.id,
        turn: stats::turn(chosen.id),
    };
    flows::open(&opening)?;
    load::begins(chosen.id);
    news::tell(&seen.key);
    Ok(())
}

/// What becomes of a flow that is not known.
#[inline(always)]
fn unknown() -> Stop {
    if holding() {
        Stop::Drop(DropReason::NatHeld)
    } else {
        Stop::Pass
    }
}

/// Are flows that are not known held? The clock is read only while somebody wants it so.
#[inline(always)]
fn holding() -> bool {
    let word = maps::features();
    word >> feature::HOLD_UNTIL != 0 && feature::holds(word, clock::now())
}

/// May packets to an address with this decision be answers to translated flows?
#[inline(always)]
pub(crate) fn may_answer(to: Decision) -> bool {
    to.has(Decision::NAT_SOURCE) || maps::features() & feature::CLIENT_SOURCE != 0
}

/// Sends a backend's packet to its flow's client; [`Outcome::UNKNOWN`] when it is of no flow.
#[inline(always)]
pub(crate) fn answer(packet: &Packet) -> Outcome {
    Outcome::from_raw(fulcrum_answer(packet.ctx()))
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_answer(ctx: *mut xdp_md) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let packet = Packet::of(ctx);
    match NAT_REPLY.get_ptr_mut(&seen.key) {
        Some(lease) => Outcome::of(answer_known(&packet, seen, lease)).raw(),
        None if is_held(&seen.key) => {
            let held = transmit::for_this_node(&packet).and(Err(Stop::Drop(DropReason::NatHeld)));
            Outcome::of(held).raw()
        }
        None => Outcome::UNKNOWN.raw(),
    }
}

#[inline(always)]
fn answer_known(packet: &Packet, seen: &mut Seen, lease: *mut Translation) -> Step<Sent> {
    transmit::for_this_node(packet)?;
    let segment = seen.segment(packet)?;
    flows::answered(lease, segment.event(), clock::now());
    // SAFETY: the entry lies in a map.
    seen.member = unsafe { (*lease).member };
    rewrite(packet, seen, lease)?;
    // SAFETY: the entry lies in a map.
    let flow = unsafe { &*lease };
    let way = Way::new(packet, read_once(&flow.client), read_once(&flow.local), flow.interface);
    let sent = transmit::depart(packet, way)?;
    stats::answered(flow.member, seen.bytes as usize);
    Ok(sent)
}

/// May this be an answer to a flow that is still to be taken over: from a backend, to one of the ports that it sees?
#[inline(always)]
fn is_held(key: &NatKey) -> bool {
    key.protocol == u32::from(protocol::TCP)
        && holding()
        && select::backend_at(&Maps, key.source, key.ports.source, protocol::TCP)
            .and_then(|id| Maps.member(id))
            .is_some_and(|member| {
                let place = key.ports.destination.host().wrapping_sub(member.first_port);
                place < member.ports
            })
}

/// Gives a packet the addresses and ports of a translation.
#[inline(always)]
fn rewrite(packet: &Packet, seen: &Seen, entry: *mut Translation) -> Step<()> {
    // SAFETY: the entry lies in a map.
    let to = unsafe { &*entry };
    if !seen.is_later() {
        let l4 = seen.l4();
        let ports = packet.at::<Ports>(l4)?;
        let checksum = packet.at::<u16>(l4 + l4::checksum_at(seen.protocol()))?;
        // SAFETY: `at` checked both.
        unsafe {
            ports.write_unaligned(to.ports);
            let before = checksum.read_unaligned();
            checksum.write_unaligned(transport(seen.protocol(), before, to.l4_delta));
        }
    }
    let l3 = seen.l3();
    if seen.v4 != 0 {
        let ip = packet.at::<Ipv4Hdr>(l3)?;
        // SAFETY: inside the header that `at` returned.
        unsafe {
            (&raw mut (*ip).src_addr)
                .cast::<Ipv4Be>()
                .write_unaligned(to.source.last_v4());
            (&raw mut (*ip).dst_addr)
                .cast::<Ipv4Be>()
                .write_unaligned(to.destination.last_v4());
            let check = (&raw mut (*ip).check).cast::<u16>();
            check.write_unaligned(csum::apply(check.read_unaligned(), to.ip_delta));
        }
    } else {
        let ip = packet.at::<Ipv6Hdr>(l3)?;
        // SAFETY: as above.
        unsafe {
            (&raw mut (*ip).src_addr).cast::<Ipv6Be>().write_unaligned(to.source);
            (&raw mut (*ip).dst_addr)
                .cast::<Ipv6Be>()
                .write_unaligned(to.destination);
        }
    }
    Ok(())
}

/// The checksum of TCP or UDP after a change. A datagram over IPv4 may go without (RFC 768): then it goes on without.
#[inline(always)]
pub(crate) const fn transport(protocol: u8, before: u16, delta: u16) -> u16 {
    let udp = protocol == protocol::UDP;
    if udp && before == 0 {
        return 0;
    }
    let after = csum::apply(before, delta);
    if udp && after == 0 { 0xffff } else { after }
}
