//! Requests from a host of a lab, and what came back. Each request has a connection, and so a flow, of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::net::Namespace;

/// 5 s for a request that should be answered: on a busy machine a packet gets lost, and TCP sends its first again after
/// 1 s, then after 2 s more.
const PATIENCE: Duration = Duration::from_secs(5);

/// 1 s for a request of a [`Stream`], which is there to show failures.
const STREAM_PATIENCE: Duration = Duration::from_secs(1);

/// So many failures without a single answer, and no more requests are made: there is no traffic.
const HOPELESS: usize = 16;

/// Requests under way at the same time.
const WORKERS: usize = 8;

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Kind {
    Http,
    Echo,
}

/// What many requests came to.
#[derive(Clone, Debug, Default)]
pub(in crate::lab) struct Tally {
    /// Answers, by server.
    pub(in crate::lab) served: BTreeMap<String, usize>,
    /// Client addresses that the servers saw.
    pub(in crate::lab) seen: BTreeSet<IpAddr>,
    /// What the last server said, word for word.
    pub(in crate::lab) said: String,
    pub(in crate::lab) failures: Vec<String>,
    pub(in crate::lab) took: Duration,
}

impl Tally {
    pub(in crate::lab) fn answered(&self) -> usize {
        self.served.values().sum()
    }

    fn add(&mut self, outcome: Result<Answer, String>) {
        match outcome {
            Ok(answer) => {
                *self.served.entry(answer.server).or_default() += 1;
                self.seen.insert(answer.client);
                self.said = answer.text;
            }
            Err(failure) => self.failures.push(failure),
        }
    }
}

/// What one server said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    text: String,
    server: String,
    client: IpAddr,
}

/// Makes so many requests from inside `namespace`, or fewer where none is answered.
pub(in crate::lab) async fn requests(
    namespace: Namespace,
    kind: Kind,
    to: SocketAddr,
    number: usize,
) -> io::Result<Tally> {
    let work = move || inside(&namespace, many(kind, to, number));
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

async fn many(kind: Kind, to: SocketAddr, number: usize) -> Tally {
    let begun = Instant::now();
    let made = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    let worker = || async {
        while made.fetch_add(1, Ordering::Relaxed) < number {
            let outcome = request(kind, to, PATIENCE).await;
            let mut total = lock(&total);
            total.add(outcome);
            if total.served.is_empty() && total.failures.len() >= HOPELESS {
                break;
            }
        }
    };
    futures_util::future::join_all((0..WORKERS).map(|_| worker())).await;
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.took = begun.elapsed();
    total
}

/// Requests at a steady pace until it is stopped or dropped.
#[derive(Debug)]
pub(in crate::lab) struct Stream {
    log: Arc<Mutex<Vec<Event>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// A request of a [`Stream`].
#[derive(Clone, Debug)]
pub(in crate::lab) struct Event {
    /// When it was begun.
    pub(in crate::lab) begun: Instant,
    /// The server, or why there was none.
    pub(in crate::lab) outcome: Result<String, String>,
}

/// 5 ms from one request to the next.
const PACE: Duration = Duration::from_millis(5);

impl Stream {
    pub(in crate::lab) fn start(namespace: Namespace, to: SocketAddr) -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (log, stop) = (Arc::clone(&log), Arc::clone(&stop));
            move || inside(&namespace, pace(to, &log, &stop))
        });
        Self {
            log,
            stop,
            thread: Some(thread),
        }
    }

    /// What became of the requests that were begun at `since` or later.
    pub(in crate::lab) fn events(&self, since: Instant) -> Vec<Event> {
        lock(&self.log)
            .iter()
            .filter(|event| event.begun >= since)
            .cloned()
            .collect()
    }

    pub(in crate::lab) fn stop(mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(io::Error::other("the requests' thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn pace(to: SocketAddr, log: &Arc<Mutex<Vec<Event>>>, stop: &AtomicBool) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut requests = tokio::task::JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let log = Arc::clone(log);
        requests.spawn(async move {
            let begun = Instant::now();
            let outcome = request(Kind::Http, to, STREAM_PATIENCE)
                .await
                .map(|answer| answer.server);
            lock(&log).push(Event { begun, outcome });
        });
        while requests.try_join_next().is_some() {}
    }
    requests.join_all().await;
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a future on a runtime of its own, whose sockets are inside `namespace`.
fn inside<T: Send>(namespace: &Namespace, work: impl Future<Output = T> + Send) -> io::Result<T> {
    namespace.run_inside(|| {
        Ok(tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(work))
    })?
}

async fn request(kind: Kind, to: SocketAddr, patience: Duration) -> Result<Answer, String> {
    let exchange = async {
        match kind {
            Kind::Http => http(to).await,
            Kind::Echo => echo(to).await,
        }
    };
    let text = match timeout(patience, exchange).await {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {patience:?}")),
    };
    parse(&text).ok_or_else(|| format!("not an answer of a lab's server: {text:?}"))
}

/// Returns the body.
async fn http(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    stream
        .write_all(format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("not the expected response: {response:?}"))),
    }
}

async fn echo(to: SocketAddr) -> io::Result<String> {
    let any: SocketAddr = if to.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that only an answer from the address that was asked counts.
    socket.connect(to).await?;
    socket.send(b"who is there?\n").await?;
    let mut answer = vec![0; 2048];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    String::from_utf8(answer).map_err(io::Error::other)
}

/// Reads `web1 saw client 10.0.0.2:41234 for 192.0.2.10:80`.
fn parse(text: &str) -> Option<Answer> {
    let text = text.trim_end();
    let (server, rest) = text.split_once(" saw client ")?;
    let (client, _) = rest.split_once(" for ")?;
    Some(Answer {
        text: text.to_owned(),
        server: server.to_owned(),
        client: client.parse::<SocketAddr>().ok()?.ip(),
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that closes its first connections unanswered.
    async fn server(silent: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, client) = listener.accept().await.unwrap();
                if number >= silent {
                    let answer = format!("HTTP/1.1 200 OK\r\n\r\nweb1 saw client {client} for {address}\n");
                    assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn requests_end_early_where_none_is_answered() {
        let tally = many(Kind::Http, server(usize::MAX).await, 600).await;
        assert_eq!(tally.answered(), 0);
        assert!(
            (HOPELESS..HOPELESS + WORKERS).contains(&tally.failures.len()),
            "{}",
            tally.failures.len()
        );
    }

    #[tokio::test]
    async fn requests_go_on_where_one_was_answered() {
        let tally = many(Kind::Http, server(HOPELESS / 2).await, 100).await;
        assert_eq!(
            (tally.answered(), tally.failures.len()),
            (100 - HOPELESS / 2, HOPELESS / 2)
        );
    }

    #[test]
    fn answers_are_read() {
        let answer = parse("web1 saw client [fd00::2]:41234 for [fd00::9]:80\n").unwrap();
        assert_eq!(
            (answer.server.as_str(), answer.client),
            ("web1", "fd00::2".parse().unwrap())
        );
        for nonsense in [
            "",
            "ok\n",
            "web1 saw client nobody for 192.0.2.1:80",
            "web1 saw client 192.0.2.1:80",
        ] {
            assert_eq!(parse(nonsense), None);
        }
    }
}
