//! A proxy on loopback, backends that do as they are told, and clients that send bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_common::hash::Seed;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::model::acme::Offer;
use crate::model::acme::Offered;
use crate::model::traffic::{PoolMember, Traffic, Upstreams};
use crate::model::{Health, MemberKey, Ports};
use crate::proxy::{Listening, Setup, run};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a backend answers where it does not matter.
pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Waits, and fails when it takes too long.
pub(super) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

/// A proxy with one service, until it is dropped.
pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) traffic: Arc<Traffic>,
    _port: Socket,
    _stop: watch::Sender<()>,
    upstreams: watch::Sender<Arc<Upstreams>>,
    _reread: watch::Sender<u64>,
    /// What was ordered, and what authorities are shown.
    pub(super) offers: watch::Sender<Arc<Offer>>,
    /// The number of the last of these that is served.
    pub(super) offered: watch::Receiver<Offered>,
    pub(super) finishing: watch::Sender<bool>,
    pub(super) listening: Listening,
}

impl Rig {
    /// With `text` behind the service's own keys, and these backends. The text's pools have theirs by their ports' order,
    /// which goes on there.
    pub(super) async fn with(text: &str, backends: &[&Backend]) -> Self {
        Self::of(
            text,
            &backends.iter().map(|backend| backend.address).collect::<Vec<_>>(),
        )
        .await
    }

    /// As above, by addresses.
    pub(super) async fn of(text: &str, backends: &[SocketAddr]) -> Self {
        let own = if text.contains("[[pool]]") { 1 } else { backends.len() };
        let mut file = "[node]\ninterfaces = [\"eth0\"]\nproxy-threads = 1\n[[service]]\nname = \"site\"\n\
                        address = \"192.0.2.1:80\"\nmode = \"proxy\"\n"
            .to_owned();
        let (service, pools) = text.split_once("[[pool]]").unwrap_or((text, ""));
        file += service;
        for place in 1..=own {
            file += &format!("\n[[service.backend]]\naddress = \"10.0.0.{place}:80\"\n");
        }
        if !pools.is_empty() {
            file += &format!("[[pool]]{pools}\n[[pool.backend]]\naddress = \"10.0.1.1:80\"\n");
        }
        let mut config = crate::config::parse("rig.toml", &file)
            .unwrap_or_else(|error| panic!("{error}"))
            .config;
        // Held, so that nobody else is given it, and shared with the proxy.
        let port = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        port.set_reuse_address(true).unwrap();
        port.set_reuse_port(true).unwrap();
        port.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = port.local_addr().unwrap().as_socket().unwrap();
        let mut addresses = backends.iter();
        for service in &mut config.services {
            for vip in &mut service.vips {
                (vip.ip, vip.ports) = (address.ip(), Ports::One(address.port()));
            }
            for backend in &mut service.backends {
                backend.address = *addresses.next().unwrap();
            }
        }
        assert!(addresses.next().is_none());
        let members = |service: &crate::model::Service| {
            let member = |backend: &crate::model::Backend| PoolMember {
                key: MemberKey::of(service, backend),
                name: backend.name.clone(),
                address: backend.address,
                host: backend.host.clone(),
                weight: backend.weight,
                role: backend.role,
                health: Health::Up,
                cut: false,
            };
            (service.name.clone(), service.backends.iter().map(member).collect())
        };
        let pools: BTreeMap<_, Vec<_>> = config.services.iter().map(members).collect();
        let config = Arc::new(config);
        let (upstreams, upstreams_of) = watch::channel(Arc::new(Upstreams { config, pools }));
        let (reread, reread_of) = watch::channel(0);
        let (offers, offers_of) = watch::channel(Arc::default());
        let (serves_offer, offered) = watch::channel(Offered::default());
        let (stop, stopped) = watch::channel(());
        let (finishing, finishing_of) = watch::channel(false);
        let listening = Listening::default();
        let traffic = Arc::<Traffic>::default();
        let (serving, serves) = oneshot::channel();
        let setup = Setup {
            seed: Seed::from_bytes([7; 16]),
            traffic: Arc::clone(&traffic),
            upstreams: upstreams_of,
            reread: reread_of,
            offers: offers_of,
            offered: serves_offer,
            listening: listening.clone(),
            finishing: finishing_of,
            serving,
            stopped,
        };
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(run(setup));
        });
        soon(serves).await.unwrap();
        Self {
            address,
            traffic,
            _port: port,
            _stop: stop,
            upstreams,
            _reread: reread,
            offers,
            offered,
            finishing,
            listening,
        }
    }

    /// No backend is up any more.
    pub(super) fn take_all_down(&self) {
        self.upstreams.send_modify(|upstreams| {
            let mut down = Upstreams::clone(upstreams);
            down.pools
                .values_mut()
                .flatten()
                .for_each(|member| member.health = Health::Down);
            *upstreams = Arc::new(down);
        });
    }

    /// A new client.
    pub(super) async fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// What a new client is answered to these bytes, after which it says no more.
    pub(super) async fn ask(&self, bytes: impl AsRef<[u8]>) -> Vec<Message> {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.end().await;
        client.rest(false).await
    }
}

