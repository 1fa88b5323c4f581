//! Sockets that listen for clients: as many for each address as there are threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};

use super::snapshot::Listener;

/// Connections that wait to be taken, for each socket. The kernel's net.core.somaxconn bounds it.
const BACKLOG: i32 = 4096;

/// Sockets of a daemon that was there before, by address.
#[derive(Debug, Default)]
pub struct Inherited(pub BTreeMap<SocketAddr, Vec<TcpListener>>);

/// All that listen, for the proxy and for who hands them over to another daemon.
#[derive(Clone, Debug, Default)]
pub struct Listening(Arc<Mutex<Sockets>>);

impl Listening {
    /// These, and then those that the configuration wants.
    #[must_use]
    pub fn new(inherited: Inherited) -> Self {
        Self(Arc::new(Mutex::new(Sockets {
            inherited: inherited.0,
            ..Sockets::default()
        })))
    }

    /// Descriptors of all that listen. They are good for as long as the proxy runs and the configuration stays.
    #[must_use]
    pub fn descriptors(&self) -> Vec<(SocketAddr, RawFd)> {
        let sockets = self.lock();
        let listeners = sockets.open.iter();
        let all = listeners.flat_map(|(at, listener)| listener.sockets.iter().map(|socket| (*at, socket.as_raw_fd())));
        all.collect()
    }

    /// While it is `true`, nobody new gets through: the kernel does not answer who wants to connect, and such a one asks again
    /// a second later (RFC 6298 §2). Handshakes that have begun come to their end.
    pub fn hold(&self, hold: bool) {
        self.lock().hold(hold);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Listening`].
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Another daemon's, until they are found a use for.
    inherited: BTreeMap<SocketAddr, Vec<TcpListener>>,
    open: BTreeMap<SocketAddr, Listener>,
    /// Addresses where nobody can listen, and why.
    faults: BTreeMap<SocketAddr, String>,
    /// See [`Listening::hold`].
    held: bool,
}

impl Sockets {
    /// Listens at these addresses and at no others, with a socket for each of so many threads. True when all of them work;
    /// others are worth another try.
    pub(super) fn follow(&mut self, wanted: &BTreeSet<SocketAddr>, threads: usize) -> bool {
        let mut inherited = std::mem::take(&mut self.inherited);
        self.open.retain(|address, _| wanted.contains(address));
        self.faults.retain(|address, _| wanted.contains(address));
        for &address in wanted {
            if self.open.contains_key(&address) {
                continue;
            }
            // Clients wait on those that are there. Of more than there are threads the rest is closed.
            let mut known = inherited.remove(&address).unwrap_or_default().into_iter();
            let held = self.held;
            let socket = |_| {
                let socket = known.next().map_or_else(|| listen(address), Ok)?;
                if held {
                    hold(&socket, true)?;
                }
                Ok(socket)
            };
            let sockets: io::Result<Vec<TcpListener>> = (0..threads).map(socket).collect();
            match sockets {
                Ok(sockets) => {
                    if self.faults.remove(&address).is_some() {
                        tracing::info!(%address, "the proxy listens there now");
                    }
                    let sockets = sockets.into();
                    self.open.insert(address, Listener { address, sockets });
                }
                Err(error) => {
                    let error = error.to_string();
                    if self.faults.get(&address) != Some(&error) {
                        tracing::error!(%address, error, "the proxy cannot listen there; trying again");
                    }
                    self.faults.insert(address, error);
                }
            }
        }
        self.faults.is_empty()
    }

    fn hold(&mut self, hold: bool) {
        self.held = hold;
        for listener in self.open.values() {
            for socket in &*listener.sockets {
                if let Err(error) = self::hold(socket, hold) {
                    tracing::warn!(address = %listener.address, %error, "new connections are not held back");
                }
            }
        }
    }

    /// Who listens at `address`.
    #[must_use]
    pub(super) fn at(&self, address: SocketAddr) -> Option<Listener> {
        self.open.get(&address).cloned()
    }
}

/// Drops what asks for a new connection (SYN without ACK) before this socket sees it, or does so no more.
fn hold(socket: &TcpListener, hold: bool) -> io::Result<()> {
    /// The byte with the flags in a header of TCP, and those that count.
    const FLAGS: (u32, u32, u32) = (13, 0x12, 0x02);
    let op = |code: u32| u16::try_from(code).unwrap_or_default();
    let filter = [
        SockFilter::new(op(BPF_LD | BPF_B | BPF_ABS), 0, 0, FLAGS.0),
        SockFilter::new(op(BPF_ALU | BPF_AND | BPF_K), 0, 0, FLAGS.1),
        SockFilter::new(op(BPF_JMP | BPF_JEQ | BPF_K), 0, 1, FLAGS.2),
        SockFilter::new(op(BPF_RET | BPF_K), 0, 0, 0),
        SockFilter::new(op(BPF_RET | BPF_K), 0, 0, u32::MAX),
    ];
    let socket = SockRef::from(socket);
    if hold {
        socket.attach_filter(&filter)
    } else {
        socket.detach_filter()
    }
}

/// A socket that shares its address with those of other threads, whether the node has the address yet or not.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_keepalive(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
