//! Single connections of a client, byte by byte: for what a generator of many requests cannot do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::subject::Subject;
use crate::net::{Namespace, tls};

/// 5 s for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// 64 KiB: the answers here are far shorter.
const LONGEST: usize = 1 << 16;

/// Whom a client asks, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) to: SocketAddr,
    pub(super) tls: bool,
    pub(super) from: IpAddr,
}

impl Path {
    pub(super) fn new(subject: &Subject, tls: bool, from: IpAddr) -> Self {
        Self {
            to: subject.address(tls),
            tls,
            from,
        }
    }
}

/// With TLS or without.
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An answer in HTTP/1.1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: String,
}

/// Does `work` on a thread of its own, whose sockets are in the namespace.
pub(super) async fn inside<T: Send + 'static>(
    namespace: &Namespace,
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let namespace = namespace.clone();
    let (say, said) = oneshot::channel();
    std::thread::Builder::new().name("client".to_owned()).spawn(move || {
        let done = namespace.enter().and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work()))
        });
        // Whoever has asked may have gone.
        let _ = say.send(done);
    })?;
    Ok(said.await.context("a client's thread panicked")??)
}

impl Connection {
    pub(super) async fn open(path: Path) -> io::Result<Self> {
        let opened = timeout(PATIENCE, async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((path.from, 0).into())?;
            socket.set_nodelay(true)?;
            let stream = socket.connect(path.to).await?;
            if !path.tls {
                return Ok(Self::Plain(stream));
            }
            let mut config = tls::client(false, None).map_err(io::Error::other)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(ServerName::from(path.to.ip()), stream).await?;
            Ok(Self::Tls(Box::new(stream)))
        });
        opened.await?
    }

    /// What the other end has shown, in DER.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                let shown = stream.get_ref().1.peer_certificates()?;
                Some(shown.first()?.to_vec())
            }
        }
    }

    /// Sends now, and keeps nothing back.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        async fn all(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
            stream.write_all(bytes).await?;
            stream.flush().await
        }
        match self {
            Self::Plain(stream) => all(stream, bytes).await,
            Self::Tls(stream) => all(stream, bytes).await,
        }
    }

    /// Asks for `path`, and waits for the answer.
    pub(super) async fn get(&mut self, path: &str, host: SocketAddr) -> io::Result<Answer> {
        let asked = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.send(asked.as_bytes()).await?;
        self.answer().await
    }

    pub(super) async fn answer(&mut self) -> io::Result<Answer> {
        let read = timeout(PATIENCE, async {
            match self {
                Self::Plain(stream) => answer(stream).await,
                Self::Tls(stream) => answer(stream).await,
            }
        });
        read.await?
    }
}

impl Answer {
    /// The value of a header, the first of its name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The other end closes now, and has said so.
    pub(super) fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One answer, whose length is in its head.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = whole(&bytes)? {
            return Ok(answer);
        }
        if bytes.len() > LONGEST {
            return Err(io::Error::other("an answer that does not end"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The answer, if all of it is there.
fn whole(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let answer = Answer {
        head: head.to_owned(),
        body: body.to_owned(),
    };
    let length = answer
        .header("content-length")
        .and_then(|length| length.parse::<usize>().ok());
    match length {
        Some(length) => Ok((body.len() >= length).then_some(answer)),
        None => Err(io::Error::other("an answer that does not say how long it is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let text = b"HTTP/1.1 200 OK\r\nX-Served-By: web1\r\nContent-Length: 3\r\nConnection: Close\r\n\r\nok\n";
        for end in 0..text.len() {
            assert_eq!(whole(&text[..end]).unwrap(), None, "{end}");
        }
        let answer = whole(text).unwrap().unwrap();
        assert_eq!((answer.header("x-served-by"), &*answer.body), (Some("web1"), "ok\n"));
        assert!(answer.is_last());
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
