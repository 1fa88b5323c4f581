//! Connections to the target, and why there is none.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Plan, Protocol, Target};
use crate::net::tls;

/// Why a request failed: short, and the same for all that failed alike.
pub(in crate::lab) type Failure = Cow<'static, str>;

pub(super) const TIMED_OUT: Failure = Cow::Borrowed("timed out");

/// With TLS or without.
pub(in crate::lab) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// What the other end has shown, in DER.
    fn certificate(&self) -> Option<&[u8]>;
}

impl Stream for TcpStream {
    fn certificate(&self) -> Option<&[u8]> {
        None
    }
}

impl Stream for TlsStream<TcpStream> {
    fn certificate(&self) -> Option<&[u8]> {
        self.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref)
    }
}

/// Opens connections.
pub(in crate::lab) struct Connector {
    target: Target,
    sources: Vec<IpAddr>,
    /// How many have been bound to one of them.
    bound: AtomicUsize,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    protocol: Protocol,
}

impl Connector {
    /// # Errors
    /// When there are no authorities to believe in, or a certificate cannot be for such a host.
    pub(in crate::lab) fn new(plan: &Plan) -> io::Result<Self> {
        let target = plan.target.clone();
        let tls = if target.tls {
            let ca = target.ca.as_deref();
            let mut config = tls::client(ca.is_some(), ca).map_err(io::Error::other)?;
            // Each connection costs the server the same.
            config.resumption = Resumption::disabled();
            config.alpn_protocols = vec![match plan.protocol {
                Protocol::Http1 => b"http/1.1".to_vec(),
                Protocol::Http2 => b"h2".to_vec(),
            }];
            let name = ServerName::try_from(name(&target.host).to_owned()).map_err(io::Error::other)?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self {
            target,
            sources: plan.sources.clone(),
            bound: AtomicUsize::new(0),
            tls,
            protocol: plan.protocol,
        })
    }

    pub(in crate::lab) async fn open(&self) -> Result<Box<dyn Stream>, Failure> {
        let stream = self.connect().await.map_err(|error| reason(&error))?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let stream = connector.connect(name.clone(), stream).await;
        let stream = stream.map_err(|error| reason(&error))?;
        if self.protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("the server does not speak HTTP/2".into());
        }
        Ok(Box::new(stream))
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let to = self.target.address;
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if !self.sources.is_empty() {
            let turn = self.bound.fetch_add(1, Ordering::Relaxed) % self.sources.len();
            // The port is chosen with the other end in view: each source has all of them for each target.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind((self.sources[turn], 0).into())?;
        }
        socket.set_nodelay(true)?;
        socket.connect(to).await
    }
}

/// A host without its port and without the brackets of IPv6.
fn name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(ip, _)| ip),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// What an error is about.
pub(super) fn reason(error: &io::Error) -> Failure {
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        return format!("TLS: {error}").into();
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => "reset".into(),
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::UnexpectedEof => "closed".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::AddrNotAvailable => "no source address or port free".into(),
        _ => error.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_without_ports() {
        for (host, expected) in [
            ("web.test", "web.test"),
            ("web.test:8443", "web.test"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(name(host), expected);
        }
    }
}
