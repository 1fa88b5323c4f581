//! Network address translation: the backend sees the node, or the client at another address, as its peer, and answers
//! through the node. Source and destination are rewritten in both directions, checksums updated by a difference that is
//! the flow's own (RFC 1624).

use core::ptr;

use lb_common::addr::{Ipv4Be, Ipv6Be};
use lb_common::backend::{MacFlags, Member};
use lb_common::csum;
use lb_common::flow::Ports;
use lb_common::id::MemberId;
use lb_common::nat::{NatKey, Side, Translation};
use lb_common::select::{self, Tables as _, read_once};
use lb_common::service::{Decision, feature, protocol};
use lb_common::stats::DropReason;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::flows::{self, Heard, Opening};
use crate::maps::{self, Maps, NAT, NAT_REPLY};
use crate::packet::{Packet, load};
use crate::parse::l4::{self, Segment};
use crate::parse::{Headers, L3};
use crate::stats;
use crate::transmit;
use crate::verdict::{Sent, Step, Stop};

/// Sends a client's packet to its flow's backend; a flow that is not known is opened.
#[inline(always)]
pub(crate) fn send(
    packet: &Packet<'_>,
    service: Decision,
    hash: u64,
    flow: impl Into<NatKey>,
    headers: &Headers,
    segment: &Segment,
) -> Step<Sent> {
    let heard = heard(packet, flow, segment)?;
    let mut opened = false;
    let known = NAT
        .get_ptr_mut(&heard.key)
        .and_then(|entry| usable(&heard, headers, entry));
    let (entry, id, member) = match known {
        Some(known) => known,
        None => {
            open(service, hash, headers, &heard)?;
            opened = true;
            let entry = NAT.get_ptr_mut(&heard.key).ok_or(Stop::Drop(DropReason::NatTable))?;
            backend_of(&heard, headers, entry).ok_or(Stop::Drop(DropReason::NoBackend))?
        }
    };
    let next_hop = read_once(&member.next_hop);
    if next_hop.flags() & MacFlags::RESOLVED == 0 {
        return Err(Stop::Drop(DropReason::Unresolved));
    }
    let bytes = packet.len();
    rewrite(packet, headers, entry)?;
    let sent = transmit::depart(packet, next_hop, read_once(&member.local), member.interface)?;
    stats::forwarded(id, bytes, opened);
    Ok(sent)
}

/// What is to be known of a client's packet, if it was sent to this node.
#[inline(always)]
fn heard(packet: &Packet<'_>, flow: impl Into<NatKey>, segment: &Segment) -> Step<Heard> {
    let eth = transmit::for_this_node(packet)?;
    // SAFETY: inside the header that `for_this_node` returned.
    let (local, client) = unsafe { (load(&raw const (*eth).dst_addr), load(&raw const (*eth).src_addr)) };
    Ok(Heard {
        key: flow.into(),
        client: MacFlags::new(client, 0),
        local: MacFlags::new(local, 0),
        interface: packet.interface(),
        now: flows::now(),
        opens: segment.opens,
        event: segment.event,
    })
}

type Known<'a> = (*mut Translation, MemberId, &'a Member);

/// The entry of a flow with its backend, if both are there to go on with. A flow that cannot go on is ended.
#[inline(always)]
fn usable(heard: &Heard, headers: &Headers, entry: *mut Translation) -> Option<Known<'static>> {
    let stamp = flows::stamp(entry);
    // SAFETY: the entry lies in a map.
    let client = unsafe { (*entry).client };
    let news = heard.opens || client != heard.client || stamp.heard(Side::Client, heard.event, heard.now) != stamp;
    if (news || stamp.is_claimed()) && !flows::confirm(heard, entry) {
        return None;
    }
    let known = backend_of(heard, headers, entry);
    if known.is_none() {
        flows::end(&heard.key, entry);
    }
    known
}

/// The backend of a flow, alive, wherever its member lies now: the flow is told.
#[inline(always)]
fn backend_of(heard: &Heard, headers: &Headers, entry: *mut Translation) -> Option<Known<'static>> {
    // SAFETY: the entry lies in a map.
    let flow = unsafe { &*entry };
    let (id, member) = select::backend_of(&Maps, flow, headers.protocol)?;
    if id != flow.member {
        flows::follow(&heard.key, entry, id);
    }
    Some((entry, id, member))
}

