//! Whoever asks for `/metrics` as Prometheus does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use lb_user::net::Namespace;

/// Where a node listens unless its file says otherwise.
const LISTENER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9465);

/// How an answer begins.
const BEGIN: &[u8; 13] = b"HTTP/1.0 200 ";

/// How it ends.
const END: &[u8] = b"# EOF\n";

/// Longest wait for the next scrape.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks on the machine `inside`, and takes the whole answer.
pub(super) fn scrape(inside: &Namespace) -> Result<()> {
    let end = inside.run_inside(|| -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(LISTENER)?;
        // HTTP/1.0: the answer ends with the connection.
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n")?;
        let mut begin = [0; BEGIN.len()];
        stream.read_exact(&mut begin)?;
        ensure!(begin == *BEGIN, "it is refused");
        let (mut end, mut part) = (Vec::new(), vec![0; 256 << 10]);
        loop {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Ok(end);
            }
            end.extend_from_slice(&part[read.saturating_sub(END.len())..read]);
            end.drain(..end.len().saturating_sub(END.len()));
        }
    })?;
    ensure!(end.context("a scrape")? == END, "a scrape is cut");
    Ok(())
}

/// Scrapes one after the other, until it is told to end.
pub(super) struct Scraping {
    /// One before each of them begins; whoever closes it ends them.
    begins: Receiver<()>,
    thread: JoinHandle<Result<()>>,
}

impl Scraping {
    pub(super) fn start(inside: &Namespace) -> Self {
        let (begin, begins) = channel();
        let inside = inside.clone();
        let thread = std::thread::spawn(move || {
            while begin.send(()).is_ok() {
                scrape(&inside)?;
            }
            Ok(())
        });
        Self { begins, thread }
    }

    /// Waits until the next one begins.
    pub(super) fn wait_for_next(&self) -> Result<()> {
        while self.begins.try_recv().is_ok() {}
        self.begins.recv_timeout(PATIENCE).context("scrapes have ended")
    }

    /// Ends after the last one.
    ///
    /// # Errors
    /// That of the scrape that failed.
    pub(super) fn end(self) -> Result<()> {
        drop(self.begins);
        self.thread.join().map_err(|_| anyhow!("scrapes have panicked"))?
    }
}
