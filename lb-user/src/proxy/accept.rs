//! Connections of clients, from the socket to the first request: PROXY protocol, TLS, and which HTTP is spoken.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::challenges::Answers;
use super::client::{Client, Tls, http1, http2, last};
use super::io::Stream;
use super::proxy_protocol;
use super::site::Site;
use super::snapshot::Listener;
use super::tls;
use super::worker::Served;
use crate::model::proxy::holds;
use crate::model::traffic::ServiceTraffic;

/// Wait after the kernel has refused a connection for want of something: nothing else would change that.
const WANT: Duration = Duration::from_millis(100);

/// What a connection of HTTP/2 begins with (RFC 9113 §3.4), as far as it is no request of HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Takes connections until it is aborted.
pub(super) async fn run(listener: Listener, place: usize, served: Rc<Served>) {
    let own = listener.sockets.get(place).and_then(|socket| socket.try_clone().ok());
    let Some(Ok(listener)) = own.map(TcpListener::from_std) else {
        tracing::error!(address = %listener.address, "the proxy cannot listen with one of its threads");
        return;
    };
    let mut wanting = false;
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                wanting = false;
                let site = served.site();
                let traffic = &site.traffic;
                traffic.accepted.fetch_add(1, Relaxed);
                if traffic.connections.load(Relaxed) >= site.proxy.http.limits.connections.get() {
                    traffic.refused.fetch_add(1, Relaxed);
                    continue;
                }
                let open = served.open();
                let served = Rc::clone(&served);
                tokio::task::spawn_local(async move {
                    connection(tcp, address, &served).await;
                    drop(open);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut wanting, true) {
                    tracing::warn!(%error, "the proxy cannot take a connection; trying again");
                }
                sleep(WANT).await;
            }
        }
    }
}

/// A connection, to its end.
async fn connection(tcp: TcpStream, address: SocketAddr, served: &Rc<Served>) {
    let site = served.site();
    let Ok(begun) = timeout(
        site.proxy.http.timeouts.client_header,
        Box::pin(begin(tcp, address, &site, served)),
    )
    .await
    else {
        if site.tls.is_some() {
            site.traffic.handshake_errors.fetch_add(1, Relaxed);
        }
        return;
    };
    // Who does not come as far as to ask for something hears nothing.
    let Ok(Begun { stream, client, http2 }) = begun else {
        return;
    };
    drop(site);
    if http2 {
        Box::pin(http2::serve(stream, client, served)).await;
    } else {
        http1::serve(stream, client, served).await;
    }
}

struct Begun {
    stream: Stream,
    client: Client,
    http2: bool,
}

async fn begin(mut tcp: TcpStream, address: SocketAddr, site: &Site, served: &Served) -> io::Result<Begun> {
    tcp.set_nodelay(true)?;
    let http = &site.proxy.http;
    let (mut address, mut local) = (address, tcp.local_addr()?);
    says(&tcp, served).await?;
    if holds(&http.proxy_protocol, address.ip())
        && let Some((source, destination)) = header(&mut tcp).await?
    {
        (address, local) = (source, destination);
    }
    let mut client = Client {
        address,
        local,
        tls: None,
        trusted: holds(&http.trusted_proxies, address.ip()),
    };
    let Some(config) = &site.tls else {
        let http2 = http.h2c && prefaced(&tcp).await?;
        return Ok(Begun {
            stream: Stream::Plain(tcp),
            client,
            http2,
        });
    };
    let stream = match shake(tcp, config, &served.answers()).await {
        Ok(Some(stream)) => stream,
        // It has seen what it came for.
        Ok(None) => return Err(io::ErrorKind::ConnectionAborted.into()),
        Err(error) => {
            site.traffic.handshake_errors.fetch_add(1, Relaxed);
            return Err(error);
        }
    };
    let session = stream.get_ref().1;
    count(&site.traffic, session);
    client.tls = Some(describe(session));
    let http2 = session.alpn_protocol() == Some(b"h2");
    Ok(Begun {
        stream: Stream::Served(Box::new(stream)),
        client,
        http2,
    })
}

/// A handshake; `None`: an authority has been shown whose a name is, which ends the connection (RFC 8737 §3).
async fn shake(
    tcp: TcpStream,
    config: &Arc<ServerConfig>,
    answers: &Answers,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    // What a client wants is looked at first only while somebody may want something else.
    if !answers.has_tls() {
        return TlsAcceptor::from(Arc::clone(config)).accept(tcp).await.map(Some);
    }
    let begun = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
    let Some(challenge) = answers.tls(&begun.client_hello()) else {
        return begun.into_stream(Arc::clone(config)).await.map(Some);
    };
    let mut stream = begun.into_stream(challenge).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Waits until the client says something. Of a service that ends nobody gets anything who says nothing.
async fn says(tcp: &TcpStream, served: &Served) -> io::Result<()> {
    // A new socket counts as readable until it has been tried, also for who waits for the first request.
    let mut first = [0];
    tokio::select! {
        biased;
        said = tcp.peek(&mut first) => said.map(|_| ()),
        () = last(served) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Reads the header of the PROXY protocol and nothing behind it.
async fn header(tcp: &mut TcpStream) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let mut header = Vec::new();
    let mut seen = [0; 512];
    loop {
        let length = tcp.peek(&mut seen).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = header.len();
        header.extend_from_slice(&seen[..length]);
        let found = proxy_protocol::decode(&header).map_err(io::Error::other)?;
        // As long as it is not whole, all that has come is of it.
        let taken = found.map_or(length, |found| found.length - before);
        tcp.read_exact(&mut seen[..taken]).await?;
        if let Some(found) = found {
            return Ok(found.addresses);
        }
    }
}

/// Does a plain connection begin as one of HTTP/2? Who sends that sends it in one piece.
async fn prefaced(tcp: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    let length = tcp.peek(&mut seen).await?;
    Ok(length >= 4 && PREFACE.starts_with(&seen[..length]))
}

fn count(traffic: &ServiceTraffic, session: &ServerConnection) {
    let counter = match session.handshake_kind() {
        Some(HandshakeKind::Resumed) => &traffic.resumed,
        _ => &traffic.handshakes,
    };
    counter.fetch_add(1, Relaxed);
}

fn describe(session: &ServerConnection) -> Tls {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
    Tls {
        version,
        cipher: suite.map_or("", tls::name),
        server_name: session.server_name().map(Arc::from),
    }
}
