//! Makes a topology real, with nothing but netlink.

use std::path::Path;

use anyhow::Context;

use super::topology::{Host, Interface, Switch, Topology, namespace};
use crate::dataplane::kernel::attach_pass;
use crate::net::{LOOPBACK, Namespace, Net, wire};

/// Builds the network of `lab`. `pins` is a folder on a bpffs, for the links of the switches' programs.
pub(super) async fn build(lab: &str, topology: &Topology, pins: &Path) -> anyhow::Result<()> {
    for switch in &topology.switches {
        make_switch(lab, switch)
            .await
            .with_context(|| format!("switch {}", switch.name))?;
    }
    for host in &topology.hosts {
        make_host(lab, host, pins)
            .await
            .with_context(|| format!("host {}", host.name))?;
    }
    Ok(())
}

async fn make_switch(lab: &str, switch: &Switch) -> anyhow::Result<()> {
    let inside = Namespace::create(&namespace(lab, &switch.name))?;
    // It carries the hosts' IPv6, and needs none itself.
    wire::sysctl(&inside, "ipv6/conf/all/disable_ipv6", "1")?;
    wire::sysctl(&inside, "ipv6/conf/default/disable_ipv6", "1")?;
    let net = Net::inside(&inside)?;
    let bridge = net.add_bridge(BRIDGE).await?;
    net.set_up(bridge).await?;
    Ok(())
}

async fn make_host(lab: &str, host: &Host, pins: &Path) -> anyhow::Result<()> {
    let inside = Namespace::create(&namespace(lab, &host.name))?;
    let net = Net::inside(&inside)?;
    for key in ["all", "default"] {
        // Addresses serve at once.
        wire::sysctl(&inside, &format!("ipv6/conf/{key}/accept_dad"), "0")?;
    }
    for (key, value) in &host.sysctls {
        wire::sysctl(&inside, key, value)?;
    }
    net.set_up(LOOPBACK).await?;
    for &vip in &host.loopback {
        net.add_vip(LOOPBACK, vip).await?;
    }
    for interface in &host.interfaces {
        plug(lab, host, interface, &net, pins)
            .await
            .with_context(|| format!("interface {}", interface.name))?;
    }
    for &router in &host.routers {
        let everything = if router.is_ipv4() { "0.0.0.0" } else { "::" };
        net.add_route(everything.parse()?, 0, router).await?;
    }
    Ok(())
}

async fn plug(lab: &str, host: &Host, interface: &Interface, net: &Net, pins: &Path) -> anyhow::Result<()> {
    let switch = Namespace::open(&namespace(lab, &interface.switch))?;
    let switch_net = Net::inside(&switch)?;
    let port = host.name.as_str();
    net.add_veth(&interface.name, port, &switch).await?;
    let (near, far) = (net.index(&interface.name).await?, switch_net.index(port).await?);
    switch_net.set_master(far, switch_net.index(BRIDGE).await?).await?;
    if interface.xdp {
        wire::set_tx_checksum(&switch, port, false)?;
        let pin = pins.join(format!("pass-{}-{port}", interface.switch));
        switch
            .run_inside(|| attach_pass(port, &pin))?
            .context("attaching a program to the switch's port")?;
    }
    switch_net.set_up(far).await?;
    net.set_up(near).await?;
    for &(ip, prefix) in &interface.addresses {
        net.add_address(near, ip, prefix).await?;
    }
    Ok(())
}

/// Name of the bridge in a switch's namespace.
const BRIDGE: &str = "br0";