/// Opens a flow. TCP begins with a SYN: anything else belongs to a connection that is over, and the kernel, which has
/// the VIP, answers it with a RST, so that the client knows.
#[inline(always)]
fn open(service: Decision, hash: u64, headers: &Headers, heard: &Heard) -> Step<()> {
    if headers.protocol == protocol::TCP && !heard.opens {
        return Err(unknown());
    }
    let slot = select::slot(&Maps, service, hash)?;
    let chosen = select::member(&Maps, service, slot)?;
    if chosen.next_hop.flags() & MacFlags::ALIVE == 0 {
        // It is about to leave the ring.
        return Err(Stop::Drop(DropReason::NoBackend));
    }
    if chosen.member.ports == 0 {
        return Err(Stop::Drop(DropReason::Unresolved));
    }
    let opening = Opening {
        heard,
        member: chosen.member,
        id: chosen.id,
        turn: stats::turn(chosen.id),
    };
    Ok(flows::open(&opening)?)
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
    word >> feature::HOLD_UNTIL != 0 && feature::holds(word, flows::now())
}

/// May packets to an address with this decision be answers to translated flows?
#[inline(always)]
pub(crate) fn may_answer(to: Decision) -> bool {
    to.has(Decision::NAT_SOURCE) || maps::features() & feature::CLIENT_SOURCE != 0
}

/// Sends a backend's packet to its flow's client; `None` when it is of no flow. `length` is that of TCP or UDP.
#[inline(always)]
pub(crate) fn answer(
    packet: &Packet<'_>,
    flow: impl Into<NatKey>,
    headers: &Headers,
    length: usize,
) -> Step<Option<Sent>> {
    let key = flow.into();
    let Some(lease) = NAT_REPLY.get_ptr_mut(&key) else {
        return if is_held(headers, &key) {
            transmit::for_this_node(packet)?;
            Err(Stop::Drop(DropReason::NatHeld))
        } else {
            Ok(None)
        };
    };
    transmit::for_this_node(packet)?;
    let segment = l4::check(packet, headers.protocol, headers.l4, length)?;
    flows::answered(lease, segment.event, flows::now());
    let bytes = packet.len();
    rewrite(packet, headers, lease)?;
    // SAFETY: the entry lies in a map.
    let flow = unsafe { &*lease };
    let sent = transmit::depart(packet, read_once(&flow.client), read_once(&flow.local), flow.interface)?;
    stats::answered(flow.member, bytes);
    Ok(Some(sent))
}

/// May this be an answer to a flow that is still to be taken over: from a backend, to one of the ports that it sees?
#[inline(always)]
fn is_held(headers: &Headers, key: &NatKey) -> bool {
    headers.protocol == protocol::TCP
        && holding()
        && select::backend_at(&Maps, key.source, key.ports.source, headers.protocol)
            .and_then(|id| Maps.member(id))
            .is_some_and(|member| {
                let place = key.ports.destination.host().wrapping_sub(member.first_port);
                place < member.ports
            })
}

/// Gives a packet the addresses and ports of a translation.
#[inline(always)]
fn rewrite(packet: &Packet<'_>, headers: &Headers, entry: *mut Translation) -> Step<()> {
    // SAFETY: the entry lies in a map.
    let to = unsafe { &*entry };
    let ports = packet.at::<Ports>(headers.l4)?;
    let checksum = packet.at::<u16>(headers.l4 + l4::checksum_at(headers.protocol))?;
    if headers.v4 {
        let ip = packet.at::<Ipv4Hdr>(L3)?;
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
        let ip = packet.at::<Ipv6Hdr>(L3)?;
        // SAFETY: as above.
        unsafe {
            (&raw mut (*ip).src_addr).cast::<Ipv6Be>().write_unaligned(to.source);
            (&raw mut (*ip).dst_addr)
                .cast::<Ipv6Be>()
                .write_unaligned(to.destination);
        }
    }
    // SAFETY: `at` checked both.
    unsafe {
        ptr::write_unaligned(ports, to.ports);
        let before = checksum.read_unaligned();
        let udp = headers.protocol == protocol::UDP;
        // A datagram over IPv4 may go without (RFC 768): then it goes on without.
        if !(udp && before == 0) {
            let after = csum::apply(before, to.l4_delta);
            checksum.write_unaligned(if udp && after == 0 { 0xffff } else { after });
        }
    }
    Ok(())
}
