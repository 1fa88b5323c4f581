//! Telling one peer what this node knows.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::board::Place;
use super::key::Key;
use super::seal::{End, LONGEST, Opener, Refused, Sealer, Side, greet};
use super::wire::{Message, flows_message};
use super::{ALIVE, Certificates, SILENCE};
use crate::control::shared::{self, BATCH};
use crate::control::{Gone, Handle};
use crate::model::Hidden;
use crate::model::acme::News;
use crate::model::peers::SharedFlow;

/// 2 s; bounds how long one that does not answer is waited for.
const CONNECT: Duration = Duration::from_secs(2);

/// Between two tries.
const RETRY: Duration = Duration::from_millis(500);

/// Most flows that a peer is told of in a second: it has to write each down while it balances.
const RATE: u32 = 100_000;

/// What a caller works with.
pub(super) struct Caller {
    pub(super) place: Arc<Place>,
    /// This node's address, without a port.
    pub(super) own: SocketAddr,
    pub(super) key_file: PathBuf,
    pub(super) handle: Handle,
    pub(super) flows: broadcast::Sender<shared::Message>,
    pub(super) certificates: Certificates,
}

impl Caller {
    /// Connects again and again, and tells.
    pub(super) async fn run(self) {
        loop {
            let told = match self.connect().await {
                Ok(stream) => self.told(stream).await,
                Err(why) => self.failed(&why),
            };
            if told.is_err() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    /// Tells over a connection until it ends.
    ///
    /// # Errors
    /// The daemon ends.
    pub(super) async fn told<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<(), Gone> {
        match self.tell(stream).await {
            Err(why) => self.failed(&why),
            Ok(never) => match never {},
        }
    }

    /// Writes down why the peer is not told.
    ///
    /// # Errors
    /// The daemon ends.
    fn failed(&self, why: &End) -> Result<(), Gone> {
        if let End::Gone(gone) = why {
            return Err(*gone);
        }
        let why = why.to_string();
        self.certificates
            .taken
            .send_if_modified(|taken| taken.remove(&self.place.peer.name).is_some());
        let was = {
            let mut state = self.place.state();
            state.waiting.clear();
            state.pieces.clear();
            std::mem::replace(&mut state.connected, Err(why.clone()))
        };
        let (peer, reason) = (&self.place.peer.name, &why);
        match was {
            Ok(()) => tracing::warn!(%peer, %reason, "the peer is not told of flows any more"),
            Err(known) if known != why => tracing::warn!(%peer, %reason, "the peer cannot be told of flows"),
            Err(_) => {}
        }
        Ok(())
    }

    async fn connect(&self) -> Result<TcpStream, End> {
        let socket = if self.own.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // Peers know each other by their addresses.
        socket.bind(self.own)?;
        socket.set_nodelay(true)?;
        let connected = timeout(CONNECT, socket.connect(self.place.peer.address)).await;
        Ok(connected.map_err(|_| std::io::Error::other("it does not answer"))??)
    }

    async fn tell<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Result<Infallible, End> {
        let key = Key::load(&self.key_file).map_err(|error| {
            let path = self.key_file.display();
            std::io::Error::other(format!("no key in {path}: {error}"))
        })?;
        let greeted = timeout(SILENCE, greet(&mut stream, &key, Side::Caller)).await;
        let (mut sealer, mut opener) = greeted.map_err(|_| End::Refused(Refused::Silent))??;
        let (mut input, mut output) = split(stream);
        // It shows that it has the key by saying that it is there; so does this node.
        output.write_all(&sealer.seal(&Message::Alive.encode())?.1).await?;
        self.hear(&mut opener, &mut input).await?;
        self.place.state().connected = Ok(());
        tracing::info!(peer = %self.place.peer.name, "the peer is told of flows");
        let hears = async {
            loop {
                self.hear(&mut opener, &mut input).await?;
            }
        };
        tokio::select! {
            ended = hears => ended,
            ended = self.say(&mut sealer, &mut output) => ended,
        }
    }

    /// One message of the peer.
    async fn hear<S: AsyncRead + Unpin>(&self, opener: &mut Opener, input: &mut S) -> Result<(), End> {
        let heard = timeout(SILENCE, opener.read(input)).await;
        let (_, bytes) = heard.map_err(|_| End::Refused(Refused::Silent))??;
        match Message::decode(&bytes) {
            Some(Message::Taken(number)) => {
                let mut state = self.place.state();
                while state.waiting.pop_front_if(|(waits, _)| *waits <= number).is_some() {}
                let mut taken = None;
                while let Some((_, news)) = state.pieces.pop_front_if(|(waits, _)| *waits <= number) {
                    taken = Some(news);
                }
                drop(state);
                if let Some(news) = taken {
                    self.certificates.taken.send_modify(|known| {
                        known.insert(Arc::clone(&self.place.peer.name), news);
                    });
                }
                Ok(())
            }
            Some(Message::Alive) => Ok(()),
            _ => Err(End::Refused(Refused::Malformed)),
        }
    }

    async fn say<S: AsyncWrite + Unpin>(&self, sealer: &mut Sealer, output: &mut S) -> Result<Infallible, End> {
        // What is new from here on comes behind what is known now.
        let mut news = self.flows.subscribe();
        let mut certificates = self.certificates.told.clone();
        certificates.mark_changed();
        let mut told = Vec::new();
        self.say_all(sealer, output).await?;
        let mut alive = interval(ALIVE);
        loop {
            tokio::select! {
                Ok(()) = certificates.changed() => {
                    let news = Arc::clone(&certificates.borrow_and_update());
                    self.say_certificates(sealer, output, &news, &told).await?;
                    told.clone_from(&news.records);
                }
                message = news.recv() => match message {
                    Ok(message) => self.say_flows(sealer, output, &message.flows, message.at).await?,
                    // It was too slow.
                    Err(RecvError::Lagged(_)) => self.say_all(sealer, output).await?,
                    Err(RecvError::Closed) => return Err(Gone.into()),
                },
                _ = alive.tick() => output.write_all(&sealer.seal(&Message::Alive.encode())?.1).await?,
            }
        }
    }

    async fn say_all<S: AsyncWrite + Unpin>(&self, sealer: &mut Sealer, output: &mut S) -> Result<(), End> {
        let at = Instant::now();
        let flows = self.handle.flows().await?;
        for flows in flows.chunks(BATCH) {
            self.say_flows(sealer, output, flows, at).await?;
        }
        output.write_all(&sealer.seal(&Message::Whole.encode())?.1).await?;
        self.place.state().syncs += 1;
        Ok(())
    }

    /// What is new of certificates. The peer is there from then on, also where there is nothing to say.
    async fn say_certificates<S: AsyncWrite + Unpin>(
        &self,
        sealer: &mut Sealer,
        output: &mut S,
        news: &News,
        told: &[Arc<Hidden<Vec<u8>>>],
    ) -> Result<(), End> {
        let mut last = None;
        for piece in news.records.iter().filter(|piece| !told.contains(piece)) {
            let message = Hidden(Message::Certificate(Hidden(piece.0.clone())).encode());
            if message.0.len() > LONGEST {
                tracing::warn!(peer = %self.place.peer.name, memory = message.0.len(), "a certificate is too long to be told of");
                continue;
            }
            let (number, sealed) = sealer.seal(&message.0)?;
            last = Some(number);
            output.write_all(&sealed).await?;
        }
        match last {
            // Taken as a whole with its last piece: the peer takes them in order.
            Some(number) => self.place.state().pieces.push_back((number, news.number)),
            None => self.certificates.taken.send_modify(|known| {
                known.insert(Arc::clone(&self.place.peer.name), news.number);
            }),
        }
        Ok(())
    }

    async fn say_flows<S: AsyncWrite + Unpin>(
        &self,
        sealer: &mut Sealer,
        output: &mut S,
        flows: &[SharedFlow],
        at: Instant,
    ) -> Result<(), End> {
        let next = Instant::now() + Duration::from_secs(1) * flows.len() as u32 / RATE;
        let (number, sealed) = sealer.seal(&flows_message(flows))?;
        {
            let mut state = self.place.state();
            state.waiting.push_back((number, at));
            state.sent += flows.len() as u64;
        }
        output.write_all(&sealed).await?;
        sleep_until(next).await;
        Ok(())
    }
}
