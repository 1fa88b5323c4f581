//! Makes a lab's network real, with nothing but netlink; lost packets are the one thing that nft is asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::file::File;
use super::file::raw::{Interface, Machine, Switch};
use super::file::value::Loss;
use super::host::namespace;
use super::program::installed;
use crate::dataplane::kernel::attach_pass;
use crate::net::{LOOPBACK, Namespace, Net, wire};

/// Name of the bridge in a switch's namespace.
const BRIDGE: &str = "br0";

/// Every packet, in the parts that [`Loss`] counts.
const ALL: u32 = 1000;

/// Builds the network of `lab`. `pins` is a folder on a bpffs, for the links of programs that pass everything.
pub(super) async fn build(lab: &str, file: &File, pins: &Path) -> anyhow::Result<()> {
    for switch in &file.switch {
        let name = &**switch.name.get_ref();
        make_switch(lab, switch)
            .await
            .with_context(|| format!("switch {name}"))?;
    }
    for switch in &file.switch {
        for uplink in &switch.uplinks {
            wire_switches(lab, file, switch.name.get_ref(), uplink.get_ref())
                .await
                .with_context(|| format!("link of switch {} to {}", &**switch.name.get_ref(), &**uplink.get_ref()))?;
        }
    }
    let mut nets = BTreeMap::new();
    for host in &file.host {
        let name = host.name.get_ref().to_string();
        let net = make_host(lab, host).await.with_context(|| format!("host {name}"))?;
        nets.insert(name, net);
    }
    let place = |host: &Machine, interface: &Interface| {
        format!(
            "interface {} of host {}",
            &**interface.name.get_ref(),
            &**host.name.get_ref()
        )
    };
    // Cables first, all of them: the other end's host may come later in the file.
    for host in &file.host {
        for interface in &host.interface {
            connect(lab, file, host, interface, &nets[&**host.name.get_ref()], pins)
                .await
                .with_context(|| place(host, interface))?;
        }
    }
    for host in &file.host {
        let net = &nets[&**host.name.get_ref()];
        for interface in &host.interface {
            configure(interface, net)
                .await
                .with_context(|| place(host, interface))?;
        }
        routes(host, net)
            .await
            .with_context(|| format!("host {}", &**host.name.get_ref()))?;
    }
    Ok(())
}

async fn make_switch(lab: &str, switch: &Switch) -> anyhow::Result<()> {
    let inside = Namespace::create(&namespace(lab, switch.name.get_ref()))?;
    // It carries the hosts' IPv6, and needs none itself.
    wire::sysctl(&inside, "ipv6/conf/all/disable_ipv6", "1")?;
    wire::sysctl(&inside, "ipv6/conf/default/disable_ipv6", "1")?;
    let net = Net::inside(&inside)?;
    let bridge = net.add_bridge(BRIDGE).await?;
    net.set_up(bridge).await?;
    Ok(())
}

async fn wire_switches(lab: &str, file: &File, near: &str, far: &str) -> anyhow::Result<()> {
    let (near_space, far_space) = (
        Namespace::open(&namespace(lab, near))?,
        Namespace::open(&namespace(lab, far))?,
    );
    let (near_net, far_net) = (Net::inside(&near_space)?, Net::inside(&far_space)?);
    // Each port has the name of what is at the other end.
    near_net.add_veth(far, near, &far_space).await?;
    for (net, switch, port) in [(&near_net, near, far), (&far_net, far, near)] {
        let port = net.index(port).await?;
        net.set_master(port, net.index(BRIDGE).await?).await?;
        if let Some(mtu) = passes(file, switch) {
            net.set_mtu(port, mtu).await?;
        }
        net.set_up(port).await?;
    }
    Ok(())
}

/// The largest packet that passes a switch, if its file says.
fn passes(file: &File, switch: &str) -> Option<u32> {
    file.switch.iter().find(|known| **known.name.get_ref() == *switch)?.mtu
}

async fn make_host(lab: &str, host: &Machine) -> anyhow::Result<Net> {
    let inside = Namespace::create(&namespace(lab, host.name.get_ref()))?;
    let net = Net::inside(&inside)?;
    for key in ["all", "default"] {
        // Addresses serve at once.
        wire::sysctl(&inside, &format!("ipv6/conf/{key}/accept_dad"), "0")?;
    }
    for (key, value) in &host.sysctl {
        let path = key.strip_prefix("net.").unwrap_or(key).replace('.', "/");
        wire::sysctl(&inside, &path, &value.to_string()).with_context(|| format!("sysctl {key}"))?;
    }
    net.set_up(LOOPBACK).await?;
    for &vip in &host.loopback {
        net.add_vip(LOOPBACK, vip).await?;
    }
    Ok(net)
}

