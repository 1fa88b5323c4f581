//! Many TCP connections that stay open, each of which says something in each period and is answered; and the servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use lb_user::net::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Connections that are opened at the same time.
const OPENING: usize = 64;

/// A server that answers each token with it and its own number. Its connections end with it.
pub struct Server(JoinHandle<()>);

impl Server {
    /// Serves an address of a namespace.
    ///
    /// # Panics
    /// When it cannot be listened to.
    #[must_use]
    pub fn start(host: &Namespace, address: SocketAddr, number: u8) -> Self {
        let runtime = Handle::current();
        let listener = host.run_inside(|| {
            let _runtime = runtime.enter();
            let socket = socket(address)?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(4096)
        });
        let listener = listener.expect("a namespace").expect("a listener");
        Self(tokio::spawn(async move {
            let mut all = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                all.spawn(answer(stream, number));
            }
        }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(mut stream: TcpStream, number: u8) -> std::io::Result<()> {
    loop {
        let token = stream.read_u64().await?;
        let [a, b, c, d, e, f, g, h] = token.to_be_bytes();
        stream.write_all(&[number, a, b, c, d, e, f, g, h]).await?;
    }
}

fn socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}

/// One of them.
#[derive(Default)]
struct Connection {
    /// The client's port; 0 before it is connected.
    port: AtomicU16,
    /// Who answers; 0 before the first answer.
    backend: AtomicU32,
    /// Tokens that were answered.
    rounds: AtomicU64,
    /// Why it is over.
    lost: Mutex<Option<String>>,
}

/// What is known of one of them.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The client's port.
    pub port: u16,
    /// Who has answered.
    pub backend: u8,
    /// Why it is over; `None` while it is not.
    pub lost: Option<String>,
}

/// Connections from one address to one service. They are closed on drop.
pub struct Open {
    all: Vec<Arc<Connection>>,
    /// Do they speak?
    speak: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Open {
    /// Opens them, each of which then speaks once in each period.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or has no sockets left.
    #[must_use]
    pub fn start(client: &Namespace, server: SocketAddr, count: usize, period: Duration) -> Self {
        Self::begin(client, server, count, period, Speech::Tokens)
    }

    /// As [`Self::start`], where the servers are those of labs, named `web1` and so on, and a proxy is before them.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_http(client: &Namespace, server: SocketAddr, count: usize, period: Duration) -> Self {
        Self::begin(client, server, count, period, Speech::Http)
    }

    fn begin(client: &Namespace, server: SocketAddr, count: usize, period: Duration, speech: Speech) -> Self {
        let sockets: std::io::Result<Vec<_>> = client
            .run_inside(|| (0..count).map(|_| socket(server)).collect())
            .expect("a namespace");
        let opening = Arc::new(Semaphore::new(OPENING));
        let speak = watch::Sender::new(true);
        let (mut all, mut tasks) = (Vec::new(), JoinSet::new());
        for (number, socket) in (0..).zip(sockets.expect("sockets")) {
            let connection = Arc::new(Connection::default());
            all.push(Arc::clone(&connection));
            let opening = Arc::clone(&opening);
            let pace = Pace {
                period,
                // They do not all speak at the same time.
                phase: period * number / count as u32,
                speak: speak.subscribe(),
                speech,
            };
            tasks.spawn(async move {
                let error = converse(socket, server, &connection, &opening, pace).await;
                *connection.lost.lock().expect("nobody panics with it") = Some(error.to_string());
            });
        }
        Self {
            all,
            speak,
            _tasks: tasks,
        }
    }

    /// Has them say nothing more, after what they are saying at this moment.
    pub fn fall_silent(&self) {
        self.speak.send_replace(false);
    }

    /// Has them go on. Those whose turn was meanwhile all speak now.
    pub fn speak_again(&self) {
        self.speak.send_replace(true);
    }

    /// Each of them, those that are lost too.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn each(&self) -> Vec<Seen> {
        let seen = |c: &Arc<Connection>| Seen {
            port: c.port.load(Ordering::Relaxed),
            backend: c.backend.load(Ordering::Relaxed) as u8,
            lost: c.lost.lock().expect("nobody panics with it").clone(),
        };
        self.all.iter().map(seen).collect()
    }

