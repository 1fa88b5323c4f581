//! Where services are in the maps.

use lb_common::service::Decision;

use crate::model::{Config, Service};
use crate::plan::{Keys, Snapshot};

/// The keys of a configuration's services.
pub(super) fn keys(config: &Config) -> Keys {
    Keys::of(config.services.iter().map(|s| (&s.vips[..], s.protocol)))
}

/// The decision that the maps hold for a service that has a ring, at one of its keys.
pub(super) fn held(installed: &Snapshot, keys: &Keys, service: &Service) -> Option<Decision> {
    let mut keys = keys.service(&service.vips, service.protocol);
    keys.find_map(|key| installed.entries.get(&key).copied().filter(|d| d.is_balanced()))
}
