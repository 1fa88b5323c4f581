//! What health found out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Backend, Service};

/// Names one backend of one service, across reloads: its address, since that is what a ring is keyed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberKey {
    /// The service's name.
    pub service: Arc<str>,
    /// The backend's address.
    pub backend: SocketAddr,
}

impl MemberKey {
    /// That of a backend of this service.
    #[must_use]
    pub fn of(service: &Service, backend: &Backend) -> Self {
        Self {
            service: Arc::clone(&service.name),
            backend: backend.address,
        }
    }
}

/// Health of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No probe has ended yet. It serves nothing new, but what an earlier run left serving stays.
    #[default]
    Unknown,
    /// It serves.
    Up,
    /// It does not.
    Down,
}

impl Health {
    /// Name in JSON and text.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What the prober says of one backend, whenever that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Of whom.
    pub member: MemberKey,
    /// What it is now.
    pub health: Health,
    /// The weight that it asks for, in place of the file's; `None`: it asks for none.
    pub weight: Option<u16>,
    /// Why, for people: the last probe's result, such as `connection refused` or `status 200 in 1.2 ms`.
    pub reason: Arc<str>,
    /// What its probes have come to; counts on after the verdict was sent.
    pub probes: Probes,
}

/// What the probes of one backend have come to. The prober counts where a probe ends, and whoever wants to know reads
/// the same counters: a verdict is sent when there is news, not after every probe.
#[derive(Clone, Debug, Default)]
pub struct Probes(Arc<Tally>);

#[derive(Debug, Default)]
struct Tally {
    succeeded: AtomicU64,
    failed: AtomicU64,
    local: AtomicU64,
    /// Nanoseconds of the last probe that was answered or failed, plus one; 0: there was none.
    last: AtomicU64,
    /// Seconds since 1970 until which the last certificate is valid, plus one; 0: there was none.
    certificate: AtomicU64,
    /// Milliseconds since 1970 when the last probe ended, whatever came of it; 0: there was none.
    ended: AtomicU64,
}

/// [`Probes`] at one moment. The numbers are read one by one, so a probe that ends meanwhile may be in some only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounts {
    /// Probes that succeeded.
    pub succeeded: u64,
    /// Probes that failed.
    pub failed: u64,
    /// Probes that did not leave this node, which says nothing about the backend.
    pub local: u64,
    /// How long the last one took that succeeded or failed.
    pub last: Option<Duration>,
    /// Until when the certificate is valid that the backend showed last, in seconds since 1970.
    pub certificate_not_after: Option<u64>,
    /// When the last one ended, also one that did not leave this node.
    pub ended: Option<SystemTime>,
}

impl Probes {
    /// A probe succeeded after `took`.
    pub fn succeeded(&self, took: Duration) {
        self.0.succeeded.fetch_add(1, Ordering::Relaxed);
        self.took(took);
    }

    /// A probe failed after `took`.
    pub fn failed(&self, took: Duration) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        self.took(took);
    }

    /// A probe did not leave this node.
    pub fn stayed_local(&self) {
        self.0.local.fetch_add(1, Ordering::Relaxed);
        self.ended();
    }

    /// The backend showed a certificate that is valid until `not_after`, in seconds since 1970; `None`: it is not asked
    /// for one any more.
    pub fn certificate(&self, not_after: Option<u64>) {
        let stored = not_after.map_or(0, |seconds| seconds.saturating_add(1));
        self.0.certificate.store(stored, Ordering::Relaxed);
    }

    fn took(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.last.store(nanos.saturating_add(1), Ordering::Relaxed);
        self.ended();
    }

    #[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
    fn ended(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.0.ended.store(millis, Ordering::Relaxed);
    }

    /// What they have come to so far.
    #[must_use]
    pub fn counts(&self) -> ProbeCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProbeCounts {
            succeeded: read(&self.0.succeeded),
            failed: read(&self.0.failed),
            local: read(&self.0.local),
            last: read(&self.0.last).checked_sub(1).map(Duration::from_nanos),
            certificate_not_after: read(&self.0.certificate).checked_sub(1),
            ended: Some(read(&self.0.ended))
                .filter(|&millis| millis > 0)
                .and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis))),
        }
    }
}

impl PartialEq for Probes {
    fn eq(&self, other: &Self) -> bool {
        self.counts() == other.counts()
    }
}

impl Eq for Probes {}
