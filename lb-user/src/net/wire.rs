//! Building networks: veth pairs, bridges, routes, and the settings that make XDP on veth behave.
//!
//! For labs and tests. Interfaces need no removal: they go with their namespace.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

use lb_common::addr::Mac;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use rtnetlink::packet_route::link::{InfoBridge, InfoData, InfoVeth, LinkMessage};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::address::present;
use super::error::Context;
use super::{Error, LOOPBACK, Namespace, Net};

impl Net {
    /// Makes a veth pair: `name` in this namespace, `peer` in another; both down. Names that are taken elsewhere on the
    /// machine do not matter.
    ///
    /// # Errors
    /// When a name is taken or privileges are missing.
    pub async fn add_veth(&self, name: &str, peer: &str, other: &Namespace) -> Result<(), Error> {
        let far = LinkUnspec::new_with_name(peer).setns_by_fd(other.raw_fd()).build();
        let message =
            LinkMessageBuilder::<LinkVeth>::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
        let made = self.handle().link().add(message.build()).execute().await;
        made.doing(|| format!("making the veth pair {name} and {peer}"))
    }

    /// Makes a bridge, down; returns its index. It floods multicast, so that neighbour discovery needs no querier.
    ///
    /// # Errors
    /// When the name is taken or privileges are missing.
    pub async fn add_bridge(&self, name: &str) -> Result<u32, Error> {
        let message = LinkBridge::new(name)
            .append_info_data(InfoBridge::MulticastSnooping(false))
            .build();
        self.handle()
            .link()
            .add(message)
            .execute()
            .await
            .doing(|| format!("making bridge {name}"))?;
        self.index(name).await
    }

    /// Index of an interface that must be there.
    ///
    /// # Errors
    /// `ENODEV` when there is none of this name.
    pub async fn index(&self, name: &str) -> Result<u32, Error> {
        match self.link(name).await? {
            Some(link) => Ok(link.index),
            None => Err(Error::new(format!("looking for interface {name}"), Errno::ENODEV)),
        }
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_up(&self, interface: u32) -> Result<(), Error> {
        self.set(LinkUnspec::new_with_index(interface).up().build(), "switching on")
            .await
    }

    /// Switches an interface off.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_down(&self, interface: u32) -> Result<(), Error> {
        self.set(LinkUnspec::new_with_index(interface).down().build(), "switching off")
            .await
    }

    /// Removes an interface, and with one end of a veth pair the other.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_link(&self, interface: u32) -> Result<(), Error> {
        let removed = self.handle().link().del(interface).execute().await;
        removed.doing(|| format!("removing interface {interface}"))
    }

    /// Gives an interface another name. Before Linux 6.2 it must be off.
    ///
    /// # Errors
    /// When the name is taken, or the kernel refuses.
    pub async fn rename(&self, interface: u32, name: &str) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(interface).name(name.to_owned()).build();
        self.set(message, "renaming").await
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_master(&self, interface: u32, bridge: u32) -> Result<(), Error> {
        self.set(
            LinkUnspec::new_with_index(interface).controller(bridge).build(),
            "bridging",
        )
        .await
    }

    /// Sets the largest packet, in bytes without the Ethernet header.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_mtu(&self, interface: u32, mtu: u32) -> Result<(), Error> {
        self.set(
            LinkUnspec::new_with_index(interface).mtu(mtu).build(),
            "setting the MTU of",
        )
        .await
    }

    /// Sets the Ethernet address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_mac(&self, interface: u32, mac: Mac) -> Result<(), Error> {
        self.set(
            LinkUnspec::new_with_index(interface).address(mac.0.to_vec()).build(),
            "setting the address of",
        )
        .await
    }

    /// Sends what goes to `destination` and `prefix` through a router. `Ok` also when that is so already.
    ///
    /// # Errors
    /// When the kernel refuses, such as for a router that it cannot reach; or the families differ.
    pub async fn add_route(&self, destination: IpAddr, prefix: u8, router: IpAddr) -> Result<(), Error> {
        let action = || format!("adding a route to {destination}/{prefix} by {router}");
        let route = match (destination, router) {
            (IpAddr::V4(destination), IpAddr::V4(router)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination, prefix)
                .gateway(router)
                .build(),
            (IpAddr::V6(destination), IpAddr::V6(router)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination, prefix)
                .gateway(router)
                .build(),
            _ => return Err(Error::new(action(), Errno::EAFNOSUPPORT)),
        };
        present(self.handle().route().add(route).execute().await).doing(action)
    }

    /// Makes a whole prefix of IPv4 the host's own, without an address for each (`ip route add local PREFIX dev lo`). `Ok`
    /// also when that is so already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_local(&self, prefix: Ipv4Addr, len: u8) -> Result<(), Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(prefix, len)
            .output_interface(LOOPBACK)
            .table_id(libc::RT_TABLE_LOCAL.into())
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .build();
        let added = self.handle().route().add(route).execute().await;
        present(added).doing(|| format!("making {prefix}/{len} this host's own"))
    }

    async fn set(&self, message: LinkMessage, action: &str) -> Result<(), Error> {
        let index = message.header.index;
        self.handle()
            .link()
            .set(message)
            .execute()
            .await
            .doing(|| format!("{action} interface {index}"))
    }
}

