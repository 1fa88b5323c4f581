//! Telling neighbours who has an address: gratuitous ARP (RFC 5227 section 2.3) and unsolicited neighbour advertisements
//! (RFC 4861 section 7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use lb_common::addr::Mac;
use lb_common::csum::fold;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Namespace, packet};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Every neighbour of Ethernet, and every one that speaks IPv6.
const BROADCAST: Mac = Mac([0xff; 6]);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// A way out for announcements.
#[derive(Debug)]
pub struct Announcer {
    socket: OwnedFd,
}

impl Announcer {
    /// In this network namespace.
    ///
    /// # Errors
    /// When the kernel refuses: that takes CAP_NET_RAW.
    pub fn inside(namespace: &Namespace) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let open = || socket(AddressFamily::Packet, SockType::Datagram, flags, None);
        // With no protocol it hears nothing.
        Ok(Self {
            socket: namespace.run_inside(open)??,
        })
    }

    /// Tells everybody on an interface that `ip` is at `mac`. Does not wait: where there is no room now, the packet is
    /// lost as on any wire.
    ///
    /// # Errors
    /// When the kernel refuses, as for an interface that is gone or off.
    pub fn announce(&self, ip: IpAddr, interface: u32, mac: Mac) -> io::Result<()> {
        let (packet, protocol, to) = match ip {
            IpAddr::V4(v4) => (gratuitous_arp(v4, mac).to_vec(), libc::ETH_P_ARP, BROADCAST),
            IpAddr::V6(v6) => (
                neighbour_advertisement(v6, mac).to_vec(),
                libc::ETH_P_IPV6,
                ALL_NODES_MAC,
            ),
        };
        match packet::send_to(self.socket.as_raw_fd(), &packet, protocol, interface, to) {
            Ok(()) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }
}

/// A request for one's own address, which nobody answers and everybody learns from.
fn gratuitous_arp(ip: Ipv4Addr, mac: Mac) -> [u8; 28] {
    // Ethernet, IPv4, 6 and 4 bytes of address, a request (RFC 826).
    let mut packet = [0; 28];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[8..14].copy_from_slice(&mac.0);
    packet[14..18].copy_from_slice(&ip.octets());
    packet[24..28].copy_from_slice(&ip.octets());
    packet
}

/// With the override flag, so that it replaces what is known; and without the router flag: nobody shall send through this
/// node what is for others.
fn neighbour_advertisement(ip: Ipv6Addr, mac: Mac) -> [u8; 72] {
    const LENGTH: usize = 32;
    const ICMPV6: u8 = 58;
    const OVERRIDE: u8 = 0x20;
    let mut packet = [0; 40 + LENGTH];
    let (header, message) = packet.split_at_mut(40);
    header[0] = 0x60;
    header[5] = LENGTH as u8;
    header[6] = ICMPV6;
    // One that came through a router is not taken (section 7.1.2).
    header[7] = 255;
    header[8..24].copy_from_slice(&ip.octets());
    header[24..40].copy_from_slice(&ALL_NODES.octets());
    message[0] = 136;
    message[4] = OVERRIDE;
    message[8..24].copy_from_slice(&ip.octets());
    // Option 2, one unit of 8 bytes: the target's link-layer address.
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..32].copy_from_slice(&mac.0);
    let words = header[8..].chunks(2).chain(message.chunks(2));
    let sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let checksum = fold(sum + LENGTH as u32 + u32::from(ICMPV6));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}
