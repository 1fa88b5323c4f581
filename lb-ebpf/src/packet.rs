//! The packet's bytes: the only pointer arithmetic, and the only bounds check, of the program.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use lb_common::parse::Frame;
use lb_common::stats::DropReason;
use network_types::eth::EthHdr;

use crate::verdict::{Step, Stop};

/// A view of the packet, valid as long as nobody moves its head.
///
/// Both ends are read once: a bounds check that the compiler can prove superfluous disappears, and the verifier follows
/// that only as long as all pointers derive from the same one.
pub(crate) struct Packet {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
}

impl Packet {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self::of(ctx.as_ptr().cast())
    }

    /// For functions of their own, which get the context as it is.
    #[inline(always)]
    pub(crate) fn of(ctx: *mut xdp_md) -> Self {
        // SAFETY: the kernel's own context. Volatile: otherwise a function that only reads these two gets them instead
        // of the context, and they are numbers to the verifier then.
        let (start, end) = unsafe {
            (
                (&raw const (*ctx).data).read_volatile(),
                (&raw const (*ctx).data_end).read_volatile(),
            )
        };
        Self {
            ctx,
            start: start as usize,
            end: end as usize,
        }
    }

    /// The header of type `T` at `offset`; `None` where the packet ends before it does.
    ///
    /// `T` must be valid for any bit pattern and have alignment 1 or be read with the misaligned accesses that the
    /// build enables; what it holds is unchecked.
    #[inline(always)]
    pub(crate) fn peek_mut<T>(&self, offset: usize) -> Option<*mut T> {
        if self.start + offset + size_of::<T>() > self.end {
            return None;
        }
        Some((self.start + offset) as *mut T)
    }

    /// Like [`Self::peek_mut`], for a header that has to be there.
    #[inline(always)]
    pub(crate) fn at<T>(&self, offset: usize) -> Step<*mut T> {
        self.peek_mut(offset).ok_or(Stop::Drop(DropReason::Truncated))
    }

    /// Bytes from the Ethernet header on, those included that lie elsewhere.
    #[inline(always)]
    pub(crate) fn whole(&self) -> usize {
        // SAFETY: the kernel's own context.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    /// Index of the interface that it came in on.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        // SAFETY: the kernel's own context.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// The context, to be handed to a function of its own.
    #[inline(always)]
    pub(crate) fn ctx(&self) -> *mut xdp_md {
        self.ctx
    }

    /// Moves the head outwards by `bytes`, or inwards by as many as it is negative.
    #[inline(always)]
    pub(crate) fn grow(self, bytes: i32) -> Step<Self> {
        // SAFETY: the kernel's own context; every pointer into the packet is gone with `self`.
        if unsafe { bpf_xdp_adjust_head(self.ctx, -bytes) } != 0 {
            return Err(Stop::Drop(DropReason::NoHeadroom));
        }
        let packet = Self::of(self.ctx);
        // Here and not where it is written: behind a check at an offset that varies, LLVM finds this one superfluous, and
        // Linux 6.1 does not.
        packet.at::<EthHdr>(0)?;
        Ok(packet)
    }

    /// Cuts all bytes behind the first `length`.
    #[inline(always)]
    pub(crate) fn cut(self, length: usize) -> Step<Self> {
        let surplus = self.whole() as i64 - length as i64;
        // SAFETY: as above.
        match unsafe { bpf_xdp_adjust_tail(self.ctx, -surplus as i32) } {
            0 => Ok(Self::of(self.ctx)),
            _ => Err(Stop::Drop(DropReason::Truncated)),
        }
    }
}

impl Frame for Packet {
    #[inline(always)]
    fn peek<T>(&self, offset: usize) -> Option<*const T> {
        self.peek_mut(offset).map(<*mut T>::cast_const)
    }

    /// Bytes in the first piece of the packet; of one that is in pieces, see [`Self::whole`].
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }
}
