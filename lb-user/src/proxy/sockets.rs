//! Sockets that listen for clients: as many for each address as there are threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

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
            let socket = |_| known.next().map_or_else(|| listen(address), Ok);
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

    /// Who listens at `address`.
    #[must_use]
    pub(super) fn at(&self, address: SocketAddr) -> Option<Listener> {
        self.open.get(&address).cloned()
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