/// A message of HTTP/1, read by the plainest means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// All lines, with the empty one.
    pub(super) head: String,
    /// As it came, chunks and all.
    pub(super) body: Vec<u8>,
}

impl Message {
    pub(super) fn status(&self) -> u16 {
        self.head
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The values of all fields of this name.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        match self.values(name)[..] {
            [] => None,
            [value] => Some(value),
            _ => panic!("several {name}: {}", self.head),
        }
    }
}

/// One end of a connection, and what has been read of it.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    pub(super) buffer: Vec<u8>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends all of it, unless the other side has gone.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon(self.stream.write_all(bytes.as_ref())).await;
    }

    /// Says that no more comes.
    pub(super) async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads more; false at the end. A reset is one, too.
    pub(super) async fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let length = soon(self.stream.read(&mut piece)).await.unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..length]);
        length > 0
    }

    /// The next bytes, so many.
    pub(super) async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Everything up to these bytes, which are in it.
    pub(super) async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// All that comes until the end.
    pub(super) async fn all(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Has the other side ended it? Nothing else comes.
    pub(super) async fn is_ended(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }

    pub(super) async fn head(&mut self) -> Option<Message> {
        let head = self.until(b"\r\n\r\n").await?;
        Some(Message {
            head: String::from_utf8_lossy(&head).into_owned(),
            body: Vec::new(),
        })
    }

    /// The next request, with its body.
    pub(super) async fn request(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        self.body(&mut message, false).await?;
        Some(message)
    }

    /// The next response, with its body. `to_head`: it has none.
    pub(super) async fn response(&mut self, to_head: bool) -> Option<Message> {
        let mut message = self.head().await?;
        if !to_head && !matches!(message.status(), 100..200 | 204 | 304) {
            self.body(&mut message, true).await?;
        }
        Some(message)
    }

    /// All responses until the end.
    pub(super) async fn rest(&mut self, to_head: bool) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.response(to_head).await {
            all.push(message);
        }
        assert!(
            self.buffer.is_empty(),
            "more than responses: {}",
            self.buffer.escape_ascii()
        );
        all
    }

    async fn body(&mut self, message: &mut Message, until_end: bool) -> Option<()> {
        let (length, coding) = (message.values("content-length"), message.values("transfer-encoding"));
        match (&length[..], &coding[..]) {
            ([], []) if until_end => message.body = self.all().await,
            ([], []) => {}
            ([length], []) => message.body = self.exactly(length.parse().unwrap()).await?,
            ([], [coding]) => {
                assert_eq!(coding.to_ascii_lowercase(), "chunked");
                loop {
                    let line = self.until(b"\r\n").await?;
                    let size = std::str::from_utf8(&line).unwrap().trim_end();
                    let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
                    message.body.extend(line);
                    if size == 0 {
                        break;
                    }
                    message.body.extend(self.exactly(size + 2).await?);
                }
                loop {
                    let line = self.until(b"\r\n").await?;
                    message.body.extend(&line);
                    if line == b"\r\n" {
                        break;
                    }
                }
            }
            _ => panic!("a body of two lengths: {}", message.head),
        }
        Some(())
    }
}

/// A server that does as it is told.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    /// All that it was asked, in order.
    seen: Arc<Mutex<Vec<Message>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    /// Does `script` with each connection, which has its number and can note what it was asked.
    pub(super) async fn scripted<F, D>(script: F) -> Self
    where
        F: Fn(usize, Peer, Arc<Mutex<Vec<Message>>>) -> D + Send + 'static,
        D: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script(number, Peer::new(stream), Arc::clone(&log)));
                number += 1;
            }
        });
        Self { address, seen, task }
    }

    /// Answers every request with `answer`.
    pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::scripted(move |_, mut peer, seen| {
            let answer = Arc::clone(&answer);
            async move {
                while let Some(request) = peer.request().await {
                    seen.lock().unwrap().push(request);
                    peer.send(&answer).await;
                }
                if !peer.buffer.is_empty() {
                    let head = format!("LEFT {}", peer.buffer.escape_ascii());
                    seen.lock().unwrap().push(Message { head, body: Vec::new() });
                }
            }
        })
        .await
    }

    /// The first request of each connection is answered with `answer`, which then ends.
    pub(super) async fn once(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::scripted(move |_, mut peer, seen| {
            let answer = Arc::clone(&answer);
            async move {
                if let Some(request) = peer.request().await {
                    seen.lock().unwrap().push(request);
                    peer.send(&answer).await;
                }
            }
        })
        .await
    }

    pub(super) fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    /// The one request that it has had.
    pub(super) fn only(&self) -> Message {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
