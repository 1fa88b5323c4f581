//! Conversations with a backend that take the way of its service's packets: addressed to the VIP, sent to the backend's
//! MAC or in the outer header that the data plane would use, from the node's own address.
//!
//! The kernel cannot have them, since the node holds the VIP itself. So TCP is spoken here, over one packet socket for
//! each family of IP, which all conversations share: what comes in is told apart by the local port. Docs: ADR 9.
//!
//! Packets to the VIP have a hop limit of 1. A backend that does not hold the VIP and forwards packets would otherwise send
//! them on to whoever announces it, which is this node, whose program would give them to a backend that does.
//!
//! All of it is bounded: [`DEPTH`] packets of at most [`LONGEST`] bytes wait for each conversation, and what comes while
//! they do is lost, as on a wire.

mod datagram;
mod frame;
mod sources;
mod stream;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;

use crate::model::{NextHop, NextHopState, Protocol, ServicePath, Tunnel};
use crate::net::Net;
use crate::net::packet::{PacketSocket, Reservation};
pub(super) use datagram::Datagrams;
use frame::{Content, IcmpError};
use sources::Sources;
pub(super) use stream::Stream;

/// Packets that wait for one conversation; more are lost.
const DEPTH: usize = 16;

/// Longest packet that is taken, in bytes: what fits into the window of a [`Stream`], since the kernel may have put several
/// segments into one packet, and headers.
const LONGEST: usize = stream::WINDOW + 256;

/// Hop limit of packets to the VIP; see the module.
const HOPS: u8 = 1;

/// Why there is no conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The backend is not reached, which is known for sure.
    NoWay(String),
    /// What this node lacks, or does not know yet.
    Local(String),
    /// The backend's kernel says that nobody listens: by a reset, or by an ICMP error about the port.
    Refused,
    /// The backend hands packets to the VIP on instead of taking them.
    HandedOn,
    /// The network says that it cannot be reached.
    Unreachable(nix::errno::Errno),
}

/// What all conversations share. Cheap to clone. In the network namespace of the thread that uses it first.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wires: OnceCell<Wires>,
    conversations: Arc<Conversations>,
    /// The VIPs that are listened to.
    vips: Mutex<BTreeSet<IpAddr>>,
    sources: Sources,
}

/// The packet sockets, and the tasks that read them.
#[derive(Debug)]
struct Wires {
    v4: Arc<PacketSocket>,
    v6: Arc<PacketSocket>,
    _readers: JoinSet<()>,
}

/// Who waits for packets, by protocol and local address.
#[derive(Debug, Default)]
struct Conversations {
    waiting: Mutex<HashMap<(Protocol, SocketAddr), Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    with: SocketAddr,
    queue: mpsc::Sender<Heard>,
}

/// What comes for a conversation.
#[derive(Debug)]
enum Heard {
    /// A packet from its other end, from the IP header on.
    Packet(Vec<u8>),
    /// Somebody says that what was sent went nowhere.
    Error(IcmpError),
}

impl Paths {
    /// Nothing is opened before the first conversation.
    #[must_use]
    pub(super) fn new(net: Net) -> Self {
        Self {
            shared: Arc::new(Shared {
                wires: OnceCell::new(),
                conversations: Arc::default(),
                vips: Mutex::default(),
                sources: Sources::new(net),
            }),
        }
    }

    /// From now on, conversations are with these VIPs.
    pub(super) fn aim(&self, vips: BTreeSet<IpAddr>) {
        let mut known = lock(&self.shared.vips);
        if *known == vips {
            return;
        }
        *known = vips;
        if let Some(wires) = self.shared.wires.get()
            && let Err(error) = wires.listen_to(&known)
        {
            tracing::warn!(%error, "answers from some VIPs cannot be heard");
        }
    }

    /// A way to `vip` at the backend, with a port of the node's own.
    async fn way(
        &self,
        protocol: Protocol,
        path: &ServicePath,
        backend: IpAddr,
        vip: SocketAddr,
    ) -> Result<Way, Failure> {
        let hop = match &path.next_hop {
            NextHopState::Resolved(hop) => *hop,
            NextHopState::Pending(why) => return Err(Failure::Local(why.clone())),
            NextHopState::Unresolved(why) => return Err(Failure::NoWay(why.clone())),
        };
        let source = self.source(path, vip.ip()).await?;
        let source = source.ok_or_else(|| {
            let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
            Failure::Local(format!(
                "it has no {family} address of its own to ask {} from",
                vip.ip()
            ))
        })?;
        let wires = self.wires().await.map_err(|error| {
            Failure::Local(format!("cannot open a packet socket, which takes CAP_NET_RAW: {error}"))
        })?;
        let reservation = Reservation::take(protocol, source)
            .map_err(|error| Failure::Local(format!("cannot reserve a port of {source}: {error}")))?;
        let (queue, heard) = mpsc::channel(DEPTH);
        let conversations = Arc::clone(&self.shared.conversations);
        let key = (protocol, reservation.address());
        lock(&conversations.waiting).insert(key, Waiting { with: vip, queue });
        Ok(Way {
            out: Out {
                wire: Arc::clone(if backend.is_ipv4() { &wires.v4 } else { &wires.v6 }),
                tunnel: path.tunnel,
                backend,
                hop,
                local: reservation.address(),
                vip,
            },
            heard,
            key,
            conversations,
            _reservation: reservation,
        })
    }

