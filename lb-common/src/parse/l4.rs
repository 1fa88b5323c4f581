//! TCP (RFC 9293 §3.1) and UDP (RFC 768): only what a balancer must know, and what no receiver would accept.

use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use super::{Frame, field};
use crate::nat::Event;
use crate::service::protocol;
use crate::slot::{Packet, Said};
use crate::stats::DropReason;

/// Offset of the byte that holds the flags of a TCP header.
const FLAGS: usize = 13;
const FIN: u32 = 0x01;
const SYN: u32 = 0x02;
const RST: u32 = 0x04;
const ACK: u32 = 0x10;

/// What is known of a sound TCP segment or UDP datagram, or of a packet that only mentions a flow. Two words, since the
/// program may have to keep it on its stack, where LLVM merges what is smaller into accesses that the verifier refuses.
///
/// | bits of `bits` | meaning |
/// | --- | --- |
/// | 0 to 7 | TCP: the flags |
/// | 8 | there is something behind the header |
/// | 9 | UDP |
/// | 10 | a mention |
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// See above.
    pub bits: u32,
    /// TCP: the sequence number, in host order.
    pub number: u32,
}

impl Segment {
    const DATA: u32 = 1 << 8;
    const UDP: u32 = 1 << 9;

    /// A fragment without a header, or an ICMP error.
    pub const MENTION: Self = Self {
        bits: 1 << 10,
        number: 0,
    };

    /// Reads and checks the header at `offset`, whose packet says that it has `length` bytes from there on.
    ///
    /// # Errors
    /// The reason to drop the packet for.
    #[inline(always)]
    pub fn read(frame: &impl Frame, protocol: u8, offset: usize, length: usize) -> Result<Self, DropReason> {
        if protocol == protocol::TCP {
            let tcp = frame.peek::<TcpHdr>(offset).ok_or(DropReason::Truncated)?;
            let bytes = tcp.cast::<u8>();
            // SAFETY: `peek` checked 20 bytes.
            let (data_offset, flags, number) = unsafe {
                (
                    (*bytes.add(FLAGS - 1) >> 4) as usize * 4,
                    *bytes.add(FLAGS),
                    u32::from_be(field(&raw const (*tcp).seq)),
                )
            };
            if data_offset < TcpHdr::LEN || data_offset > length {
                return Err(DropReason::MalformedTcp);
            }
            let data = if length > data_offset { Self::DATA } else { 0 };
            Ok(Self {
                bits: flags as u32 | data,
                number,
            })
        } else {
            let udp = frame.peek::<UdpHdr>(offset).ok_or(DropReason::Truncated)?;
            // SAFETY: `peek` checked 8 bytes.
            let said = u16::from_be(unsafe { field(&raw const (*udp).len) }) as usize;
            if said < UdpHdr::LEN || said > length {
                return Err(DropReason::MalformedUdp);
            }
            Ok(Self {
                bits: Self::UDP | Self::DATA,
                number: 0,
            })
        }
    }

    /// TCP with SYN and without ACK: the client opens a connection.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.bits & (SYN | ACK) == SYN
    }

    /// TCP with flags that no sender means: both opening and ending, or neither of it and without an acknowledgement, which
    /// every other segment carries (RFC 9293 §3.10.7).
    #[inline(always)]
    #[must_use]
    pub const fn is_impossible(self) -> bool {
        if self.bits & (Self::UDP | Self::MENTION.bits) != 0 {
            return false;
        }
        let opens_and_ends = self.bits & SYN != 0 && self.bits & (FIN | RST) != 0;
        opens_and_ends || self.bits & (SYN | RST | ACK) == 0
    }

    /// TCP with ACK and without SYN or RST: of a connection that is open, or opens with it.
    #[inline(always)]
    #[must_use]
    pub const fn acknowledges(self) -> bool {
        self.bits & (SYN | RST | ACK) == ACK
    }

    /// What it says about a flow of `nat`.
    #[inline(always)]
    #[must_use]
    pub const fn event(self) -> Event {
        if self.bits & RST != 0 {
            Event::RESETS
        } else if self.opens() {
            Event::OPENS
        } else if self.bits & FIN != 0 {
            Event::FINISHES
        } else {
            Event::DATA
        }
    }

    /// What it is to a slot.
    #[inline(always)]
    #[must_use]
    pub const fn packet(self) -> Packet {
        if self.bits & Self::MENTION.bits != 0 {
            Packet::Mention
        } else if self.bits & Self::UDP != 0 {
            Packet::Datagram
        } else if self.bits & RST != 0 {
            Packet::Reset(self.number)
        } else if self.opens() {
            Packet::Syn(self.number)
        } else {
            Packet::Segment(self.number)
        }
    }

    /// What it says about the end of its flow.
    #[inline(always)]
    #[must_use]
    pub const fn said(self) -> Said {
        if self.bits & (FIN | RST) != 0 {
            Said::Ends
        } else if self.bits & Self::DATA != 0 || self.opens() {
            Said::Sends
        } else {
            Said::Nothing
        }
    }
}

/// Where TCP and UDP keep their checksums.
#[inline(always)]
#[must_use]
pub const fn checksum_at(protocol: u8) -> usize {
    if protocol == protocol::TCP { 16 } else { 6 }
}

/// Bytes of the shortest header.
#[inline(always)]
#[must_use]
pub const fn shortest(protocol: u8) -> usize {
    if protocol == protocol::TCP {
        TcpHdr::LEN
    } else {
        UdpHdr::LEN
    }
}

/// Do headers of this protocol begin with two ports?
#[inline(always)]
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::UDP)
}
