//! Which node orders, so that a pair does not order twice. Pure.
//!
//! The master of a virtual router that holds an address of the service, where there is one: clients and authorities come to it.
//! Else, among peers, the one whose name comes first of those that are there. Two that do not hear each other both order: each
//! ends with a valid certificate, and when they meet again both serve the later one.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::vrrp::{Role, VrrpStatus};

/// Is it this node? `peers`: the names of those that are there.
pub(super) fn orders(routers: &[VrrpStatus], addresses: &[IpAddr], own: &str, peers: &[Arc<str>]) -> bool {
    let holds = |router: &&VrrpStatus| router.addresses.iter().any(|held| addresses.contains(held));
    let mut of_service = routers.iter().filter(holds).peekable();
    if of_service.peek().is_some() {
        return of_service.any(|router| router.role == Role::Master);
    }
    peers.iter().all(|peer| own < &**peer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::vrrp::HaStatus;

    fn router(role: Role, address: &str) -> VrrpStatus {
        let mut router = HaStatus::example().routers.remove(0);
        router.role = role;
        router.addresses = vec![address.parse().unwrap()];
        router
    }

    #[test]
    fn the_master_of_its_addresses() {
        let addresses = ["192.0.2.10".parse().unwrap()];
        let peers = ["lb0".into()];
        let lead = |routers: &[VrrpStatus]| orders(routers, &addresses, "lb1", &peers);
        assert!(lead(&[router(Role::Master, "192.0.2.10")]));
        assert!(!lead(&[
            router(Role::Backup, "192.0.2.10"),
            router(Role::Master, "192.0.2.11")
        ]));
        // Nobody holds it, so the first of the names does.
        assert!(!lead(&[router(Role::Master, "192.0.2.11")]));
        assert!(orders(&[], &addresses, "lb1", &[]));
    }

    proptest! {
        #[test]
        fn of_nodes_that_hear_each_other_one_orders(names in prop::collection::btree_set("[a-z]{1,4}", 1..5)) {
            let leads = |own: &String| {
                let peers: Vec<Arc<str>> = names.iter().filter(|name| *name != own).map(|name| name.as_str().into()).collect();
                orders(&[], &[], own, &peers)
            };
            prop_assert_eq!(names.iter().filter(|own| leads(own)).count(), 1);
        }
    }
}
