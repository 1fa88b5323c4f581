//! From bytes to headers, over whatever holds the bytes: the packet of the running program, or a slice of a test.
//!
//! Nothing is believed before it is bounds-checked, and nothing is judged here that the caller may not want judged: a
//! packet that is nobody's is nobody's, malformed or not. So a header is read first, and asked whether it is sound later.

pub mod ipv4;
pub mod ipv6;
pub mod l4;

use network_types::eth::EthHdr;

pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use l4::Segment;

/// The bytes of a frame.
pub trait Frame {
    /// Where `T` would lie at `offset`; `None` when the frame ends before it does. It may be unaligned, and is valid for
    /// reads as long as the frame is.
    fn peek<T>(&self, offset: usize) -> Option<*const T>;

    /// Bytes of the frame, from its Ethernet header on, wherever they lie.
    fn len(&self) -> usize;

    /// Has it no bytes at all?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies what lies at `offset`.
    #[inline(always)]
    fn read<T: Plain>(&self, offset: usize) -> Option<T> {
        // SAFETY: inside the frame, and any bytes make a `T`.
        self.peek::<T>(offset).map(|at| unsafe { at.read_unaligned() })
    }
}

/// Types that any bytes make a value of.
///
/// # Safety
/// Every bit pattern is a value, and there is no padding.
pub unsafe trait Plain: Copy {}

// SAFETY: numbers.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: two numbers in one word.
unsafe impl Plain for crate::flow::Ports {}

/// Reads a field of a header, wherever it lies.
///
/// # Safety
/// `field` must point into what [`Frame::peek`] returned.
#[inline(always)]
pub unsafe fn field<T: Copy, U>(field: *const U) -> T {
    const { assert!(size_of::<T>() == size_of::<U>()) };
    // SAFETY: by the contract, these bytes are inside the frame.
    unsafe { field.cast::<T>().read_unaligned() }
}

/// Ether types, as they lie in a header.
pub mod ether_type {
    /// RFC 894
    pub const IPV4: u16 = 0x0800_u16.to_be();
    /// RFC 2464
    pub const IPV6: u16 = 0x86dd_u16.to_be();
    /// A customer's tag, IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100_u16.to_be();
    /// A provider's tag, IEEE 802.1ad.
    pub const PROVIDER: u16 = 0x88a8_u16.to_be();
}

/// Bytes of a VLAN tag with the ether type behind it.
const TAG: usize = 4;

/// Tags that are stepped over: a provider's and a customer's.
const TAGS: usize = 2;

/// What an Ethernet header leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// One of [`ether_type`], or another one; a tag only if there are more of them than are stepped over.
    pub ether_type: u16,
    /// Offset of what follows.
    pub l3: usize,
}

impl Ethernet {
    /// The header of a frame, with its tags stepped over.
    #[inline(always)]
    pub fn read(frame: &impl Frame) -> Option<Self> {
        let mut read = Self {
            ether_type: frame.read(EthHdr::LEN - 2)?,
            l3: EthHdr::LEN,
        };
        for _ in 0..TAGS {
            if read.ether_type != ether_type::VLAN && read.ether_type != ether_type::PROVIDER {
                break;
            }
            read.ether_type = frame.read(read.l3 + 2)?;
            read.l3 += TAG;
        }
        Some(read)
    }
}

/// Which part of a packet a fragment is, and the identification of that packet.
///
/// No enum: what is not there would be undefined, and the verifier refuses programs that only carry it about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    kind: u32,
    /// The packet's identification as it lies in the header; 0 of one that is whole.
    pub id: u32,
}

impl Part {
    /// All of a packet.
    pub const WHOLE: Self = Self { kind: 0, id: 0 };

    /// The first one, which carries the ports.
    #[inline(always)]
    pub const fn first(id: u32) -> Self {
        Self { kind: 1, id }
    }

    /// Another one.
    #[inline(always)]
    pub const fn later(id: u32) -> Self {
        Self { kind: 2, id }
    }

    /// 0 all of a packet, 1 its first fragment, 2 another one.
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        self.kind
    }

    /// The part of this kind.
    #[inline(always)]
    pub const fn new(kind: u32, id: u32) -> Self {
        Self { kind, id }
    }

    /// Is it all of a packet?
    #[inline(always)]
    pub const fn is_whole(self) -> bool {
        self.kind == 0
    }

    /// Is it the first of several?
    #[inline(always)]
    pub const fn is_first(self) -> bool {
        self.kind == 1
    }

    /// Is it one without ports?
    #[inline(always)]
    pub const fn is_later(self) -> bool {
        self.kind == 2
    }
}

/// A slice of memory as a frame.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Frame for Bytes<'_> {
    fn peek<T>(&self, offset: usize) -> Option<*const T> {
        let end = offset.checked_add(size_of::<T>())?;
        self.0.get(offset..end).map(|bytes| bytes.as_ptr().cast())
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests;
