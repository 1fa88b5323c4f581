//! Port 80 of services that have nothing there: it is open while an authority may come for http-01 (RFC 8555 §8.3), and only for
//! that. What else is asked for is not found.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::challenges::token;
use super::shared::Common;
use super::snapshot::Listener;

/// Longest time for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest head of a request, in bytes.
const LONGEST: usize = 8 * 1024;

/// Connections at once: authorities come from a handful of places.
const CONNECTIONS: usize = 64;

/// Wait after the kernel has refused a connection.
const WANT: Duration = Duration::from_millis(100);

/// Who listens, by address. Nobody does any more when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Gates(BTreeMap<SocketAddr, (Listener, JoinSet<()>)>);

impl Gates {
    /// Listens at these, and at no others.
    pub(super) fn follow(&mut self, wanted: Vec<Listener>, common: &Arc<Common>) {
        let mut before = std::mem::take(&mut self.0);
        for listener in wanted {
            let known = before
                .remove(&listener.address)
                .filter(|(known, _)| known.is(&listener));
            let gate = known.unwrap_or_else(|| {
                let tasks = open(&listener, common);
                (listener, tasks)
            });
            self.0.insert(gate.0.address, gate);
        }
    }
}

fn open(listener: &Listener, common: &Arc<Common>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    for socket in &*listener.sockets {
        match socket.try_clone().and_then(TcpListener::from_std) {
            Ok(socket) => {
                tasks.spawn(accept(socket, Arc::clone(&places), Arc::clone(common)));
            }
            Err(error) => tracing::error!(address = %listener.address, %error, "authorities cannot come there"),
        }
    }
    tasks
}

async fn accept(socket: TcpListener, places: Arc<Semaphore>, common: Arc<Common>) {
    // They end with this.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match socket.accept().await {
            Ok((stream, _)) => {
                let common = Arc::clone(&common);
                connections.spawn(async move {
                    // How it ends is nobody's concern: an authority comes again.
                    let _ = timeout(PATIENCE, answer(stream, &common)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(WANT).await,
        }
    }
}

async fn answer(mut stream: TcpStream, common: &Common) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answers = common.answers();
    let answer = target(&head).and_then(token).and_then(|token| answers.http(token));
    let (status, body) = answer.map_or(("404 Not Found", ""), |answer| ("200 OK", answer));
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// The path of a GET.
fn target(head: &[u8]) -> Option<&[u8]> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = line.split(|byte| *byte == b' ');
    (words.next()? == b"GET").then_some(())?;
    let path = words.next()?;
    words.next()?.starts_with(b"HTTP/1.").then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_a_get() {
        assert_eq!(target(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"), Some(&b"/a"[..]));
        assert_eq!(target(b"POST /a HTTP/1.1\r\n\r\n"), None);
        assert_eq!(target(b"GET /a\r\n\r\n"), None);
        assert_eq!(target(b"GET /a SMTP\r\n\r\n"), None);
    }
}
