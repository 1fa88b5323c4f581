//! Whether a node is ready for traffic. Pure.

use crate::model::status::Status;
use crate::model::{AdminState, Health};

/// Backends that are named, when more are to blame.
const NAMED: usize = 5;

/// Why the node is not ready; nothing when it is. Backends that are down are no reason: the others serve. Neither are
/// those that come later and are not known yet: only the first health round is waited for. A node that drains works as
/// before, and whoever asks shall send its traffic to others.
pub(super) fn reasons(status: &Status) -> Vec<String> {
    let mut reasons = Vec::new();
    if status.draining {
        reasons.push("the node drains; `fulcrum node enable` ends that".to_owned());
    }
    if status.interfaces.is_empty() {
        reasons.push("the program is not attached to any interface yet".to_owned());
    }
    for interface in &status.interfaces {
        if let Err(reason) = &interface.attached {
            reasons.push(format!("the program is not attached to {}: {reason}", interface.name));
        }
    }
    let services = if status.settled { &[][..] } else { &status.services };
    let unknown: Vec<String> = services
        .iter()
        .flat_map(|service| service.backends.iter().map(move |backend| (service, backend)))
        .filter(|(_, backend)| backend.state == AdminState::Active && backend.health == Health::Unknown)
        .map(|(service, backend)| format!("{}/{}", service.name, backend.name))
        .collect();
    if !unknown.is_empty() {
        let more = match unknown.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = unknown[..unknown.len().min(NAMED)].join(", ");
        reasons.push(format!("the health of backends is not known yet: {named}{more}"));
    }
    if let Some(fault) = &status.fault {
        reasons.push(format!("the kernel is not as the file wants it: {fault}"));
    }
    reasons
}
