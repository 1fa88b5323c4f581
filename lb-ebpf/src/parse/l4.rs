//! TCP (RFC 9293 §3.1) and UDP (RFC 768): only what a balancer must know, and what no receiver would accept.

use lb_common::nat::Event;
use lb_common::service::protocol;
use lb_common::stats::DropReason;
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::packet::{Packet, load};
use crate::verdict::{Step, Stop};

/// Offset of the byte that holds the flags of a TCP header.
const FLAGS: usize = 13;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What is known of a sound TCP segment or UDP datagram.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    /// TCP with SYN and without ACK: the client opens a connection.
    pub(crate) opens: bool,
    /// What it says about its flow.
    pub(crate) event: Event,
}

impl Segment {
    #[inline(always)]
    const fn tcp(flags: u8) -> Self {
        let opens = flags & (SYN | ACK) == SYN;
        Self {
            opens,
            event: if flags & RST != 0 {
                Event::RESETS
            } else if opens {
                Event::OPENS
            } else if flags & FIN != 0 {
                Event::FINISHES
            } else {
                Event::DATA
            },
        }
    }
}

/// Where TCP and UDP keep their checksums.
#[inline(always)]
pub(crate) const fn checksum_at(protocol: u8) -> usize {
    if protocol == protocol::TCP { 16 } else { 6 }
}

/// Do headers of this protocol begin with two ports?
#[inline(always)]
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP)
}

/// Checks the header at `offset`, whose packet says that it has `length` bytes from there on.
#[inline(always)]
pub(crate) fn check(packet: &Packet<'_>, protocol: u8, offset: usize, length: usize) -> Step<Segment> {
    if protocol == protocol::TCP {
        let tcp = packet.at::<TcpHdr>(offset)?.cast::<u8>();
        // SAFETY: `at` checked 20 bytes.
        let (data_offset, flags) = unsafe { ((*tcp.add(FLAGS - 1) >> 4) as usize * 4, *tcp.add(FLAGS)) };
        if data_offset < TcpHdr::LEN || data_offset > length {
            return Err(Stop::Drop(DropReason::MalformedTcp));
        }
        Ok(Segment::tcp(flags))
    } else {
        let udp = packet.at::<UdpHdr>(offset)?;
        // SAFETY: `at` checked 8 bytes.
        let said = u16::from_be(unsafe { load(&raw const (*udp).len) }) as usize;
        if said < UdpHdr::LEN || said > length {
            return Err(Stop::Drop(DropReason::MalformedUdp));
        }
        Ok(Segment {
            opens: false,
            event: Event::DATA,
        })
    }
}
