//! The backends of a service, after validation.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// `[[service.backend]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique within the service; its address where the file gives none.
    pub name: Arc<str>,
    /// Where it listens. Where the service has many ports, packets keep theirs, and this one is where it is probed.
    pub address: SocketAddr,
    /// The host that the file names, whose address this is.
    pub host: Option<Arc<str>>,
    /// Share of new flows in proportion to the other weights; 0 receives nothing new.
    pub weight: u16,
    /// What the administrator wants of it.
    pub state: AdminState,
    /// Whether it serves while others do.
    pub role: Role,
    /// Not of the file: it was, and finishes its flows.
    pub leaving: bool,
}

/// A backend that the file names by a host, as long as it has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBackend {
    /// Its place among all backends of the service in the file, from 0.
    pub place: usize,
    /// As [`Backend::name`]; host and port where the file gives none.
    pub name: Arc<str>,
    /// Whose address is wanted.
    pub host: Arc<str>,
    /// Where it listens.
    pub port: u16,
    /// As [`Backend::weight`].
    pub weight: u16,
    /// As [`Backend::state`].
    pub state: AdminState,
    /// As [`Backend::role`].
    pub role: Role,
    /// Why it has none, for people.
    pub reason: String,
}

impl NamedBackend {
    /// The backend, whose host is `ip`.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> Backend {
        Backend {
            name: Arc::clone(&self.name),
            address: SocketAddr::new(ip, self.port),
            host: Some(Arc::clone(&self.host)),
            weight: self.weight,
            state: self.state,
            role: self.role,
            leaving: false,
        }
    }
}

/// Whether a backend serves while others do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It does.
    #[default]
    Primary,
    /// It gets new flows only while no primary can: the passive half of a pair, or a sorry server.
    Backup,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Backup];

    /// As in the file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        }
    }
}

/// What the administrator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminState {
    /// Serves while it is healthy.
    #[default]
    Active,
    /// Gets no new flows, and finishes the old ones. Still probed.
    Drain,
    /// Serves nothing, and is not probed.
    Disabled,
}

impl AdminState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Active, Self::Drain, Self::Disabled];

    /// As in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drain => "drain",
            Self::Disabled => "disabled",
        }
    }
}
