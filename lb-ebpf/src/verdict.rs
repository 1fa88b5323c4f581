//! Leaving the fast path is the error type.

use aya_ebpf::bindings::xdp_action;
use lb_common::stats::DropReason;

/// Why the program is done with a packet that it does not send.
pub(crate) enum Stop {
    /// Not for Fulcrum: the kernel's.
    Pass,
    /// Dropped, and counted under its reason.
    Drop(DropReason),
    /// Not for the short way: [`crate::full`] decides.
    More,
    /// It may be answered with a cookie: [`crate::protect::cookie`] decides.
    Cookie,
    /// It does not fit into a tunnel: so many bytes would.
    TooBig(u32),
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

/// What became of a packet, as the number that a function of its own returns.
#[derive(Clone, Copy)]
pub(crate) struct Outcome(u32);

impl Outcome {
    /// More than any action.
    const DROPS: u32 = 0x100;

    /// Not for Fulcrum: the kernel's.
    pub(crate) const PASS: Self = Self(xdp_action::XDP_PASS);

    /// Not decided yet: the packet is to be forwarded.
    pub(crate) const FORWARD: Self = Self(0xfe);

    /// Not decided yet: the packet may be answered with a cookie.
    pub(crate) const COOKIE: Self = Self(0xfd);

    /// Not decided yet: nothing is known of the packet.
    pub(crate) const UNKNOWN: Self = Self(0xff);

    #[inline(always)]
    pub(crate) fn of(step: Step<Sent>) -> Self {
        Self(match step {
            Ok(sent) => sent.action(),
            Err(Stop::Pass) => xdp_action::XDP_PASS,
            Err(Stop::Drop(reason)) => Self::DROPS + reason as u32,
            Err(Stop::More | Stop::Cookie) => Self::DROPS + DropReason::Inconsistent as u32,
            Err(Stop::TooBig(_)) => Self::DROPS + DropReason::TooBig as u32,
        })
    }

    /// What steps have come to.
    #[inline(always)]
    pub(crate) fn come_to(step: Step<Self>) -> Self {
        match step {
            Ok(outcome) => outcome,
            Err(stop) => Self::of(Err(stop)),
        }
    }

    /// Dropped for the reason with this code.
    #[inline(always)]
    pub(crate) const fn dropped(code: u32) -> Self {
        Self(Self::DROPS + code)
    }

    /// From what such a function returned.
    #[inline(always)]
    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// For the caller of such a function.
    #[inline(always)]
    pub(crate) const fn raw(self) -> u32 {
        self.0
    }

    /// The program's return value, or the code of a drop reason.
    #[inline(always)]
    pub(crate) const fn action(self) -> Result<u32, u32> {
        if self.0 >= Self::DROPS {
            Err(self.0 - Self::DROPS)
        } else {
            Ok(self.0)
        }
    }
}
