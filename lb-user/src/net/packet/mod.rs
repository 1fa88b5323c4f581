//! Packets past the kernel's own connections: what is sent in any form to any MAC, and what comes back.
//!
//! For probes whose packets the kernel could not send, since they are addressed to what the node holds itself. The kernel
//! knows nothing of such a conversation and would answer what comes back with a reset or "port unreachable"; a
//! [`Reservation`] keeps it from that, and the port from others.

mod filter;

use std::collections::BTreeSet;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use lb_common::addr::Mac;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage};
use tokio::io::unix::AsyncFd;

use crate::model::Protocol;

/// All packets of one IP family that reach this network namespace, and a way out for any. One for long: the kernel waits
/// for its readers, some 10 ms, when one is closed.
///
/// What nobody reads is dropped when `net.core.rmem_default` bytes wait.
#[derive(Debug)]
pub struct PacketSocket {
    socket: AsyncFd<OwnedFd>,
    v6: bool,
}

impl PacketSocket {
    /// Opens one in the calling thread's network namespace, within a tokio runtime. It hears nothing yet.
    ///
    /// # Errors
    /// When the kernel refuses: that takes CAP_NET_RAW.
    pub fn open(v6: bool) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // With no protocol it hears nothing until the filter is there.
        let socket = socket::socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        attach(&socket, &filter::NOTHING)?;
        let any = link_address(protocol(v6), 0, Mac::default());
        // SAFETY: the address is a sockaddr_ll of this length.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const any).cast(), LINK_ADDRESS) };
        Errno::result(bound)?;
        // SAFETY: the descriptor is the owner's until it is dropped, and nothing replaces or closes it meanwhile.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket, v6 })
    }

    /// From now on hears TCP and UDP from these addresses, and ICMP errors from anybody, as far as they are for this node
    /// by their MAC. Of another family, an address is nobody's.
    ///
    /// # Errors
    /// When the kernel refuses; then it hears what it heard before.
    pub fn listen_to(&self, sources: &BTreeSet<IpAddr>) -> io::Result<()> {
        let sources = sources.iter().filter(|source| source.is_ipv6() == self.v6);
        attach(&self.socket, &filter::from(self.v6, sources))
    }

    /// Sends an IP packet out of an interface to a MAC; the kernel writes the Ethernet header. The packet may be of either
    /// family. Does not wait: where there is no room now, the packet is lost as on any wire.
    ///
    /// # Errors
    /// When the kernel refuses, as for an interface that is gone or off.
    pub fn send(&self, packet: &[u8], interface: u32, mac: Mac) -> io::Result<()> {
        let v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        match send_to(self.socket.as_raw_fd(), packet, protocol(v6), interface, mac) {
            Ok(()) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// The next packet, from its IP header on; of a longer one than `buffer`, what fits. Its checksums may be unfinished,
    /// where it has not been on a wire.
    ///
    /// # Errors
    /// What the kernel says of the socket, such as that an interface went down: the next call may succeed.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
            let read = ready.try_io(|socket| Ok(socket::recv(socket.as_raw_fd(), buffer, MsgFlags::empty())?));
            if let Ok(read) = read {
                return read;
            }
        }
    }
}

const LINK_ADDRESS: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// What Ethernet calls a family of IP.
const fn protocol(v6: bool) -> libc::c_int {
    if v6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP }
}

/// Sends a packet of this protocol of Ethernet by a packet socket of the kind that leaves the header to the kernel.
pub(super) fn send_to(
    socket: RawFd,
    packet: &[u8],
    protocol: libc::c_int,
    interface: u32,
    mac: Mac,
) -> nix::Result<()> {
    let to = link_address(protocol, interface, mac);
    // SAFETY: the packet is readable for its length, the address a sockaddr_ll of this length.
    let sent = unsafe {
        libc::sendto(
            socket,
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const to).cast(),
            LINK_ADDRESS,
        )
    };
    Errno::result(sent).map(drop)
}

fn link_address(protocol: libc::c_int, interface: u32, mac: Mac) -> libc::sockaddr_ll {
    let mut address = [0; 8];
    address[..mac.0.len()].copy_from_slice(&mac.0);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (protocol as u16).to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: mac.0.len() as u8,
        sll_addr: address,
    }
}

/// Gives a socket a filter (SO_ATTACH_FILTER), in place of the one that it has.
fn attach(socket: &impl AsRawFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::E2BIG)?,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the option takes a sock_fprog, which points to as many instructions as it says; the kernel copies them.
    let attached = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(attached)?;
    Ok(())
}

/// A port of one of the node's addresses that the kernel gives to nobody else, and at which it answers nothing: what
/// comes there is dropped by a socket's filter, before there could be a reset or an ICMP error.
#[derive(Debug)]
pub struct Reservation {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl Reservation {
    /// Reserves a free port from the ephemeral range, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When no port is free, or `source` is no address of the node's.
    pub fn take(protocol: Protocol, source: IpAddr) -> io::Result<Self> {
        let family = match source {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let kind = match protocol {
            Protocol::Tcp => SockType::Stream,
            Protocol::Udp => SockType::Datagram,
        };
        let socket = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        // Before anything could come.
        attach(&socket, &filter::NOTHING)?;
        socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
        let (address, socket) = match protocol {
            Protocol::Tcp => {
                // One that does not listen is not asked.
                socket::listen(&socket, Backlog::new(1)?)?;
                let listener = TcpListener::from(socket);
                (listener.local_addr()?, listener.into())
            }
            Protocol::Udp => {
                let socket = UdpSocket::from(socket);
                (socket.local_addr()?, socket.into())
            }
        };
        Ok(Self {
            address,
            _socket: socket,
        })
    }

    /// The node's address, and the port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}
