//! `fulcrum lab serve`: a server for labs. Says, over HTTP/1.1 and over UDP, who answers and whom it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::pattern::Pattern;

/// 100 ms after a failure to accept, such as too many open files.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is killed.
pub(super) async fn run(name: &str, listen: &[SocketAddr]) -> anyhow::Result<ExitCode> {
    let name: Arc<str> = name.into();
    let mark = HeaderValue::from_str(&name).context("the name must be printable, to be sent in a header")?;
    let mut sockets = Vec::new();
    for &address in listen {
        let tcp = bind(address, SockType::Stream).with_context(|| format!("listening on {address}/tcp"))?;
        let udp = bind(address, SockType::Datagram).with_context(|| format!("listening on {address}/udp"))?;
        sockets.push((TcpListener::from_std(tcp.into())?, UdpSocket::from_std(udp.into())?));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (tcp, udp) in sockets {
        tasks.spawn(accept(tcp, Arc::clone(&name), mark.clone()));
        tasks.spawn(echo(udp, Arc::clone(&name)));
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

/// What every answer says.
fn facts(name: &str, client: SocketAddr, asked: SocketAddr) -> String {
    format!("{name} saw client {client} for {asked}\n")
}

async fn accept(listener: TcpListener, name: Arc<str>, mark: HeaderValue) -> anyhow::Result<Infallible> {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                tokio::spawn(converse(stream, client, Arc::clone(&name), mark.clone()));
            }
            // The client left, or descriptors ran short, which passes when connections end.
            Err(error) => {
                eprintln!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, client: SocketAddr, name: Arc<str>, mark: HeaderValue) {
    let Ok(asked) = stream.local_addr() else { return };
    let answer = service_fn(|request: Request<Incoming>| {
        let path = request.uri().path();
        let length = path.strip_prefix("/bytes/").and_then(|length| length.parse().ok());
        let text = |text: String| Either::Left(Full::new(Bytes::from(text)));
        let body = match (path, length) {
            (_, Some(length)) => Either::Right(Pattern::new(length)),
            ("/healthz", None) => text("ok\n".to_owned()),
            (_, None) => text(facts(&name, client, asked)),
        };
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response.headers_mut().insert("x-served-by", mark.clone());
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    // An error is the client's: it left, or did not speak HTTP.
    let _ = server
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

async fn echo(socket: UdpSocket, name: Arc<str>) -> anyhow::Result<Infallible> {
    let own = socket.local_addr()?;
    let mut request = [0; 2048];
    loop {
        // An error is about an earlier answer that could not be delivered.
        if let Ok((_, client)) = socket.recv_from(&mut request).await {
            let _ = socket.send_to(facts(&name, client, own).as_bytes(), client).await;
        }
    }
}
