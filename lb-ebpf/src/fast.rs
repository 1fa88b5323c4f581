//! The short way, for what nearly every packet is: untagged, whole, without options or extension headers, to a service on
//! a port of its own, whose backend answers the client itself, or that is the proxy's. Everything else that concerns a VIP
//! is for [`crate::full`].
//!
//! All offsets are constants here, so the verifier and the processor have little to do.

use lb_common::flow::{FlowV4, FlowV6, Ports};
use lb_common::parse::{Frame as _, Ipv4, Ipv6, Segment, ether_type, l4};
use lb_common::protect::policy;
use lb_common::select::Tuple;
use lb_common::service::feature;
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::config::hash_key;
use crate::forward::{self, Inner};
use crate::maps::{self, Maps};
use crate::packet::Packet;
use crate::protect::{self, Sender};
use crate::verdict::{Sent, Step, Stop};

/// Offset of the network header.
const L3: usize = EthHdr::LEN;

/// What becomes of a packet.
#[inline(always)]
pub(crate) fn ingress<const PROTECTS: bool>(packet: Packet) -> Step<Sent> {
    let truncated = Stop::Drop(DropReason::Truncated);
    match packet.read::<u16>(L3 - 2) {
        Some(ether_type::IPV4) => {
            let Some(ip) = Ipv4::read(&packet, L3) else {
                return Err(truncated);
            };
            if !ip.is_plain() {
                return Err(Stop::More);
            }
            let inner = Inner {
                v4: true,
                tags: 0,
                total: ip.total(),
                tos: ip.tos,
            };
            let flow = |ports| FlowV4 {
                source: ip.source,
                destination: ip.destination,
                ports,
                protocol: ip.protocol,
            };
            let sound = |packet: &Packet| ip.fits(L3, packet.len());
            plain::<_, PROTECTS>(packet, flow, ip.protocol, L3 + Ipv4::SHORTEST, &inner, sound)
        }
        Some(ether_type::IPV6) => {
            let Some(ip) = Ipv6::read(&packet, L3) else {
                return Err(truncated);
            };
            let inner = Inner {
                v4: false,
                tags: 0,
                total: Ipv6::LEN + ip.payload(),
                tos: ip.tos(),
            };
            let flow = |ports| FlowV6 {
                source: ip.source,
                destination: ip.destination,
                ports,
                protocol: ip.next,
            };
            let sound = |packet: &Packet| ip.is_sound(L3, packet.len());
            plain::<_, PROTECTS>(packet, flow, ip.next, L3 + Ipv6::LEN, &inner, sound)
        }
        Some(ether_type::VLAN | ether_type::PROVIDER) => Err(Stop::More),
        Some(_) => Err(Stop::Pass),
        None => Err(truncated),
    }
}

/// A packet whose ports, if it has any, are at `at`. One that is not `sound` is malformed, or in pieces.
#[inline(always)]
fn plain<F: Tuple, const PROTECTS: bool>(
    packet: Packet,
    flow: impl Fn(Ports) -> F,
    protocol: u8,
    at: usize,
    inner: &Inner,
    sound: impl Fn(&Packet) -> bool,
) -> Step<Sent> {
    let ports = if l4::has_ports(protocol) {
        packet.read::<Ports>(at)
    } else {
        None
    };
    let Some(ports) = ports else {
        return other(&flow(Ports::default()));
    };
    let flow = flow(ports);
    let service = flow.service(&Maps);
    let is_judged = PROTECTS && service.is_proxy();
    if !service.is_direct() && !is_judged {
        if service.is_service() {
            let passes = service.is_proxy() && sound(&packet);
            return Err(if passes { Stop::Pass } else { Stop::More });
        }
        return other(&flow);
    }
    if !sound(&packet) {
        return Err(Stop::More);
    }
    let bytes = packet.len();
    let segment = Segment::read(&packet, protocol, at, inner.total - (at - L3))?;
    if PROTECTS && let Some(sheet) = protect::current() {
        let key = flow.into();
        let flags = protect::service::<false>(sheet, &packet, service, &Sender::of(inner.v4, &key), segment)?;
        if flags & policy::COOKIES != 0 {
            return Err(protect::cookie::plain(&packet, service, &key, inner, at));
        }
    }
    if is_judged {
        return Err(Stop::Pass);
    }
    let hash = flow.hash_for(service.choice(), hash_key());
    forward::direct(packet, inner, service, hash, flow, segment, bytes, |_| {})
}

/// A packet for no service on a port of its own: is it for an address that anything is known of?
#[inline(always)]
fn other<F: Tuple>(flow: &F) -> Step<Sent> {
    if flow.address(&Maps).exists() || maps::features() & feature::CLIENT_SOURCE != 0 {
        return Err(Stop::More);
    }
    Err(Stop::Pass)
}
