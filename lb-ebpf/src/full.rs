//! Every packet that [`crate::fast`] does not decide: with VLAN tags, options, extension headers; fragments and packets in
//! pieces; to blocks of ports, to `nat` and from its backends; ICMP; and what is wanted by nobody.
//!
//! A program of its own, which the first one calls in its tail and which begins anew with the packet: so it has all of the
//! stack, and the verifier looks at each by itself. What it finds out about a packet is one [`Seen`], and what happens then is in functions that
//! get it.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use lb_common::addr::Ipv6Be;
use lb_common::flow::Ports;
use lb_common::id::MemberId;
use lb_common::parse::{Ethernet, Frame as _, Ipv4, Ipv6, ether_type, l4};
use lb_common::service::{Decision, Mode};
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::find::find;
use crate::forward::{self, nat};
use crate::fragments;
use crate::icmp;
use crate::layers::{Layers, NO_FAULT, extensions};
use crate::packet::Packet;
use crate::protect;
use crate::report::report;
use crate::seen::Seen;
use crate::transmit;
use crate::verdict::{Outcome, Step, Stop};

/// What becomes of a packet; [`Outcome::COOKIE`] is for [`protect::cookie`] to decide.
#[inline(always)]
pub(crate) fn outcome(packet: &Packet) -> Outcome {
    Outcome::come_to(ingress(packet))
}

/// The program's return value, and the code of the reason why the packet is dropped, or 0.
#[inline(always)]
pub(crate) fn settled(packet: &Packet, outcome: Outcome) -> (u32, u32) {
    match outcome.action() {
        Ok(action) => (action, 0),
        Err(reason) => {
            if reason == DropReason::Inconsistent as u32 {
                report();
            }
            let action = transmit::refuse(&Packet::of(packet.ctx()), reason);
            (action, if action == xdp_action::XDP_DROP { reason } else { 0 })
        }
    }
}

/// What becomes of a packet.
#[inline(always)]
fn ingress(packet: &Packet) -> Step<Outcome> {
    let truncated = Stop::Drop(DropReason::Truncated);
    let Some(Ethernet { ether_type, l3 }) = Ethernet::read(packet) else {
        return Err(truncated);
    };
    let seen = Seen::of_this_cpu()?;
    // What is not set here is set before it is read. To write all of it at once, LLVM calls for a loop over bytes.
    seen.key.ports = Ports::default();
    seen.key.protocol = 0;
    seen.bytes = packet.whole() as u32;
    seen.tags = (l3 - EthHdr::LEN) as u8;
    seen.v4 = 0;
    seen.part = 0;
    seen.mentions = 0;
    seen.member = MemberId::NONE;
    match ether_type {
        ether_type::IPV4 => {
            let Some(ip) = Ipv4::read(packet, seen.l3()) else {
                return Err(truncated);
            };
            seen.v4 = 1;
            seen.key.source = Ipv6Be::mapped_v4(ip.source);
            seen.key.destination = Ipv6Be::mapped_v4(ip.destination);
            seen.tos = ip.tos;
            seen.total = ip.total() as u32;
            let sound = ip.is_sound() && ip.fits(seen.l3(), seen.bytes as usize);
            let layers = Layers {
                protocol: ip.protocol,
                l4: (seen.l3() + ip.header()) as u32,
                part: ip.part(),
                fault: if sound {
                    NO_FAULT
                } else {
                    DropReason::MalformedIpv4 as u32
                },
            };
            decide(packet, seen, layers)
        }
        ether_type::IPV6 => {
            let Some(ip) = Ipv6::read(packet, seen.l3()) else {
                return Err(truncated);
            };
            seen.key.source = ip.source;
            seen.key.destination = ip.destination;
            seen.tos = ip.tos();
            seen.total = (Ipv6::LEN + ip.payload()) as u32;
            let l4 = (seen.l3() + Ipv6::LEN) as u32;
            let mut layers = if l4::has_ports(ip.next) {
                Layers::direct(ip.next, l4)
            } else {
                extensions(packet, ip.next, l4)
            };
            // A header may say to be longer than the packet.
            let end = seen.l3() as u32 + seen.total;
            if !ip.is_sound(seen.l3(), seen.bytes as usize) || layers.fault == NO_FAULT && layers.l4 > end {
                layers.fault = DropReason::MalformedIpv6 as u32;
            }
            decide(packet, seen, layers)
        }
        _ => Err(Stop::Pass),
    }
}

