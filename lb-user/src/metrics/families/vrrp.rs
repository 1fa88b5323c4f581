//! Families of virtual routers, and of addresses that are announced.

use super::{Family, Kind, Source, Value, truth};
use crate::model::status::Status;
use crate::model::vrrp::{Role, VrrpStatus};

const ROUTER: &[&str] = &["virtual_router"];

/// See the module.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "fulcrum_vrrp_role",
        kind: Kind::Gauge,
        unit: None,
        labels: &["virtual_router", "role"],
        help: "What the node is in a virtual router (1 for that role, 0 for the others): waiting (it has just started), \
               backup, master, or fault (it takes no part)",
        source: Source::Own(|status, put| {
            status.ha.routers.iter().try_for_each(|router| {
                let mut roles = Role::ALL.into_iter();
                roles.try_for_each(|role| put(&[&router.name, role.label()], truth(router.role == role)))
            })
        }),
    },
    Family {
        name: "fulcrum_vrrp_priority",
        kind: Kind::Gauge,
        unit: None,
        labels: ROUTER,
        help: "Priority of the node in a virtual router, with all that is tracked",
        source: Source::Own(|status, put| {
            each(status, |router| {
                put(&[&router.name], Value::Whole(router.priority.into()))
            })
        }),
    },
    Family {
        name: "fulcrum_vrrp_rival",
        kind: Kind::Gauge,
        unit: None,
        labels: ROUTER,
        help: "Whether another node says that it is master while this one is (1)",
        source: Source::Own(|status, put| each(status, |router| put(&[&router.name], truth(router.rival)))),
    },
    Family {
        name: "fulcrum_vrrp_transitions_total",
        kind: Kind::Counter,
        unit: None,
        labels: ROUTER,
        help: "Times that the node became master of a virtual router since the daemon started",
        source: Source::Own(|status, put| {
            each(status, |router| put(&[&router.name], Value::Whole(router.transitions)))
        }),
    },
    Family {
        name: "fulcrum_vrrp_advertisements_sent_total",
        kind: Kind::Counter,
        unit: None,
        labels: ROUTER,
        help: "Advertisements that the node sent for a virtual router; one for each peer",
        source: Source::Own(|status, put| each(status, |router| put(&[&router.name], Value::Whole(router.sent)))),
    },
    Family {
        name: "fulcrum_vrrp_advertisements_received_total",
        kind: Kind::Counter,
        unit: None,
        labels: ROUTER,
        help: "Advertisements of other nodes for a virtual router that were taken",
        source: Source::Own(|status, put| each(status, |router| put(&[&router.name], Value::Whole(router.received)))),
    },
    Family {
        name: "fulcrum_vrrp_advertisements_refused_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["interface", "cause"],
        help: "Advertisements that came in on an interface and were not taken, by cause: ttl (it may have come through a \
               router), truncated, version, type, checksum, length, unknown_router (a router-id that is not in the file), \
               addresses or interval (others than in the file), own (the node's own, sent back), stranger (no peer), or flood",
        source: Source::Own(|status, put| {
            let mut refused = status.ha.refused.iter();
            refused.try_for_each(|(interface, cause, count)| put(&[interface, cause], Value::Whole(*count)))
        }),
    },
    Family {
        name: "fulcrum_vrrp_notify_failed",
        kind: Kind::Gauge,
        unit: None,
        labels: ROUTER,
        help: "Whether the program that was last told of the node's role has failed (1), which `fulcrum status` explains",
        source: Source::Own(|status, put| {
            each(status, |router| {
                put(&[&router.name], truth(router.notify_fault.is_some()))
            })
        }),
    },
    Family {
        name: "fulcrum_bgp_announced",
        kind: Kind::Gauge,
        unit: None,
        labels: &["address"],
        help: "Whether a VIP of [bgp] is where the site's routing daemon announces it (1); if not, `fulcrum status` says why",
        source: Source::Own(|status, put| {
            let mut announcements = status.ha.announcements.iter();
            announcements.try_for_each(|vip| put(&[&vip.address.to_string()], truth(vip.announced)))
        }),
    },
    Family {
        name: "fulcrum_node_draining",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "Whether a command has said that clients are to go to other nodes (1): this one holds and announces no addresses",
        source: Source::Node(|status| truth(status.draining)),
    },
];

fn each(status: &Status, put: impl FnMut(&VrrpStatus) -> std::fmt::Result) -> std::fmt::Result {
    status.ha.routers.iter().try_for_each(put)
}
