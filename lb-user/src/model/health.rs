//! What health found out.

use std::net::SocketAddr;
use std::sync::Arc;

/// Names one backend of one service, across reloads: its address, since that is what a ring is keyed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberKey {
    /// The service's name.
    pub service: Arc<str>,
    /// The backend's address.
    pub backend: SocketAddr,
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
    /// Why, for people: the last probe's result, such as `connection refused` or `status 200 in 1.2 ms`.
    pub reason: String,
}