#[inline(always)]
fn decide(packet: &Packet, seen: &'static mut Seen, layers: Layers) -> Step<Outcome> {
    let Layers { protocol, l4, part, .. } = layers;
    let mut fault = layers.fault;
    if fault == NO_FAULT {
        seen.key.protocol = protocol.into();
        seen.l4 = l4 as u16;
        seen.part = part.kind() as u8;
        if l4::has_ports(protocol) {
            let ports = if part.is_later() {
                fault = DropReason::Fragment as u32;
                fragments::recall(part.id)
            } else {
                fault = DropReason::Truncated as u32;
                packet.read::<Ports>(seen.l4())
            };
            if let Some(ports) = ports {
                seen.key.ports = ports;
                fault = NO_FAULT;
            }
        }
    }
    let seen = find(seen)?;
    // What is nobody's is judged by nobody.
    if !seen.service.is_service() && !seen.address.exists() && !nat::may_answer(seen.address) {
        return Err(Stop::Pass);
    }
    if fault != NO_FAULT {
        transmit::for_this_node(packet)?;
        return Ok(judged(seen.address, fault));
    }
    let has_ports = l4::has_ports(protocol);
    // What is for a service, and ICMP to a VIP that is Fulcrum's.
    if seen.service.is_service() || !has_ports && seen.address.is_vip() && seen.address.has(Decision::ECHO) {
        let admitted = protect::judged(packet, seen);
        if admitted.raw() != Outcome::UNKNOWN.raw() {
            return Ok(admitted);
        }
    }
    if !has_ports {
        let outcome = icmp::message(packet);
        return Ok(if outcome.raw() == Outcome::FORWARD.raw() {
            forward(packet)
        } else {
            outcome
        });
    }
    if part.is_first() {
        fragments::teach(part.id);
    }
    match seen.service.mode() {
        Some(Mode::Nat) => Ok(nat::send(packet)),
        Some(Mode::Dsr | Mode::Tunnel) => Ok(forward(packet)),
        Some(Mode::Proxy) => Ok(Outcome::PASS),
        _ => {
            if nat::may_answer(seen.address) {
                let answered = nat::answer(packet);
                if answered.raw() != Outcome::UNKNOWN.raw() {
                    return Ok(answered);
                }
            }
            if !seen.address.is_vip() {
                return Err(Stop::Pass);
            }
            transmit::for_this_node(packet)?;
            if seen.address.has(Decision::DROP_UNDECLARED) {
                let admitted = protect::judged(packet, seen);
                if admitted.raw() != Outcome::UNKNOWN.raw() {
                    return Ok(admitted);
                }
            }
            Err(unwanted(seen.address, DropReason::Undeclared))
        }
    }
}

/// To a member that answers the client itself.
#[inline(always)]
fn forward(packet: &Packet) -> Outcome {
    Outcome::from_raw(fulcrum_forward(packet.ctx()))
}

/// A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_forward(ctx: *mut xdp_md) -> u32 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let packet = Packet::of(ctx);
    let sent = seen.segment(&packet).and_then(|segment| {
        forward::direct(
            packet,
            &seen.inner(),
            seen.service,
            seen.hash(),
            seen.key,
            segment,
            seen.bytes as usize,
            |id| seen.member = id,
        )
    });
    match sent {
        // Nobody is told of what only belongs to something else (RFC 1122 §3.2.2).
        Err(Stop::TooBig(mtu)) if seen.mentions == 0 && !seen.is_later() => icmp::too_big(ctx, mtu),
        sent => Outcome::of(sent).raw(),
    }
}

/// What becomes of a packet for an address that no service wants: dropped for `reason`, or left to the kernel.
#[inline(always)]
pub(crate) fn unwanted(address: Decision, reason: DropReason) -> Stop {
    if address.has(Decision::DROP_UNDECLARED) && address.is_vip() {
        Stop::Drop(reason)
    } else {
        Stop::Pass
    }
}

/// The same for a reason's code.
#[inline(always)]
fn judged(address: Decision, code: u32) -> Outcome {
    if address.has(Decision::DROP_UNDECLARED) && address.is_vip() {
        Outcome::dropped(code)
    } else {
        Outcome::of(Err(Stop::Pass))
    }
}
