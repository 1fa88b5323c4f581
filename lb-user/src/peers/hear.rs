//! Hearing what peers know.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::SILENCE;
use super::board::{Board, Place};
use super::key::Key;
use super::seal::{End, Refused, Side, greet};
use super::wire::Message;
use crate::control::certificates::PeerNews;
use crate::control::{Gone, Handle};

/// Connections at once, of all peers: each has one, and for a moment another when it has started again.
const CONNECTIONS_OF_EACH: usize = 4;

/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(1);

/// Longest wait until a piece about certificates has been taken in.
const TAKE: Duration = Duration::from_secs(2);

/// What a listener works with.
pub(super) struct Listener {
    pub(super) board: Arc<Board>,
    pub(super) own: SocketAddr,
    pub(super) key_file: PathBuf,
    pub(super) handle: Handle,
    /// Who takes what peers tell of certificates.
    pub(super) certificates: mpsc::Sender<PeerNews>,
}

impl Listener {
    /// Listens, and hears whoever comes.
    pub(super) async fn run(self) {
        let this = Arc::new(self);
        let mut fault = None;
        loop {
            match TcpListener::bind(this.own).await {
                Ok(listener) => {
                    fault = None;
                    this.accept(&listener).await;
                }
                Err(error) => {
                    let reason = error.to_string();
                    if fault.as_ref() != Some(&reason) {
                        tracing::warn!(address = %this.own, %reason, "peers cannot be heard; trying again");
                    }
                    fault = Some(reason);
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Until the listener breaks.
    async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let (stream, from) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "peers cannot be heard; trying again");
                        return;
                    }
                },
                Some(_) = connections.join_next() => continue,
            };
            let Some(place) = self.board.of(from.ip()) else {
                self.board.refuse(Refused::Stranger);
                continue;
            };
            if connections.len() >= self.board.peers.len() * CONNECTIONS_OF_EACH {
                self.board.refuse(Refused::Crowd);
                continue;
            }
            let (this, place) = (Arc::clone(self), Arc::clone(place));
            connections.spawn(async move {
                // Without it, what is taken is said late.
                let _ = stream.set_nodelay(true);
                this.hear(&place, stream).await;
            });
        }
    }

    /// One connection.
    pub(super) async fn hear<S: AsyncRead + AsyncWrite + Unpin>(&self, place: &Place, stream: S) {
        let mut counted = Counted { place, heard: false };
        let Err(end) = self.take(&mut counted, stream).await;
        let peer = &place.peer.name;
        if let Some(cause) = end.refused() {
            self.board.refuse(cause);
            tracing::warn!(%peer, reason = %end, "a peer's connection is refused");
        } else if counted.heard {
            tracing::info!(%peer, reason = %end, "the peer tells of flows no more");
        }
    }

    async fn take<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        counted: &mut Counted<'_>,
        mut stream: S,
    ) -> Result<Infallible, End> {
        let place = counted.place;
        let key = Key::load(&self.key_file).map_err(std::io::Error::other)?;
        let greeted = timeout(SILENCE, greet(&mut stream, &key, Side::Listener)).await;
        let (mut sealer, mut opener) = greeted.map_err(|_| End::Refused(Refused::Silent))??;
        let (mut input, mut output) = split(stream);
        output.write_all(&sealer.seal(&Message::Alive.encode())?.1).await?;
        loop {
            let heard = timeout(SILENCE, opener.read(&mut input)).await;
            let (number, bytes) = heard.map_err(|_| End::Refused(Refused::Silent))??;
            let message = Message::decode(&bytes).ok_or(End::Refused(Refused::Malformed))?;
            counted.hear();
            match message {
                Message::Flows(flows) => {
                    let taken = self.handle.take(flows).await?;
                    place.state().received += taken;
                }
                Message::Whole => {
                    if !std::mem::replace(&mut place.state().whole, true) {
                        self.board.news.notify_one();
                        tracing::info!(peer = %place.peer.name, "the peer has told all that it knows of flows");
                    }
                }
                Message::Alive => {}
                Message::Certificate(bytes) => {
                    let (reply, taken) = oneshot::channel();
                    let peer = Arc::clone(&place.peer.name);
                    let heard = PeerNews { peer, bytes, reply };
                    self.certificates.send(heard).await.map_err(|_| Gone)?;
                    // Bounded, so that the peer goes on hearing of this node whatever becomes of certificates.
                    let _ = timeout(TAKE, taken).await;
                }
                Message::Taken(_) => return Err(End::Refused(Refused::Malformed)),
            }
            output
                .write_all(&sealer.seal(&Message::Taken(number).encode())?.1)
                .await?;
        }
    }
}

/// A connection among those of its peer, once it has shown that it has the key.
struct Counted<'a> {
    place: &'a Place,
    heard: bool,
}

impl Counted<'_> {
    fn hear(&mut self) {
        if !std::mem::replace(&mut self.heard, true) {
            self.place.state().hears += 1;
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.place.state().hears -= u32::from(self.heard);
    }
}
