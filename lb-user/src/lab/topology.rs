//! What a lab's network consists of. Plain values: [`super::build`] makes them real.

use std::net::IpAddr;

/// The network of a lab.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    pub(super) switches: Vec<Switch>,
    pub(super) hosts: Vec<Host>,
}

/// A bridge in a namespace of its own, where no firewall of the machine reaches it.
#[derive(Clone, Debug)]
pub(super) struct Switch {
    pub(super) name: String,
}

/// A machine: a namespace with interfaces.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) interfaces: Vec<Interface>,
    /// VIPs on `lo`, for direct return.
    pub(super) loopback: Vec<IpAddr>,
    /// Routers for everything that no interface's subnet holds.
    pub(super) routers: Vec<IpAddr>,
    /// Keys below /proc/sys/net and their values, set before the interfaces come up.
    pub(super) sysctls: Vec<(String, String)>,
}

/// A network card, plugged into a switch. The switch's port carries the host's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) switch: String,
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// An XDP program will send packets back out of it: the switch's port gets a program that passes everything
    /// (without one, veth loses them) and computes no checksums later than it must (the program could not correct
    /// them).
    pub(super) xdp: bool,
}

impl Topology {
    /// Names of everything that gets a namespace.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let switches = self.switches.iter().map(|switch| switch.name.as_str());
        switches.chain(self.hosts.iter().map(|host| host.name.as_str()))
    }
}

/// Name of the namespace of a host or switch, as `ip netns` knows it.
pub(super) fn namespace(lab: &str, host: &str) -> String {
    format!("fl-{lab}-{host}")
}
