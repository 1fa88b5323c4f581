//! How backends are chosen, and over how many slots.

/// How the backend of a flow is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Consistent hash of the 5-tuple over a Maglev ring.
    Maglev,
    /// The same of the source address alone: a client keeps its backend.
    SourceHash,
    /// One backend after the other, smoothly by weight.
    RoundRobin,
    /// Of two backends chosen at random by weight, the one with fewer living flows for its weight. In [`Mode::Proxy`](super::Mode::Proxy) of
    /// all the one with the fewest requests under way for its weight.
    LeastConnections,
    /// Apache's mod_lbmethod_byrequests: weight shares of requests. In [`Mode::Proxy`](super::Mode::Proxy) only, as those below.
    ByRequests,
    /// Apache's mod_lbmethod_bytraffic: weight shares of bytes, both ways.
    ByTraffic,
    /// Apache's mod_lbmethod_bybusyness: the one with the fewest requests under way, then by requests.
    ByBusyness,
    /// Apache's mod_lbmethod_heartbeat: by chance, in proportion to the idle slots that backends report.
    Heartbeat,
    /// Of two backends chosen at random by weight, the one whose answers have taken less time of late, for its requests
    /// under way.
    PeakEwma,
}

impl Balance {
    /// As in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Maglev => "maglev",
            Self::SourceHash => "source-hash",
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::ByRequests => "by-requests",
            Self::ByTraffic => "by-traffic",
            Self::ByBusyness => "by-busyness",
            Self::Heartbeat => "heartbeat",
            Self::PeakEwma => "peak-ewma",
        }
    }

    /// Does the program choose so? The others are the proxy's.
    #[must_use]
    pub const fn is_by_packet(self) -> bool {
        matches!(
            self,
            Self::Maglev | Self::SourceHash | Self::RoundRobin | Self::LeastConnections
        )
    }
}

/// Slots of a ring: a power of two within the limits of [`lb_common::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(u8);

impl RingSize {
    /// 16,384 slots.
    pub const DEFAULT: Self = Self(14);

    /// A ring of `slots`; `None` unless that is a power of two from 64 to 1,048,576.
    pub const fn new(slots: u32) -> Option<Self> {
        use lb_common::limits::{RING_MAX_LOG2, RING_MIN_LOG2};
        if !slots.is_power_of_two() {
            return None;
        }
        let log2 = slots.ilog2() as u8;
        if log2 < RING_MIN_LOG2 || log2 > RING_MAX_LOG2 {
            return None;
        }
        Some(Self(log2))
    }

    /// Log2 of the number of slots.
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// Number of slots.
    pub const fn slots(self) -> u32 {
        1 << self.0
    }
}