/// Makes an interface, and plugs it in.
async fn connect(
    lab: &str,
    file: &File,
    host: &Machine,
    interface: &Interface,
    net: &Net,
    pins: &Path,
) -> anyhow::Result<()> {
    let (name, own) = (&**interface.name.get_ref(), &**host.name.get_ref());
    let (far, port, switch) = match (&interface.switch, &interface.peer) {
        (Some(switch), _) => (switch.get_ref().to_string(), own.to_owned(), true),
        (None, Some(peer)) => (peer.get_ref().host.clone(), peer.get_ref().rest.clone(), false),
        // Whoever has the other end makes it.
        (None, None) => return Ok(()),
    };
    let space = Namespace::open(&namespace(lab, &far))?;
    let far_net = Net::inside(&space)?;
    net.add_veth(name, &port, &space).await?;
    let index = far_net.index(&port).await?;
    if switch {
        far_net.set_master(index, far_net.index(BRIDGE).await?).await?;
        if let Some(mtu) = passes(file, &far).or(interface.mtu) {
            far_net.set_mtu(index, mtu).await?;
        }
        if interface.xdp {
            wait_on(&space, &port, &pins.join(format!("pass-{far}-{port}")))?;
        }
        if let Some(loss) = interface.loss {
            lose(&space, &port, loss)?;
        }
        far_net.set_up(index).await?;
        return Ok(());
    }
    let end = file.host.iter().find(|host| **host.name.get_ref() == *far);
    let end = end.and_then(|host| host.interface.iter().find(|end| **end.name.get_ref() == *port));
    if interface.xdp {
        wait_on(&space, &port, &pins.join(format!("pass-{far}-{port}")))?;
    }
    if end.is_some_and(|end| end.xdp) {
        wait_on(net.namespace(), name, &pins.join(format!("pass-{own}-{name}")))?;
    }
    for (lossy, at, port) in [(Some(interface), &space, &*port), (end, net.namespace(), name)] {
        if let Some(loss) = lossy.and_then(|interface| interface.loss) {
            lose(at, port, loss)?;
        }
    }
    Ok(())
}

/// Makes an interface one that an XDP program at the other end of its cable can send to.
fn wait_on(space: &Namespace, port: &str, pin: &Path) -> anyhow::Result<()> {
    wire::set_tx_checksum(space, port, false)?;
    space
        .run_inside(|| attach_pass(port, pin))?
        .context("attaching a program to the other end of the cable")
}

/// Loses part of the packets that come in by `port`.
fn lose(space: &Namespace, port: &str, Loss(loss): Loss) -> anyhow::Result<()> {
    let nft = installed("nft").context("lost packets need nft: apt-get install nftables")?;
    let some = match loss {
        ALL => String::new(),
        some => format!("numgen random mod {ALL} < {some} "),
    };
    let rules = format!(
        "table netdev loss-{port} {{ chain in {{ type filter hook ingress device \"{port}\" priority 0; {some}drop; }}; }}"
    );
    let mut command = Command::new(nft);
    let output = space.confine(command.arg(rules)).output().context("running nft")?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

async fn configure(interface: &Interface, net: &Net) -> anyhow::Result<()> {
    let index = net.index(interface.name.get_ref()).await?;
    if let Some(mtu) = interface.mtu {
        net.set_mtu(index, mtu).await?;
    }
    net.set_up(index).await?;
    for address in &interface.addresses {
        net.add_address(index, address.get_ref().ip, address.get_ref().bits)
            .await?;
    }
    Ok(())
}

async fn routes(host: &Machine, net: &Net) -> anyhow::Result<()> {
    for route in &host.route {
        let (to, bits) = match route.to {
            Some(to) => (to.ip, to.bits),
            None if route.via.is_ipv4() => (IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
            None => (IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0),
        };
        net.add_route(to, bits, route.via)
            .await
            .with_context(|| format!("route by {}", route.via))?;
    }
    Ok(())
}
