//! TCP to a VIP at a backend, by smoltcp. No task belongs to it: it lives in the reads and writes of whoever has it.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::{DEPTH, Failure, HOPS, Heard, Out, Paths, Way};
use crate::model::{Protocol, ServicePath};

/// How much the backend may send before it is read, in bytes.
pub(super) const WINDOW: usize = 16 * 1024;

/// How much waits to be sent or acknowledged, in bytes.
const SENDING: usize = 8 * 1024;

/// See the module. Reset when dropped.
pub(in crate::health) struct Stream {
    device: Device,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    timer: Pin<Box<Sleep>>,
    /// What the time of `interface` counts from.
    began: tokio::time::Instant,
    /// What somebody has said of it last.
    told: Option<Failure>,
}

impl Stream {
    /// Opens a connection to `vip` at the backend. Waits for as long as nobody says anything.
    pub(in crate::health) async fn connect(
        paths: &Paths,
        path: &ServicePath,
        backend: IpAddr,
        vip: SocketAddr,
    ) -> Result<Self, Failure> {
        let way = paths.way(Protocol::Tcp, path, backend, vip).await?;
        let mut stream = Self::begin(way)?;
        std::future::poll_fn(|cx| stream.poll_connect(cx)).await?;
        Ok(stream)
    }

    fn begin(way: Way) -> Result<Self, Failure> {
        let (local, vip) = (way.out.local, way.out.vip);
        let mut device = Device {
            mtu: way.out.mtu(),
            way,
            received: VecDeque::with_capacity(DEPTH),
            refused: None,
        };
        let began = tokio::time::Instant::now();
        let mut config = Config::new(HardwareAddress::Ip);
        // Its keys are random.
        config.random_seed = RandomState::new().build_hasher().finish();
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        let prefix = if local.is_ipv4() { 32 } else { 128 };
        interface.update_ip_addrs(|addresses| {
            // There is room for the first.
            let _ = addresses.push(IpCidr::new(local.ip().into(), prefix));
        });
        let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
        let mut socket = Socket::new(buffer(WINDOW), buffer(SENDING));
        socket.set_hop_limit(Some(HOPS));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let begun = sockets
            .get_mut::<Socket<'_>>(handle)
            .connect(interface.context(), vip, local);
        begun.map_err(|error| Failure::Local(error.to_string()))?;
        Ok(Self {
            device,
            interface,
            sockets,
            handle,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            began,
            told: None,
        })
    }

    fn poll_connect(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.work(cx);
        match self.socket().state() {
            State::SynSent | State::SynReceived => {
                if let Some(refused) = self.device.refused.take() {
                    return Poll::Ready(Err(Failure::Local(refused.to_string())));
                }
                self.told.take().map_or(Poll::Pending, |told| Poll::Ready(Err(told)))
            }
            State::Closed => Poll::Ready(Err(Failure::Refused)),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn now(&self) -> Instant {
        let micros = self.began.elapsed().as_micros();
        Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Takes what has come and sends what is due, until nothing is; then `cx` is woken by what comes next, or in time.
    fn work(&mut self, cx: &mut Context<'_>) {
        loop {
            let mut news = false;
            while self.device.received.len() < DEPTH
                && let Poll::Ready(Some(heard)) = self.device.way.heard.poll_recv(cx)
            {
                news = true;
                match heard {
                    Heard::Packet(packet) => self.device.received.push_back(packet),
                    Heard::Error(error) => self.told = Some(error.into()),
                }
            }
            self.exchange();
            if news {
                continue;
            }
            let now = self.now();
            let Some(due) = self.interface.poll_delay(now, &self.sockets) else {
                return;
            };
            self.timer
                .as_mut()
                .reset(tokio::time::Instant::now() + Duration::from_micros(due.total_micros()));
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    /// One step of the stack.
    fn exchange(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.device, &mut self.sockets);
    }

    fn over() -> io::Error {
        io::Error::from_raw_os_error(Errno::ECONNRESET as i32)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.socket().abort();
        self.exchange();
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.work(cx);
        match self.socket().recv_slice(buffer.initialize_unfilled()) {
            Ok(0) => Poll::Pending,
            Ok(length) => {
                buffer.advance(length);
                // There is room again, which the other end may wait to hear.
                self.exchange();
                Poll::Ready(Ok(()))
            }
            Err(RecvError::Finished) => Poll::Ready(Ok(())),
            Err(RecvError::InvalidState) => Poll::Ready(Err(Self::over())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.work(cx);
        match self.socket().send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => Poll::Pending,
            Ok(length) => {
                self.exchange();
                Poll::Ready(Ok(length))
            }
            Err(_) => Poll::Ready(Err(Self::over())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is sent as soon as the other end has room.
        self.work(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().close();
        ready!(self.poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// What smoltcp takes for a network card.
struct Device {
    way: Way,
    mtu: usize,
    /// At most [`DEPTH`].
    received: VecDeque<Vec<u8>>,
    /// What the kernel has last said to a packet.
    refused: Option<io::Error>,
}

impl phy::Device for Device {
    type RxToken<'d> = Received;
    type TxToken<'d> = Sending<'d>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), self.sending()))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(self.sending())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // What has not been on a wire may lack them.
        let mut checksums = ChecksumCapabilities::default();
        (checksums.ipv4, checksums.tcp) = (Checksum::Tx, Checksum::Tx);
        capabilities.checksum = checksums;
        capabilities
    }
}

impl Device {
    fn sending(&mut self) -> Sending<'_> {
        Sending {
            out: &self.way.out,
            refused: &mut self.refused,
        }
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Sending<'d> {
    out: &'d Out,
    refused: &'d mut Option<io::Error>,
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        *self.refused = self.out.send(&packet).err();
        result
    }
}
