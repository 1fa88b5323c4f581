//! From Ethernet inwards. Everything that is not for a VIP passes, first and cheapest.

pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod l4;

use network_types::eth::EthHdr;

use crate::packet::{Packet, load};
use crate::verdict::{Sent, Step, Stop};

/// Offset of the network header.
pub(crate) const L3: usize = EthHdr::LEN;

const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86dd_u16.to_be();

/// Where the headers of a sound packet lie.
#[derive(Clone, Copy)]
pub(crate) struct Headers {
    /// IPv4, and not IPv6.
    pub(crate) v4: bool,
    /// TCP or UDP.
    pub(crate) protocol: u8,
    /// Offset of its header.
    pub(crate) l4: usize,
}

/// What becomes of a packet.
#[inline(always)]
pub(crate) fn ingress(packet: &Packet<'_>) -> Step<Sent> {
    let eth = packet.at::<EthHdr>(0)?;
    // SAFETY: inside the header that `at` returned.
    match unsafe { load::<u16, _>(&raw const (*eth).ether_type) } {
        ETHERTYPE_IPV4 => ipv4::ingress(packet),
        ETHERTYPE_IPV6 => ipv6::ingress(packet),
        _ => Err(Stop::Pass),
    }
}
