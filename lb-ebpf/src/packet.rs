//! The packet's bytes: the only pointer arithmetic, and the only bounds check, of the program.

use aya_ebpf::programs::XdpContext;
use lb_common::stats::DropReason;

use crate::verdict::{Step, Stop};

/// A view of the packet, valid as long as nobody moves its head.
///
/// Both ends are read once: a bounds check that the compiler can prove superfluous disappears, and the verifier follows
/// that only as long as all pointers derive from the same one.
pub(crate) struct Packet<'a> {
    ctx: &'a XdpContext,
    start: usize,
    end: usize,
}

impl<'a> Packet<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self {
            ctx,
            start: ctx.data(),
            end: ctx.data_end(),
        }
    }

    /// The header of type `T` at `offset`; `None` where the packet ends before it does.
    ///
    /// `T` must be valid for any bit pattern and have alignment 1 or be read with the misaligned accesses that the
    /// build enables; what it holds is unchecked.
    #[inline(always)]
    pub(crate) fn peek<T>(&self, offset: usize) -> Option<*mut T> {
        if self.start + offset + size_of::<T>() > self.end {
            return None;
        }
        Some((self.start + offset) as *mut T)
    }

    /// Like [`Self::peek`], for a header that has to be there.
    #[inline(always)]
    pub(crate) fn at<T>(&self, offset: usize) -> Step<*mut T> {
        self.peek(offset).ok_or(Stop::Drop(DropReason::Truncated))
    }

    /// Bytes from the Ethernet header on.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Index of the interface that it came in on.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        self.ctx.ingress_ifindex() as u32
    }
}

/// Reads a field of a packet header, wherever it lies.
///
/// # Safety
/// `field` must point into a header that [`Packet::peek`] or [`Packet::at`] returned.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy, U>(field: *const U) -> T {
    const { assert!(size_of::<T>() == size_of::<U>()) };
    // SAFETY: by the contract, these bytes are inside the packet.
    unsafe { field.cast::<T>().read_unaligned() }
}
