//! What a file would change: the model behind `plan`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{AdminState, Vip};

/// What a reload of a file would change, as things are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Keys that differ and are of no service: those of `[protection]`.
    pub keys: Vec<KeyChange>,
    /// Services that differ: those of the file in its order, then those that it has no more.
    pub services: Vec<ServicePreview>,
    /// VIPs that would come or go.
    pub addresses: Vec<AddressPreview>,
    /// Backends of which a command has said something that would end or change.
    pub overrides: Vec<(Arc<str>, SocketAddr)>,
    /// Why not everything would be as the file says: what the node's fault would be.
    pub fault: Option<String>,
}

impl Preview {
    /// Would nothing change?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            keys,
            services,
            addresses,
            overrides,
            fault,
        } = self;
        keys.is_empty() && services.is_empty() && addresses.is_empty() && overrides.is_empty() && fault.is_none()
    }
}

/// How something differs from what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file has it, and what runs has not.
    Added,
    /// What runs has it, and the file has not.
    Removed,
    /// Both have it, and it differs.
    Changed,
    /// The file says of it what runs, and yet its slots or its flows move.
    Moved,
}

/// A key of the file with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// As in the file, with its table where that is one of its own: `health.interval`.
    pub key: &'static str,
    /// What runs.
    pub from: String,
    /// What the file says.
    pub to: String,
}

/// A service that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePreview {
    /// Its name.
    pub name: Arc<str>,
    /// How.
    pub change: Change,
    /// In which keys.
    pub keys: Vec<KeyChange>,
    /// Slots of its ring: of the larger one, where it changes its size.
    pub slots: u32,
    /// Of these, those that would have another backend.
    pub moved: u32,
    /// VIPs that no service would have any more: their connections end.
    pub closed: Vec<Vip>,
    /// Of a service that is removed: the one that would have its VIPs.
    pub heir: Option<Arc<str>>,
    /// Backends that differ: those of the file in its order, then the others.
    pub backends: Vec<BackendPreview>,
}

/// A backend that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendPreview {
    /// Its name.
    pub name: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
    /// How.
    pub change: Change,
    /// In which keys.
    pub keys: Vec<KeyChange>,
    /// A command has said another weight, which stays in force.
    pub weight_in_force: Option<u16>,
    /// A command has said another state, which stays in force.
    pub state_in_force: Option<AdminState>,
    /// Slots before and after. Of one that changes its address: those of both.
    pub share: Share,
    /// It is not probed yet: that it comes up is supposed.
    pub supposed: bool,
    /// What becomes of its flows.
    pub flows: Flows,
    /// Of these, those that are known now; of a service that chooses by a hash, flows that no change has moved are not.
    pub known_flows: u64,
}

/// The slots of a backend, before and after a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Slots before.
    pub before: u32,
    /// Slots afterwards.
    pub after: u32,
    /// Slots that it takes over.
    pub gains: u32,
    /// Slots that it gives away.
    pub loses: u32,
}

impl Share {
    /// Of two backends together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            before: self.before + other.before,
            after: self.after + other.after,
            gains: self.gains + other.gains,
            loses: self.loses + other.loses,
        }
    }
}

/// What becomes of flows that a backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// They stay, or there are none.
    Kept,
    /// They stay until they end, or until `drain-timeout`.
    Draining,
    /// Each goes where the new rules say; those that come to another backend break.
    Reassigned,
    /// They end.
    Cut,
}

/// A VIP that would come or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPreview {
    /// The address.
    pub address: IpAddr,
    /// Put on the node, or taken off.
    pub added: bool,
    /// Name of the interface.
    pub interface: String,
}
