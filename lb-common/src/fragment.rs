//! Fragments: the first one carries the ports and teaches them, later ones follow.

use crate::addr::Ipv6Be;
use crate::flow::Ports;
use crate::nat::Ticks;

/// Key of `FRAGMENTS`: what fragments of one packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Who sends; IPv4 mapped into IPv6.
    pub source: Ipv6Be,
    /// To whom.
    pub destination: Ipv6Be,
    /// Identification, as it lies in the header.
    pub id: u32,
    /// IP protocol number of what was fragmented.
    pub protocol: u32,
}

/// Element of `FRAGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The ports that the first fragment had.
    pub ports: Ports,
    /// When that came.
    pub seen: Ticks,
}

/// Later fragments follow for about a minute (RFC 8200 §4.5: a receiver gives up after 60 s).
const FOLLOW: Ticks = 56;

impl Fragment {
    /// Do later fragments still follow?
    #[inline(always)]
    #[must_use]
    pub const fn is_current(self, now: Ticks) -> bool {
        let age = now.wrapping_sub(self.seen);
        age <= FOLLOW || age > Ticks::MAX / 2
    }
}
