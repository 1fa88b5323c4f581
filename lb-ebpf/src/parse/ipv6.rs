//! IPv6 (RFC 8200), without extension headers.

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::flow::{FlowV6, Ports};
use lb_common::select::find_v6;
use lb_common::service::protocol;
use lb_common::stats::DropReason;
use network_types::ip::Ipv6Hdr;

use super::{Headers, L3, l4};
use crate::config::hash_seed;
use crate::forward::nat;
use crate::icmp;
use crate::maps::Maps;
use crate::packet::{Packet, load};
use crate::service::{serve, unwanted};
use crate::transmit;
use crate::verdict::{Sent, Step, Stop};

/// Next header of the fragment header, RFC 8200 §4.5.
const FRAGMENT: u8 = 44;

/// Offset of what follows the fixed header.
const L4: usize = L3 + Ipv6Hdr::LEN;

#[inline(always)]
pub(crate) fn ingress(packet: &Packet<'_>) -> Step<Sent> {
    let ip = packet.at::<Ipv6Hdr>(L3)?;
    // SAFETY: all inside the header that `at` returned.
    let (version, next, payload, source, destination) = unsafe {
        (
            (*ip).vcf[0] >> 4,
            (*ip).next_hdr,
            u16::from_be(load(&raw const (*ip).payload_len)) as usize,
            Ipv6Be(load(&raw const (*ip).src_addr)),
            Ipv6Be(load(&raw const (*ip).dst_addr)),
        )
    };
    let sound = version == 6 && L4 + payload <= packet.len();

    let ports = match packet.peek::<Ports>(L4) {
        // SAFETY: `peek` checked it.
        Some(ports) if l4::has_ports(next) => Some(unsafe { ports.read_unaligned() }),
        _ => None,
    };
    let flow = |ports| FlowV6 {
        source,
        destination,
        ports,
        protocol: next,
    };
    let headers = Headers {
        v4: false,
        protocol: next,
        l4: L4,
    };
    if let Some(ports) = ports {
        let service = find_v6(&Maps, destination, ports.destination, next);
        if service.is_service() {
            if !sound {
                return Err(Stop::Drop(DropReason::MalformedIpv6));
            }
            let segment = l4::check(packet, next, L4, payload)?;
            let flow = flow(ports);
            return serve(packet, service, flow.hash(hash_seed()), flow, &headers, &segment);
        }
    }

    let vip = find_v6(&Maps, destination, PortBe(0), protocol::ANY);
    if let Some(ports) = ports
        && sound
        && nat::may_answer(vip)
        && let Some(sent) = nat::answer(packet, flow(ports), &headers, payload)?
    {
        return Ok(sent);
    }
    if !vip.is_vip() {
        return Err(Stop::Pass);
    }
    let eth = transmit::for_this_node(packet)?;
    Err(if !sound {
        unwanted(vip, DropReason::MalformedIpv6)
    } else if next == FRAGMENT {
        unwanted(vip, DropReason::Fragment)
    } else if next == protocol::ICMPV6 {
        let message = icmp::Message {
            at: L4,
            length: payload,
        };
        return icmp::echo_v6(packet, vip, eth, ip, &message);
    } else if l4::has_ports(next) && packet.peek::<Ports>(L4).is_none() {
        unwanted(vip, DropReason::Truncated)
    } else {
        unwanted(vip, DropReason::Undeclared)
    })
}
