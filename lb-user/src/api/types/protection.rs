//! What protects services, and what that has refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::refused as from;

/// What protects all services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Protection {
    /// Of `[protection]`, while services may have another one: `enforce`, or `observe` where what is refused is only
    /// counted; an open set.
    pub enforcement: String,
    /// Prefixes in all lists: of the file, of services, and denied at run time.
    pub prefixes: u64,
    /// Packets to VIPs that were for no service.
    pub addresses: Refused,
}

/// What protects one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceProtection {
    /// As in force for the service; an open set.
    pub enforcement: String,
    /// Packets of the service.
    pub refused: Refused,
}

/// What has been refused since the maps were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Refused {
    /// Packets that were dropped, by reason. Every one that protection has is there, zeros included.
    pub dropped: BTreeMap<String, u64>,
    /// Packets that would have been, while that was only observed; likewise.
    pub observed: BTreeMap<String, u64>,
    /// SYNs that were answered with a cookie.
    pub cookies_answered: u64,
    /// Connections that a cookie has opened.
    pub cookies_accepted: u64,
    /// Sources that had sent much, and were forgotten for want of room.
    pub sources_evicted: u64,
}

impl Protection {
    /// Is nothing dropped?
    #[must_use]
    pub fn only_observes(&self) -> bool {
        only_observes(&self.enforcement)
    }
}

impl ServiceProtection {
    /// Is nothing dropped?
    #[must_use]
    pub fn only_observes(&self) -> bool {
        only_observes(&self.enforcement)
    }
}

fn only_observes(enforcement: &str) -> bool {
    enforcement == crate::model::Enforcement::Observe.label()
}

impl From<from::ProtectionStatus> for Protection {
    fn from(status: from::ProtectionStatus) -> Self {
        Self {
            enforcement: status.enforcement.label().to_owned(),
            prefixes: status.prefixes as u64,
            addresses: status.addresses.into(),
        }
    }
}

impl From<from::ServiceProtectionStatus> for ServiceProtection {
    fn from(status: from::ServiceProtectionStatus) -> Self {
        Self {
            enforcement: status.enforcement.label().to_owned(),
            refused: status.refused.into(),
        }
    }
}

impl From<from::Refused> for Refused {
    fn from(refused: from::Refused) -> Self {
        let by_reason = |count: fn(&from::RefusedFor) -> u64| {
            let each = refused.reasons.iter();
            each.map(|each| (each.reason.label().to_owned(), count(each))).collect()
        };
        Self {
            dropped: by_reason(|each| each.dropped),
            observed: by_reason(|each| each.observed),
            cookies_answered: refused.answered,
            cookies_accepted: refused.accepted,
            sources_evicted: refused.evicted,
        }
    }
}