    /// Rounds that the slowest of those has made that are not lost.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        let living = self.all.iter().filter(|c| c.is_open());
        living.map(|c| c.rounds.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// Those that are not lost.
    #[must_use]
    pub fn living(&self) -> usize {
        self.all.iter().filter(|c| c.is_open()).count()
    }

    /// How many of the living ones a backend answers.
    #[must_use]
    pub fn of(&self, backend: u8) -> usize {
        let is_of = |c: &&Arc<Connection>| c.is_open() && c.backend.load(Ordering::Relaxed) == u32::from(backend);
        self.all.iter().filter(is_of).count()
    }

    /// Those that are lost: who answered them, and what has happened.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn lost(&self) -> Vec<(u32, String)> {
        let lost = |c: &Arc<Connection>| {
            let why = c.lost.lock().expect("nobody panics with it").clone()?;
            Some((c.backend.load(Ordering::Relaxed), why))
        };
        self.all.iter().filter_map(lost).collect()
    }

    /// Waits until every living connection has been answered so many times more.
    ///
    /// # Panics
    /// When that takes longer than `patience`.
    pub async fn go_on(&self, rounds: u64, patience: Duration, what: &str) {
        let before: Vec<_> = self.all.iter().map(|c| c.rounds.load(Ordering::Relaxed)).collect();
        let deadline = Instant::now() + patience;
        loop {
            let silent = self
                .all
                .iter()
                .zip(&before)
                .filter(|(c, before)| c.is_open() && c.rounds.load(Ordering::Relaxed) < *before + rounds);
            let silent: Vec<_> = silent.map(|(c, _)| c.backend.load(Ordering::Relaxed)).collect();
            if silent.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {} connections have no answer, the first of backend {}",
                silent.len(),
                silent[0]
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        self.lost.lock().expect("nobody panics with it").is_none()
    }
}

/// What a connection says.
#[derive(Clone, Copy)]
enum Speech {
    /// A token, to a [`Server`].
    Tokens,
    /// A request with the token in a header, which comes back in the answer.
    Http,
}

/// When a connection speaks, and how.
struct Pace {
    period: Duration,
    /// After its first answer.
    phase: Duration,
    speak: watch::Receiver<bool>,
    speech: Speech,
}

/// Speaks and is answered until that fails, and says how.
async fn converse(
    socket: TcpSocket,
    server: SocketAddr,
    connection: &Connection,
    opening: &Semaphore,
    mut pace: Pace,
) -> std::io::Error {
    let ever = async {
        let turn = opening.acquire().await.map_err(std::io::Error::other)?;
        let mut stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        let port = stream.local_addr()?.port();
        connection.port.store(port, Ordering::Relaxed);
        let mut token = u64::from(port) << 32;
        let backend = pace.speech.speak(&mut stream, token).await?;
        connection.backend.store(backend.into(), Ordering::Relaxed);
        drop(turn);
        let mut next = Instant::now() + pace.phase;
        loop {
            connection.rounds.fetch_add(1, Ordering::Relaxed);
            sleep_until(next).await;
            let told = pace.speak.wait_for(|speak| *speak).await;
            drop(told.map_err(std::io::Error::other)?);
            next = Instant::now() + pace.period;
            token += 1;
            let now = pace.speech.speak(&mut stream, token).await?;
            if now != backend {
                return Err(std::io::Error::other(format!("{now} answers in place of {backend}")));
            }
        }
    };
    let ended: std::io::Result<std::convert::Infallible> = ever.await;
    match ended {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

impl Speech {
    /// Sends a token; who sends it back.
    async fn speak(self, stream: &mut TcpStream, token: u64) -> std::io::Result<u8> {
        let (backend, back) = match self {
            Self::Tokens => {
                stream.write_u64(token).await?;
                (stream.read_u8().await?, stream.read_u64().await? == token)
            }
            Self::Http => ask(stream, token).await?,
        };
        if !back {
            return Err(std::io::Error::other("this answer is for another"));
        }
        Ok(backend)
    }
}

/// Makes a request. Which server has answered, and whether the token is in what it says of the request.
async fn ask(stream: &mut TcpStream, token: u64) -> std::io::Result<(u8, bool)> {
    let request = format!("GET / HTTP/1.1\r\nHost: open\r\nX-Token: {token}.\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let field = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
        };
        let length = field("content-length").and_then(|length| length.parse().ok());
        if body.len() < length.unwrap_or(usize::MAX) {
            continue;
        }
        let server = field("x-served-by").and_then(|name| name.strip_prefix("web")?.parse().ok());
        let unknown = || std::io::Error::other(format!("not an answer of a lab's server: {text}"));
        return Ok((
            server.ok_or_else(unknown)?,
            body.contains(&format!("x-token: {token}.")),
        ));
    }
}