/// Sets /proc/sys/net/`key` in a namespace, as in `ipv4/conf/all/arp_ignore`.
///
/// # Errors
/// When there is no such key, or the kernel refuses the value.
pub fn sysctl(namespace: &Namespace, key: &str, value: &str) -> Result<(), Error> {
    let file = Path::new("/proc/sys/net").join(key);
    let written = namespace.run_inside(|| fs::write(&file, value));
    written
        .and_then(|written| written)
        .doing(|| format!("setting {} to {value}", file.display()))
}

/// Lets an interface compute checksums itself (`ethtool -K INTERFACE tx on`), or, off, makes the kernel do so before
/// the packet reaches it. On a veth whose peer runs XDP it belongs off: the peer otherwise sees partial checksums,
/// which no longer come out right once the program has changed the packet.
///
/// # Errors
/// When there is no such interface, or it cannot be set.
pub fn set_tx_checksum(namespace: &Namespace, interface: &str, on: bool) -> Result<(), Error> {
    let done = namespace.run_inside(|| tx_checksum_here(interface, on));
    done.and_then(|done| Ok(done?)).doing(|| {
        format!(
            "switching checksum offload of {interface} {}",
            if on { "on" } else { "off" }
        )
    })
}

/// Does an interface merge packets into larger ones before anybody sees them (large receive offload)?
///
/// # Errors
/// When there is no such interface, or it does not say.
pub fn merges(namespace: &Namespace, interface: &str) -> Result<bool, Error> {
    let mut value = EthtoolValue {
        command: ETHTOOL_GFLAGS,
        data: 0,
    };
    let done = namespace.run_inside(|| ethtool(interface, &mut value));
    done.and_then(|done| Ok(done?))
        .doing(|| format!("asking for the offloads of {interface}"))?;
    Ok(value.data & ETH_FLAG_LRO != 0)
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_LRO: u32 = 1 << 15;

nix::ioctl_readwrite_bad!(
    /// `ioctl(socket, SIOCETHTOOL, request)`
    siocethtool,
    SIOCETHTOOL,
    libc::ifreq
);

fn tx_checksum_here(interface: &str, on: bool) -> nix::Result<()> {
    let mut value = EthtoolValue {
        command: ETHTOOL_STXCSUM,
        data: on.into(),
    };
    ethtool(interface, &mut value)
}

/// Gives an interface so many queues to receive from and to send to (`ethtool -L INTERFACE rx RX tx TX`).
///
/// # Errors
/// [`Error`], when the interface is not there or does not have as many.
pub fn set_channels(namespace: &Namespace, interface: &str, receive: u32, send: u32) -> Result<(), Error> {
    let mut channels = EthtoolChannels {
        command: ETHTOOL_SCHANNELS,
        receive,
        send,
        ..EthtoolChannels::default()
    };
    let done = namespace.run_inside(|| ethtool(interface, &mut channels));
    done.and_then(|done| Ok(done?))
        .doing(|| format!("setting the queues of {interface}"))
}

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    command: u32,
    most: [u32; 4],
    receive: u32,
    send: u32,
    other: u32,
    combined: u32,
}

const ETHTOOL_SCHANNELS: u32 = 0x3d;

/// Asks the interface of the calling thread's namespace. `command` begins with the number of the command, and is what that
/// reads and writes.
fn ethtool<T>(interface: &str, command: &mut T) -> nix::Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut *command).cast(),
        },
    };
    if interface.len() >= request.ifr_name.len() {
        return Err(Errno::ENODEV);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the name ends with a zero, and the data pointer is to what this command reads and writes.
    unsafe { siocethtool(any.as_raw_fd(), &raw mut request)? };
    Ok(())
}
