//! Raw sockets of protocol 112: one for an interface and a family, whatever virtual routers are talked of there.

use std::io::{self, IoSliceMut};
use std::iter;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::packet::{GROUP_V4, GROUP_V6, PROTOCOL, TTL};
use crate::net::Namespace;

/// Longest that is read: an advertisement of 255 addresses of IPv6, with a header of IPv4 in front at most.
const LONGEST: usize = 8 + 255 * 16 + 60;

/// Advertisements that are read at once. Others wait in the kernel until there are more, or until time counts.
const BATCH: usize = 1_024;

/// What has come, with what its headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    /// Who sent it.
    pub(super) source: IpAddr,
    /// To whom.
    pub(super) destination: IpAddr,
    /// How many routers it could still pass.
    pub(super) ttl: u8,
    /// Behind the header of IP.
    pub(super) message: Vec<u8>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct VrrpSocket {
    socket: AsyncFd<OwnedFd>,
    v6: bool,
    interface: u32,
}

impl VrrpSocket {
    /// Opens one on an interface of a network namespace, within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses: that takes CAP_NET_RAW, and an interface that is there.
    pub(super) fn open(namespace: &Namespace, name: &str, interface: u32, v6: bool) -> io::Result<Self> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let protocol = Some(Protocol::from(i32::from(PROTOCOL)));
        let socket = namespace.run_inside(|| Socket::new(domain, Type::RAW, protocol))??;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(name.as_bytes()))?;
        if v6 {
            socket.set_unicast_hops_v6(TTL.into())?;
            socket.set_multicast_hops_v6(TTL.into())?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_multicast_if_v6(interface)?;
            socket.join_multicast_v6(&GROUP_V6, interface)?;
            socket.set_recv_hoplimit_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            socket.set_ttl_v4(TTL.into())?;
            socket.set_multicast_ttl_v4(TTL.into())?;
            socket.set_multicast_loop_v4(false)?;
            socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface))?;
            // With the header of the packet, so that it leaves with the source that the checksum has in it.
            socket.set_header_included_v4(true)?;
        }
        // SAFETY: the descriptor is the owner's until it is dropped, and nothing replaces or closes it meanwhile.
        let socket = unsafe { AsyncFd::register(OwnedFd::from(socket)) }?;
        Ok(Self { socket, v6, interface })
    }

    /// The interface that it was opened on.
    #[must_use]
    pub(super) const fn interface(&self) -> u32 {
        self.interface
    }

    /// Sends a message. Does not wait: where there is no room now, it is lost as on any wire.
    ///
    /// # Errors
    /// When the kernel refuses, as for an interface that is off.
    pub(super) fn send(&self, source: IpAddr, destination: IpAddr, message: &[u8]) -> io::Result<()> {
        let sent = match (source, destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut packet = Vec::with_capacity(20 + message.len());
                // The kernel fills in the length, the identification and the checksum (raw(7)).
                packet.extend_from_slice(&[0x45, 0xc0, 0, 0, 0, 0, 0, 0, TTL, PROTOCOL, 0, 0]);
                packet.extend_from_slice(&from.octets());
                packet.extend_from_slice(&to.octets());
                packet.extend_from_slice(message);
                self.send_to(&packet, SocketAddr::new(destination, 0))
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => self.send_from_v6(message, from, to),
            _ => Err(Errno::EAFNOSUPPORT.into()),
        };
        match sent {
            Err(error)
                if matches!(
                    error.raw_os_error().map(Errno::from_raw),
                    Some(Errno::EAGAIN | Errno::ENOBUFS)
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn send_to(&self, packet: &[u8], to: SocketAddr) -> io::Result<()> {
        let address = nix::sys::socket::SockaddrStorage::from(to);
        nix::sys::socket::sendto(self.socket.as_raw_fd(), packet, &address, MsgFlags::empty())?;
        Ok(())
    }

    fn send_from_v6(&self, message: &[u8], from: std::net::Ipv6Addr, to: std::net::Ipv6Addr) -> io::Result<()> {
        use nix::libc::{in6_addr, in6_pktinfo};
        use nix::sys::socket::{ControlMessage, sendmsg};
        let information = in6_pktinfo {
            ipi6_addr: in6_addr { s6_addr: from.octets() },
            ipi6_ifindex: self.interface,
        };
        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.interface));
        let control = [ControlMessage::Ipv6PacketInfo(&information)];
        let parts = [io::IoSlice::new(message)];
        sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to))?;
        Ok(())
    }

    /// Ready once when something has come; it is for [`Self::arrived`] then.
    pub(super) fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<()> {
        // An error says that the runtime ends.
        self.socket.poll_read_ready(context).map(|ready| {
            if let Ok(mut ready) = ready {
                ready.clear_ready();
            }
        })
    }

    /// What has arrived by now, at most [`BATCH`].
    pub(super) fn arrived(&self) -> Vec<Datagram> {
        iter::from_fn(|| match self.read() {
            Err(Errno::EAGAIN) => None,
            // Such as that the interface went down: what the watcher says of it counts.
            Err(error) => {
                tracing::debug!(interface = self.interface, %error, "cannot read advertisements");
                None
            }
            Ok(datagram) => Some(datagram),
        })
        .take(BATCH)
        .flatten()
        .collect()
    }

    /// The next message; `None`: nothing that an IP stack would hand on.
    fn read(&self) -> nix::Result<Option<Datagram>> {
        let mut buffer = [0; LONGEST];
        let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::c_int);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<SockaddrIn6>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let length = received.bytes;
        if !self.v6 {
            return Ok(parse_v4(&buffer[..length]));
        }
        let source = received.address.map(|address| IpAddr::V6(address.ip()));
        let (mut destination, mut ttl) = (None, None);
        for message in received.cmsgs()? {
            match message {
                ControlMessageOwned::Ipv6PacketInfo(information) => {
                    destination = Some(IpAddr::from(information.ipi6_addr.s6_addr));
                }
                ControlMessageOwned::Ipv6HopLimit(hops) => ttl = u8::try_from(hops).ok(),
                _ => {}
            }
        }
        let (Some(source), Some(destination), Some(ttl)) = (source, destination, ttl) else {
            return Ok(None);
        };
        Ok(Some(Datagram {
            source,
            destination,
            ttl,
            message: buffer[..length].to_vec(),
        }))
    }
}

/// A packet of IPv4 with its header, as raw sockets get it.
fn parse_v4(packet: &[u8]) -> Option<Datagram> {
    let header = packet.first_chunk::<20>()?;
    let length = usize::from(header[0] & 0xf) * 4;
    let [.., a, b, c, d, e, f, g, h] = *header;
    Some(Datagram {
        source: [a, b, c, d].into(),
        destination: [e, f, g, h].into(),
        ttl: header[8],
        message: packet.get(length.max(20)..)?.to_vec(),
    })
}
