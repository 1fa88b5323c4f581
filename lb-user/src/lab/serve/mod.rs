//! `fulcrum lab serve`: a server for labs. Says, over HTTP/1.1 and over UDP, who answers and whom it saw, and over
//! HTTP/1.1 behaves badly when it is asked to.
//!
//! [`answer`] says what is answered, [`access`] writes the log.

mod access;
mod answer;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::args::Serve;
use answer::{Conversation, Leave, Server};

/// 100 ms after a failure to accept, such as too many open files.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is killed.
pub(super) async fn run(args: &Serve) -> anyhow::Result<ExitCode> {
    let Serve { name, listen, .. } = args;
    let log = args.access_log.as_deref().map(access::Log::open).transpose()?;
    let server = Arc::new(Server::new(name, log)?);
    let mut sockets = Vec::new();
    for &address in listen {
        let tcp = bind(address, SockType::Stream).with_context(|| format!("listening on {address}/tcp"))?;
        let udp = bind(address, SockType::Datagram).with_context(|| format!("listening on {address}/udp"))?;
        sockets.push((TcpListener::from_std(tcp.into())?, UdpSocket::from_std(udp.into())?));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (tcp, udp) in sockets {
        tasks.spawn(accept(tcp, Arc::clone(&server)));
        tasks.spawn(echo(udp, name.clone()));
    }
    let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
    println!("ready {name} on {}", addresses.join(" "));
    // Each of them serves for ever, unless its socket breaks.
    match tasks.join_next().await {
        Some(ended) => ended?.map(|never: Infallible| match never {}),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// A socket on exactly this address: an answer then comes from the address that was asked, and an IPv6 address is
/// IPv6 only.
fn bind(address: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if address.is_ipv6() {
        socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        // Connections of an earlier server that linger must not keep this one from starting.
        socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    if kind == SockType::Stream {
        socket::listen(&socket, Backlog::MAXCONN)?;
    }
    Ok(socket)
}

async fn accept(listener: TcpListener, server: Arc<Server>) -> anyhow::Result<Infallible> {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                tokio::spawn(converse(stream, client, Arc::clone(&server)));
            }
            // The client left, or descriptors ran short, which passes when connections end.
            Err(error) => {
                eprintln!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, client: SocketAddr, server: Arc<Server>) {
    let Ok(asked) = stream.local_addr() else { return };
    let conversation = Arc::new(Conversation::new(server, client, asked));
    let answer = service_fn(|request| {
        let conversation = Arc::clone(&conversation);
        Box::pin(async move { conversation.answer(&request).await })
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer);
    // An error is that of the client, which left or did not speak HTTP, or it is what the client has asked for.
    let ended = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    let wish = ended.err().and_then(|error| Leave::of(&error));
    if wish == Some(Leave::Reset) {
        // Closed from here on, it is reset.
        let _ = stream.set_zero_linger();
    }
}

async fn echo(socket: UdpSocket, name: String) -> anyhow::Result<Infallible> {
    let own = socket.local_addr()?;
    let mut request = [0; 2048];
    loop {
        // An error is about an earlier answer that could not be delivered.
        if let Ok((_, client)) = socket.recv_from(&mut request).await {
            let _ = socket
                .send_to(answer::facts(&name, client, own).as_bytes(), client)
                .await;
        }
    }
}
