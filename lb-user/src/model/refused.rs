//! What protection has kept from services.

use lb_common::stats::DropReason;

use super::protection::Enforcement;

/// What protects all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectionStatus {
    /// Of `[protection]`; services may have another one.
    pub enforcement: Enforcement,
    /// Prefixes in all lists, those of services and of the run time included.
    pub prefixes: usize,
    /// Packets to VIPs that were for no service.
    pub addresses: Refused,
}

/// What protects one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceProtectionStatus {
    /// In force for it.
    pub enforcement: Enforcement,
    /// Of its packets.
    pub refused: Refused,
}

/// What has been refused since the maps were made, by one service or in place of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// By reason; every one that a rung has, zeros included.
    pub reasons: Vec<RefusedFor>,
    /// SYNs that were answered with a cookie.
    pub answered: u64,
    /// Connections that a cookie has opened.
    pub accepted: u64,
    /// Sources that had sent much, and were forgotten for want of room.
    pub evicted: u64,
}

impl Refused {
    /// Packets that were dropped, for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.reasons.iter().map(|reason| reason.dropped).sum()
    }

    /// Packets that would have been, while that was only observed.
    #[must_use]
    pub fn observed(&self) -> u64 {
        self.reasons.iter().map(|reason| reason.observed).sum()
    }
}

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedFor {
    /// Which.
    pub reason: DropReason,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Packets that would have been, while that was only observed.
    pub observed: u64,
}

#[cfg(test)]
impl Refused {
    /// For tests of whatever shows it: every number is another one.
    pub(crate) fn example() -> Self {
        let first = lb_common::protect::FIRST_REASON;
        let reasons = DropReason::ALL.iter().filter(|&&reason| reason as u32 >= first);
        let each = reasons.zip(0..).map(|(&reason, place)| RefusedFor {
            reason,
            dropped: place * 10,
            observed: 7 - place,
        });
        Self {
            reasons: each.collect(),
            answered: 1_000,
            accepted: 300,
            evicted: 12,
        }
    }
}
