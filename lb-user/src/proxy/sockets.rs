//! Sockets that listen for clients: as many for each address as there are threads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::snapshot::Listener;

/// Connections that wait to be taken, for each socket. The kernel's net.core.somaxconn bounds it.
const BACKLOG: i32 = 4096;

/// All that listen.
#[derive(Debug)]
pub struct Sockets {
    threads: usize,
    open: BTreeMap<SocketAddr, Listener>,
    /// Addresses where nobody can listen, and why.
    faults: BTreeMap<SocketAddr, String>,
}

impl Sockets {
    /// None yet, for so many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            open: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// Listens at these addresses and at no others. True when all of them work; others are worth another try.
    pub fn follow(&mut self, wanted: &BTreeSet<SocketAddr>) -> bool {
        self.open.retain(|address, _| wanted.contains(address));
        self.faults.retain(|address, _| wanted.contains(address));
        for &address in wanted {
            if self.open.contains_key(&address) {
                continue;
            }
            let sockets: io::Result<Vec<TcpListener>> = (0..self.threads).map(|_| listen(address)).collect();
            match sockets {
                Ok(sockets) => {
                    if self.faults.remove(&address).is_some() {
                        tracing::info!(%address, "the proxy listens there now");
                    }
                    let sockets = sockets.into();
                    self.open.insert(address, Listener { address, sockets });
                }
                Err(error) => {
                    let reason = error.to_string();
                    if self.faults.get(&address) != Some(&reason) {
                        tracing::error!(%address, reason, "the proxy cannot listen there; trying again");
                    }
                    self.faults.insert(address, reason);
                }
            }
        }
        self.faults.is_empty()
    }

    /// Who listens at `address`.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<Listener> {
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
