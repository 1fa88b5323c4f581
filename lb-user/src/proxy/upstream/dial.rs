//! New connections to backends.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use nix::libc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Backend;
use crate::model::proxy::ProxyProtocol;
use crate::proxy::io::Stream;
use crate::proxy::proxy_protocol;

/// How backends of a pool are reached.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    /// Over TLS, and whom their certificates are for; by default the backend's host or address.
    pub tls: Option<(Arc<ClientConfig>, Option<Arc<str>>)>,
    /// What each connection begins with.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Connects to a backend, for a client with this address that came to that one.
///
/// # Errors
/// The network's, and those of TLS.
pub(crate) async fn dial(backend: &Rc<Backend>, means: &Means, client: (SocketAddr, SocketAddr)) -> io::Result<Stream> {
    let mut tcp = TcpStream::connect(backend.address).await?;
    tcp.set_nodelay(true)?;
    // A port of this node that is free can be given to the connection itself, which then meets itself (RFC 9293 §3.5).
    if tcp.local_addr()? == backend.address {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    if let Some(version) = means.proxy_protocol {
        let (source, destination) = client;
        tcp.write_all(&proxy_protocol::encode(version, source, destination))
            .await?;
    }
    let Some((config, name)) = &means.tls else {
        return Ok(Stream::Plain(tcp));
    };
    let name = match name.as_ref().or(backend.host.as_ref()) {
        Some(name) => ServerName::try_from(name.to_string()).map_err(io::Error::other)?,
        None => ServerName::from(backend.address.ip()),
    };
    let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
    Ok(Stream::Dialled(Box::new(tls)))
}
