//! IPv4 (RFC 791). Options are stepped over, fragments are not followed.

use lb_common::addr::{Ipv4Be, PortBe};
use lb_common::flow::{FlowV4, Ports};
use lb_common::select::find_v4;
use lb_common::service::protocol;
use lb_common::stats::DropReason;
use network_types::ip::Ipv4Hdr;

use super::{Headers, L3, l4};
use crate::config::hash_seed;
use crate::forward::nat;
use crate::icmp;
use crate::maps::Maps;
use crate::packet::{Packet, load};
use crate::service::{serve, unwanted};
use crate::transmit;
use crate::verdict::{Sent, Step, Stop};

/// More fragments, or an offset: all but "don't fragment" and the reserved bit.
const FRAGMENT: u16 = 0x3fff_u16.to_be();

/// Bytes of an IPv4 header without options.
const SHORTEST: usize = Ipv4Hdr::LEN;

#[inline(always)]
pub(crate) fn ingress(packet: &Packet<'_>) -> Step<Sent> {
    let ip = packet.at::<Ipv4Hdr>(L3)?;
    // SAFETY: all inside the header that `at` returned.
    let (version_and_length, protocol, fragment, total, source, destination) = unsafe {
        (
            (*ip).vihl,
            (*ip).proto,
            load::<u16, _>(&raw const (*ip).frags) & FRAGMENT != 0,
            u16::from_be(load(&raw const (*ip).tot_len)) as usize,
            Ipv4Be(load(&raw const (*ip).src_addr)),
            Ipv4Be(load(&raw const (*ip).dst_addr)),
        )
    };
    let header = (version_and_length & 0xf) as usize * 4;
    let sound = version_and_length >> 4 == 4 && header >= SHORTEST;
    let fits = total >= header && L3 + total <= packet.len();
    let l4 = L3 + header;

    let ports = match packet.peek::<Ports>(l4) {
        // SAFETY: `peek` checked it.
        Some(ports) if sound && !fragment && l4::has_ports(protocol) => Some(unsafe { ports.read_unaligned() }),
        _ => None,
    };
    let flow = |ports| FlowV4 {
        source,
        destination,
        ports,
        protocol,
    };
    let headers = Headers { v4: true, protocol, l4 };
    if let Some(ports) = ports {
        let service = find_v4(&Maps, destination, ports.destination, protocol);
        if service.is_service() {
            if !fits {
                return Err(Stop::Drop(DropReason::MalformedIpv4));
            }
            let segment = l4::check(packet, protocol, l4, total - header)?;
            let flow = flow(ports);
            return serve(packet, service, flow.hash(hash_seed()), flow, &headers, &segment);
        }
    }

    let vip = find_v4(&Maps, destination, PortBe(0), protocol::ANY);
    if let Some(ports) = ports
        && fits
        && nat::may_answer(vip)
        && let Some(sent) = nat::answer(packet, flow(ports), &headers, total - header)?
    {
        return Ok(sent);
    }
    if !vip.is_vip() {
        return Err(Stop::Pass);
    }
    let eth = transmit::for_this_node(packet)?;
    Err(if !sound || !fits {
        unwanted(vip, DropReason::MalformedIpv4)
    } else if fragment {
        unwanted(vip, DropReason::Fragment)
    } else if protocol == protocol::ICMP {
        let message = icmp::Message {
            at: l4,
            length: total - header,
        };
        return icmp::echo_v4(packet, vip, eth, ip, &message);
    } else if l4::has_ports(protocol) && packet.peek::<Ports>(l4).is_none() {
        unwanted(vip, DropReason::Truncated)
    } else {
        unwanted(vip, DropReason::Undeclared)
    })
}
