//! Nodes that stand in for each other: what they are, and keepalived as one of them.

use std::ffi::OsStr;
use std::process::Command;

use lb_user::api::types::Status;

use crate::node::Node;

/// Is a node this in each of its virtual routers, of which there are two, and do all its backends serve?
pub fn is(role: &'static str) -> impl Fn(&Status) -> bool {
    move |status| {
        let mut backends = status.services.iter().flat_map(|service| &service.backends);
        status.virtual_routers.len() == 2
            && status.virtual_routers.iter().all(|router| router.role == role)
            && backends.all(|backend| backend.proxy.map_or(backend.slots > 0, |proxy| proxy.serves))
    }
}

/// keepalived, which is this `program`, with the node's `keepalived.conf`.
#[must_use]
pub fn keepalived(program: impl AsRef<OsStr>, node: &Node) -> Command {
    let mut command = Command::new(program);
    command.args([
        "--dont-fork",
        "--log-console",
        "--log-detail",
        "--vrrp",
        "--dont-respawn",
    ]);
    for (option, file) in [("-f", "keepalived.conf"), ("-p", "keepalived.pid"), ("-r", "vrrp.pid")] {
        command.arg(option).arg(node.path(file));
    }
    command
}
