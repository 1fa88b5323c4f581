//! What a probe talks over: a connection or a socket of the kernel's, or one that takes the way of a service's packets.
//! The kinds of probe do not see which.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};

use super::{Call, Failure, Phase};
use crate::health::path;

/// A connection that is reset when dropped.
pub(super) enum Stream {
    Kernel(TcpStream),
    Path(Box<path::Stream>),
}

/// Opens a connection to what is asked.
pub(super) async fn connect(call: Call<'_>) -> Result<Stream, Failure> {
    let (address, deadline) = (call.address, call.deadline);
    if let Some(path) = call.path {
        let backend = call.target.member.backend.ip();
        let connection = path::Stream::connect(&call.means.paths, path, backend, address);
        let stream = deadline.bound(Phase::Connecting, connection).await??;
        return Ok(Stream::Path(Box::new(stream)));
    }
    let stream = deadline.bound(Phase::Connecting, TcpStream::connect(address)).await??;
    stream.set_zero_linger()?;
    // A port of this node that is free and in the ephemeral range can be given to the probe itself, which then meets
    // itself (RFC 9293 §3.5, simultaneous open). Nobody listens there.
    if stream.local_addr()? == address {
        return Err(Failure::Refused);
    }
    Ok(Stream::Kernel(stream))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Path(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Path(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_flush(cx),
            Self::Path(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Path(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What hears nobody but what is asked, and the ICMP errors about it.
pub(super) enum Datagrams {
    Kernel(UdpSocket),
    Path(Box<path::Datagrams>),
}

impl Datagrams {
    pub(super) async fn open(call: Call<'_>) -> Result<Self, Failure> {
        let address = call.address;
        if let Some(path) = call.path {
            let backend = call.target.member.backend.ip();
            let datagrams = path::Datagrams::open(&call.means.paths, path, backend, address).await?;
            return Ok(Self::Path(Box::new(datagrams)));
        }
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        // As with TCP: the probe may have got the very port that it probes, and would hear itself.
        if socket.local_addr()? == address {
            return Err(unreachable());
        }
        Ok(Self::Kernel(socket))
    }

    pub(super) async fn send(&self, payload: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Kernel(socket) => socket.send(payload).await.map(drop).map_err(failure),
            Self::Path(datagrams) => Ok(datagrams.send(payload)?),
        }
    }

    /// The next datagram; of a longer one than `buffer`, what fits.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match self {
            Self::Kernel(socket) => socket.recv(buffer).await.map_err(failure),
            Self::Path(datagrams) => datagrams.receive(buffer).await.map_err(|told| match told {
                path::Failure::Refused => unreachable(),
                told => told.into(),
            }),
        }
    }
}

fn failure(error: io::Error) -> Failure {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => unreachable(),
        _ => error.into(),
    }
}

/// What the kernel calls a refused connection, though there is none.
fn unreachable() -> Failure {
    Failure::Unreachable {
        kind: io::ErrorKind::ConnectionRefused,
        text: "port unreachable",
    }
}
