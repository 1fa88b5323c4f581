//! Backends of a [`Segment`] that are ready for any mode: they hold the VIPs, and open tunnels.

use std::net::IpAddr;
use std::process::Stdio;

use lb_user::net::{LOOPBACK, Net, wire};

use crate::lab::fulcrum;
use crate::netns::TestNamespace;
use crate::segment::{Process, v4, v6};

/// The VIPs of the segment's services.
pub const VIPS: [IpAddr; 2] = [v4(100), v6(100)];

/// Makes a host hold the VIPs, without answering ARP for them.
///
/// # Panics
/// When that fails.
pub async fn hold(host: &TestNamespace, vips: &[IpAddr]) {
    for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2"), ("rp_filter", "0")] {
        wire::sysctl(host, &format!("ipv4/conf/all/{key}"), value).expect("a sysctl");
    }
    wire::sysctl(host, "ipv4/conf/eth0/rp_filter", "0").expect("a sysctl");
    let net = Net::inside(host).expect("netlink");
    for &vip in vips {
        let prefix = if vip.is_ipv4() { 32 } else { 128 };
        net.add_address(LOOPBACK, vip, prefix).await.expect("an address");
    }
}

/// Starts `fulcrum decap -i eth0` with `arguments` on a host, and waits until it opens tunnels, in this mode.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn decap(host: &TestNamespace, arguments: &[&str], mode: &str) -> Process {
    let mut command = fulcrum();
    command.args(["decap", "-i", "eth0"]).args(arguments);
    let mut decap = Process::start(host, command.stdin(Stdio::null()));
    assert_eq!(decap.line(), format!("eth0: opening tunnels ({mode})\n"));
    decap
}
