//! `POST /api/v1/plan`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::AdminState;
use crate::model::preview as from;

/// What a reload of a file would change, as things are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Plan {
    /// Would anything change?
    pub changed: bool,
    /// Keys that differ and are of no service.
    pub keys: Vec<KeyPlan>,
    /// Services that differ: those of the file in its order, then those that it has no more.
    pub services: Vec<ServicePlan>,
    /// VIPs that would come or go.
    pub addresses: Vec<AddressPlan>,
    /// Backends of which a command has said something that would end.
    pub overrides: Vec<OverridePlan>,
    /// Flows that are known now and would not simply stay, of all services.
    pub flows: FlowsPlan,
    /// Why the kernel would not be as the file wants it; `null` when it would.
    pub fault: Option<String>,
}

/// A service that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub change: Change,
    /// In which keys.
    pub keys: Vec<KeyPlan>,
    /// Slots of its ring: of the larger one, where it changes its size.
    pub slots: u32,
    /// Of these, those that would have another backend.
    pub moved_slots: u32,
    /// VIPs that no service would have any more.
    pub closed_vips: Vec<String>,
    /// Of a service that is removed: the one that would have its VIPs.
    pub vips_go_to: Option<String>,
    /// Backends that differ.
    pub backends: Vec<BackendPlan>,
}

/// How something differs from what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The file has it, and what runs has not.
    Added,
    /// What runs has it, and the file has not.
    Removed,
    /// Its keys differ, or of a service those of its backends.
    Changed,
    /// The file says of it what runs, and its slots or flows move.
    Moved,
}

/// A key with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KeyPlan {
    /// As in the file; `health.interval` stands in `[service.health]`.
    pub key: String,
    /// What runs.
    pub from: String,
    /// What the file says.
    pub to: String,
}

/// A backend that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackendPlan {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// How it differs.
    pub change: Change,
    /// In which keys.
    pub keys: Vec<KeyPlan>,
    /// The weight that a command has set, and that stays in force.
    pub weight_in_force: Option<u16>,
    /// The state that a command has set, and that stays in force.
    pub state_in_force: Option<AdminState>,
    /// Slots of the ring that it has.
    pub slots_before: u32,
    /// Slots that it would have.
    pub slots_after: u32,
    /// Slots that it would take over.
    pub gains: u32,
    /// Slots that it would give away.
    pub loses: u32,
    /// It is not probed yet; the slots are those that it gets when it is up and reached.
    pub supposed_up: bool,
    /// What becomes of its flows.
    pub flows: Flows,
    /// Of these, unless they are kept, those that are known now.
    pub known_flows: u64,
}

/// What becomes of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Flows {
    /// They stay.
    Kept,
    /// They stay until they end, or until `drain-timeout`.
    Draining,
    /// Each goes where the new rules say; those that come to another backend break.
    Reassigned,
    /// They end.
    Cut,
}

/// A VIP that would come or go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AddressPlan {
    /// The address.
    pub address: IpAddr,
    /// `added` or `removed`.
    pub change: Change,
    /// Name of the interface.
    pub interface: String,
}

/// A backend of which a command has said something that would end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OverridePlan {
    /// Name of its service.
    pub service: String,
    /// Its address.
    pub address: SocketAddr,
}

/// Flows that are known, by what would become of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowsPlan {
    /// See [`Flows::Draining`].
    pub draining: u64,
    /// See [`Flows::Reassigned`].
    pub reassigned: u64,
    /// See [`Flows::Cut`].
    pub cut: u64,
}

impl From<from::Preview> for Plan {
    fn from(preview: from::Preview) -> Self {
        let backends = preview.services.iter().flat_map(|service| &service.backends);
        let flows = backends.fold(FlowsPlan::default(), |mut all, backend| {
            match backend.flows {
                from::Flows::Kept => {}
                from::Flows::Draining => all.draining += backend.known_flows,
                from::Flows::Reassigned => all.reassigned += backend.known_flows,
                from::Flows::Cut => all.cut += backend.known_flows,
            }
            all
        });
        Self {
            changed: !preview.is_empty(),
            keys: preview.keys.into_iter().map(Into::into).collect(),
            services: preview.services.into_iter().map(Into::into).collect(),
            addresses: preview.addresses.into_iter().map(Into::into).collect(),
            overrides: preview
                .overrides
                .into_iter()
                .map(|(service, address)| OverridePlan {
                    service: service.to_string(),
                    address,
                })
                .collect(),
            flows,
            fault: preview.fault,
        }
    }
}

impl From<from::ServicePreview> for ServicePlan {
    fn from(service: from::ServicePreview) -> Self {
        Self {
            name: service.name.to_string(),
            change: service.change.into(),
            keys: service.keys.into_iter().map(Into::into).collect(),
            slots: service.slots,
            moved_slots: service.moved,
            closed_vips: service.closed.iter().map(ToString::to_string).collect(),
            vips_go_to: service.heir.map(|name| name.to_string()),
            backends: service.backends.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<from::BackendPreview> for BackendPlan {
    fn from(backend: from::BackendPreview) -> Self {
        Self {
            name: backend.name.to_string(),
            address: backend.address,
            change: backend.change.into(),
            keys: backend.keys.into_iter().map(Into::into).collect(),
            weight_in_force: backend.weight_in_force,
            state_in_force: backend.state_in_force.map(Into::into),
            slots_before: backend.share.before,
            slots_after: backend.share.after,
            gains: backend.share.gains,
            loses: backend.share.loses,
            supposed_up: backend.supposed,
            flows: backend.flows.into(),
            known_flows: backend.known_flows,
        }
    }
}

impl From<from::KeyChange> for KeyPlan {
    fn from(change: from::KeyChange) -> Self {
        Self {
            key: change.key.to_owned(),
            from: change.from,
            to: change.to,
        }
    }
}

impl From<from::AddressPreview> for AddressPlan {
    fn from(address: from::AddressPreview) -> Self {
        Self {
            address: address.address,
            change: if address.added { Change::Added } else { Change::Removed },
            interface: address.interface,
        }
    }
}

impl From<from::Change> for Change {
    fn from(change: from::Change) -> Self {
        match change {
            from::Change::Added => Self::Added,
            from::Change::Removed => Self::Removed,
            from::Change::Changed => Self::Changed,
            from::Change::Moved => Self::Moved,
        }
    }
}

impl From<from::Flows> for Flows {
    fn from(flows: from::Flows) -> Self {
        match flows {
            from::Flows::Kept => Self::Kept,
            from::Flows::Draining => Self::Draining,
            from::Flows::Reassigned => Self::Reassigned,
            from::Flows::Cut => Self::Cut,
        }
    }
}
