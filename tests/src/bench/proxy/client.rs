//! A client of HTTP/1.1 over TLS, as far as the bench needs one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion};

use super::world::NAME;

/// Connections that are being opened at the same time.
const AT_ONCE: usize = 64;

/// What is asked for.
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nhost: bench.test\r\n\r\n";

/// What a response's head may be at most.
const HEAD: usize = 4096;

/// A connection that has been asked something, and can be again.
pub(super) struct Connection(TlsStream<TcpStream>);

/// What connections are opened with.
pub(super) fn tls() -> Result<Arc<ClientConfig>> {
    let mut config = lb_user::net::tls::client(false, None)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl Connection {
    /// Opens one, and sends a request.
    pub(super) async fn open(address: IpAddr, tls: Arc<ClientConfig>) -> Result<Self> {
        let tcp = TcpStream::connect(SocketAddr::new(address, 443)).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(tls)
            .connect(ServerName::try_from(NAME)?, tcp)
            .await?;
        let version = stream.get_ref().1.protocol_version();
        ensure!(version == Some(ProtocolVersion::TLSv1_3), "it speaks {version:?}");
        let mut connection = Self(stream);
        connection.ask().await?;
        Ok(connection)
    }

    /// Sends a request, and waits for all of the response.
    pub(super) async fn ask(&mut self) -> Result<()> {
        self.0.write_all(REQUEST).await?;
        self.0.flush().await?;
        let mut seen = [0; HEAD];
        let mut length = 0;
        loop {
            let more = self.0.read(&mut seen[length..]).await?;
            ensure!(
                more > 0,
                "the connection was closed, or a response is longer than {HEAD} bytes"
            );
            length += more;
            let Some(total) = total(&seen[..length])? else { continue };
            if length >= total {
                ensure!(length == total, "more came than was asked for");
                return Ok(());
            }
        }
    }
}

/// The length of a response, head included; `None` when its head is not whole.
fn total(seen: &[u8]) -> Result<Option<usize>> {
    let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&seen[..end])?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "not a good answer:\n{head}");
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').context("a line of the head")?;
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Some(end + 4 + value.trim().parse::<usize>()?));
        }
    }
    bail!("a response without its length:\n{head}")
}

/// Opens connections, some at a time, and sends one request on each.
pub(super) async fn open(address: IpAddr, count: usize) -> Result<Vec<Connection>> {
    let tls = tls()?;
    let mut open = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for _ in 0..count {
        if opening.len() == AT_ONCE {
            open.extend(next(&mut opening).await?);
        }
        opening.spawn(Connection::open(address, Arc::clone(&tls)));
    }
    while let Some(opened) = next(&mut opening).await? {
        open.push(opened);
    }
    Ok(open)
}

async fn next(opening: &mut JoinSet<Result<Connection>>) -> Result<Option<Connection>> {
    opening.join_next().await.transpose()?.transpose()
}

/// Opens connections, asks on each, and closes them.
pub(super) async fn idle(address: IpAddr, count: usize) -> Result<()> {
    open(address, count).await.map(drop)
}

/// Asks once more on each connection: all of them live.
pub(super) async fn ask_all(open: Vec<Connection>) -> Result<()> {
    for mut connection in open {
        connection.ask().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_as_long_as_it_says() {
        assert_eq!(total(b"HTTP/1.1 200 OK\r\nContent-").unwrap(), None);
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 100\r\n\r\n";
        assert_eq!(total(head).unwrap(), Some(head.len() + 100));
        for bad in [
            "HTTP/1.1 503 Sorry\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nserver: x\r\n\r\n",
        ] {
            assert!(total(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
