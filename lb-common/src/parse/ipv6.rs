//! IPv6 (RFC 8200), with a bounded walk over extension headers.

use network_types::ip::Ipv6Hdr;

use super::{Frame, Part, field};
use crate::addr::Ipv6Be;
use crate::limits::EXTENSION_HEADERS;

/// Next headers of extension headers (RFC 7045 §3).
pub mod next {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Authentication, RFC 4302.
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
}

/// A header as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Who sends.
    pub source: Ipv6Be,
    /// To whom.
    pub destination: Ipv6Be,
    /// What follows.
    pub next: u8,
    first: u16,
    payload: u16,
}

impl Ipv6 {
    /// Bytes of the header.
    pub const LEN: usize = Ipv6Hdr::LEN;

    /// The header at `offset`.
    #[inline(always)]
    pub fn read(frame: &impl Frame, offset: usize) -> Option<Self> {
        let ip = frame.peek::<Ipv6Hdr>(offset)?;
        // SAFETY: all inside the header that `peek` returned.
        Some(unsafe {
            Self {
                source: Ipv6Be(field(&raw const (*ip).src_addr)),
                destination: Ipv6Be(field(&raw const (*ip).dst_addr)),
                next: (*ip).next_hdr,
                first: ip.cast::<u16>().read_unaligned(),
                payload: field(&raw const (*ip).payload_len),
            }
        })
    }

    /// Bytes behind the header.
    #[inline(always)]
    pub const fn payload(&self) -> usize {
        u16::from_be(self.payload) as usize
    }

    /// Traffic class: DSCP and ECN.
    #[inline(always)]
    pub const fn tos(&self) -> u8 {
        (u16::from_be(self.first) >> 4) as u8
    }

    /// Is the version possible, and does the packet, from `offset` on, fit into a frame of `length` bytes?
    #[inline(always)]
    pub const fn is_sound(&self, offset: usize, length: usize) -> bool {
        u16::from_be(self.first) >> 12 == 6 && offset + Self::LEN + self.payload() <= length
    }
}

/// Where the extension headers of a packet lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The first next header that is not one of [`next`]. Of a later fragment: what its fragment header says.
    pub protocol: u8,
    /// Offset of that header.
    pub offset: usize,
    /// Which part of its packet it is.
    pub part: Part,
}

/// A walk that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The frame ends inside an extension header.
    Truncated,
    /// There are more than [`EXTENSION_HEADERS`].
    TooMany,
}

/// Steps over extension headers, of which the first would be at `offset` and of the kind `next`. Nothing behind a later
/// fragment's own header is looked at.
///
/// # Errors
/// [`Lost`]
#[inline(always)]
pub fn walk(frame: &impl Frame, next: u8, offset: usize) -> Result<Walked, Lost> {
    let mut walked = Walked {
        protocol: next,
        offset,
        part: Part::WHOLE,
    };
    for _ in 0..EXTENSION_HEADERS {
        let bytes = match walked.protocol {
            next::HOP_BY_HOP | next::ROUTING | next::DESTINATION => {
                let [_, length] = header(frame, walked.offset)?;
                8 + length as usize * 8
            }
            next::AUTHENTICATION => {
                let [_, length] = header(frame, walked.offset)?;
                8 + length as usize * 4
            }
            next::FRAGMENT => {
                walked.part = part(frame, walked.offset)?;
                8
            }
            _ => return Ok(walked),
        };
        let [protocol, _] = header(frame, walked.offset)?;
        walked.protocol = protocol;
        walked.offset += bytes;
        if walked.part.is_later() {
            return Ok(walked);
        }
    }
    match walked.protocol {
        next::HOP_BY_HOP | next::ROUTING | next::DESTINATION | next::AUTHENTICATION | next::FRAGMENT => {
            Err(Lost::TooMany)
        }
        _ => Ok(walked),
    }
}

/// Next header and length of the extension header at `offset`.
#[inline(always)]
fn header(frame: &impl Frame, offset: usize) -> Result<[u8; 2], Lost> {
    let word = frame.read::<u16>(offset).ok_or(Lost::Truncated)?;
    Ok(word.to_ne_bytes())
}

/// What the fragment header at `offset` says (RFC 8200 §4.5). One that is all of its packet is an atomic fragment (RFC
/// 6946), which is as good as whole.
#[inline(always)]
fn part(frame: &impl Frame, offset: usize) -> Result<Part, Lost> {
    const MORE: u16 = 1;
    const OFFSET: u16 = !7;
    let word = frame.read::<u64>(offset).ok_or(Lost::Truncated)?;
    let [_, _, a, b, ..] = word.to_ne_bytes();
    let (place, id) = (u16::from_be_bytes([a, b]), (word >> 32) as u32);
    Ok(if place & OFFSET != 0 {
        Part::later(id)
    } else if place & MORE != 0 {
        Part::first(id)
    } else {
        Part::WHOLE
    })
}