    /// The node's own address that `vip` is asked from; `None` where there is none.
    pub(super) async fn source(&self, path: &ServicePath, vip: IpAddr) -> Result<Option<IpAddr>, Failure> {
        let NextHopState::Resolved(hop) = &path.next_hop else {
            return Ok(None);
        };
        let found = self.shared.sources.towards(hop, vip, &path.not_sources).await;
        found.map_err(|error| Failure::Local(crate::model::chain(&error)))
    }

    async fn wires(&self) -> io::Result<&Wires> {
        let open = async || {
            let wires = Wires::open(&self.shared.conversations)?;
            wires.listen_to(&lock(&self.shared.vips))?;
            Ok(wires)
        };
        self.shared.wires.get_or_try_init(open).await
    }
}

impl Wires {
    fn open(conversations: &Arc<Conversations>) -> io::Result<Self> {
        let open = |v6| io::Result::Ok(Arc::new(PacketSocket::open(v6)?));
        let (v4, v6) = (open(false)?, open(true)?);
        let mut readers = JoinSet::new();
        for wire in [&v4, &v6] {
            readers.spawn(read(Arc::clone(wire), Arc::clone(conversations)));
        }
        Ok(Self {
            v4,
            v6,
            _readers: readers,
        })
    }

    fn listen_to(&self, vips: &BTreeSet<IpAddr>) -> io::Result<()> {
        self.v4.listen_to(vips)?;
        self.v6.listen_to(vips)
    }
}

/// Gives what comes to whom it is for.
async fn read(wire: Arc<PacketSocket>, conversations: Arc<Conversations>) {
    let mut packet = vec![0; LONGEST + 1];
    loop {
        match wire.receive(&mut packet).await {
            Ok(length) if length <= LONGEST => conversations.give(&packet[..length]),
            // Nobody asked for so much.
            Ok(_) => {}
            // An interface went down, and the socket goes on.
            Err(error) => tracing::debug!(%error, "the packet socket says"),
        }
    }
}

impl Conversations {
    fn give(&self, packet: &[u8]) {
        let Some(received) = frame::parse(packet) else {
            return;
        };
        let waiting = lock(&self.waiting);
        let Some(waiting) = waiting.get(&(received.protocol, received.local)) else {
            return;
        };
        if waiting.with != received.remote {
            return;
        }
        let heard = match received.content {
            Content::Packet => Heard::Packet(packet.to_vec()),
            Content::Error(error) => Heard::Error(error),
        };
        // Whoever has enough to read loses it.
        let _ = waiting.queue.try_send(heard);
    }
}

/// A way to a VIP at a backend, and what comes back.
#[derive(Debug)]
struct Way {
    out: Out,
    heard: mpsc::Receiver<Heard>,
    key: (Protocol, SocketAddr),
    conversations: Arc<Conversations>,
    _reservation: Reservation,
}

impl Drop for Way {
    fn drop(&mut self) {
        lock(&self.conversations.waiting).remove(&self.key);
    }
}

/// The way out.
#[derive(Debug)]
struct Out {
    wire: Arc<PacketSocket>,
    tunnel: Option<Tunnel>,
    backend: IpAddr,
    hop: NextHop,
    local: SocketAddr,
    vip: SocketAddr,
}

impl Out {
    /// Sends a packet, from its IP header on.
    fn send(&self, packet: &[u8]) -> io::Result<()> {
        let (interface, mac) = (self.hop.interface, self.hop.mac);
        match &self.tunnel {
            None => self.wire.send(packet, interface, mac),
            Some(tunnel) => {
                // The port is what one conversation has of its own.
                let outer = frame::outer(tunnel, self.backend, packet, self.local.port().into());
                self.wire.send(&outer, interface, mac)
            }
        }
    }

    /// The largest packet that goes this way, in bytes.
    fn mtu(&self) -> usize {
        let outer = match (&self.tunnel, self.backend) {
            (None, _) => 0,
            (Some(_), IpAddr::V4(_)) => frame::OUTER_V4,
            (Some(_), IpAddr::V6(_)) => frame::OUTER_V6,
        };
        let least = if self.vip.is_ipv4() { 576 } else { 1280 };
        usize::from(self.hop.mtu.min(1500)).saturating_sub(outer).max(least)
    }
}

impl From<IcmpError> for Failure {
    fn from(error: IcmpError) -> Self {
        match error {
            IcmpError::Port => Self::Refused,
            IcmpError::HopLimit => Self::HandedOn,
            IcmpError::Unreachable(errno) => Self::Unreachable(errno),
        }
    }
}

/// What is behind a lock is whole between any two steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
