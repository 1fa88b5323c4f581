//! Leaving the fast path is the error type.

use aya_ebpf::bindings::xdp_action;
use lb_common::stats::DropReason;

/// Why the program is done with a packet that it does not send.
pub(crate) enum Stop {
    /// Not for Fulcrum: the kernel's.
    Pass,
    /// Dropped, and counted under its reason.
    Drop(DropReason),
}

impl From<DropReason> for Stop {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

/// One step on a packet's way; `?` reads "or stop here".
pub(crate) type Step<T> = Result<T, Stop>;

/// Proof that a packet is ready to leave; only [`crate::transmit`] makes one.
pub(crate) struct Sent(u32);

impl Sent {
    /// Out of the interface that it came in on.
    #[inline(always)]
    pub(crate) const fn back() -> Self {
        Self(xdp_action::XDP_TX)
    }

    /// Out of the interface that a redirect has named.
    #[inline(always)]
    pub(crate) const fn elsewhere() -> Self {
        Self(xdp_action::XDP_REDIRECT)
    }

    /// The return value of the program.
    #[inline(always)]
    pub(crate) const fn action(self) -> u32 {
        self.0
    }
}
