//! IPv4 (RFC 791). Options are stepped over.

use network_types::ip::Ipv4Hdr;

use super::{Frame, Part, field};
use crate::addr::Ipv4Be;

/// Bit of the flags that says that more fragments follow.
const MORE: u16 = 0x2000_u16.to_be();

/// Bits of a fragment's offset.
const OFFSET: u16 = 0x1fff_u16.to_be();

/// A header as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Who sends.
    pub source: Ipv4Be,
    /// To whom.
    pub destination: Ipv4Be,
    /// IP protocol number.
    pub protocol: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    version_and_length: u8,
    total: u16,
    flags_and_offset: u16,
    id: u16,
}

impl Ipv4 {
    /// Bytes of a header without options.
    pub const SHORTEST: usize = Ipv4Hdr::LEN;

    /// The header at `offset`.
    #[inline(always)]
    pub fn read(frame: &impl Frame, offset: usize) -> Option<Self> {
        let ip = frame.peek::<Ipv4Hdr>(offset)?;
        // SAFETY: all inside the header that `peek` returned.
        Some(unsafe {
            Self {
                source: Ipv4Be(field(&raw const (*ip).src_addr)),
                destination: Ipv4Be(field(&raw const (*ip).dst_addr)),
                protocol: (*ip).proto,
                tos: (*ip).tos,
                version_and_length: (*ip).vihl,
                total: field(&raw const (*ip).tot_len),
                flags_and_offset: field(&raw const (*ip).frags),
                id: field(&raw const (*ip).id),
            }
        })
    }

    /// Bytes of the header.
    #[inline(always)]
    pub const fn header(&self) -> usize {
        (self.version_and_length & 0xf) as usize * 4
    }

    /// Bytes of the packet, its header included.
    #[inline(always)]
    pub const fn total(&self) -> usize {
        u16::from_be(self.total) as usize
    }

    /// Has the header no options, and is the packet whole?
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        self.version_and_length == 0x45 && self.flags_and_offset & (MORE | OFFSET) == 0
    }

    /// Version and length of the header are possible.
    #[inline(always)]
    pub const fn is_sound(&self) -> bool {
        self.version_and_length >> 4 == 4 && self.header() >= Self::SHORTEST
    }

    /// Does the packet, from `offset` on, fit into a frame of `length` bytes?
    #[inline(always)]
    pub const fn fits(&self, offset: usize, length: usize) -> bool {
        self.total() >= self.header() && offset + self.total() <= length
    }

    /// Which part of its packet it is.
    #[inline(always)]
    pub const fn part(&self) -> Part {
        if self.flags_and_offset & OFFSET != 0 {
            Part::later(self.id as u32)
        } else if self.flags_and_offset & MORE != 0 {
            Part::first(self.id as u32)
        } else {
            Part::WHOLE
        }
    }
}
