//! Connections of HTTP/2 to backends, each shared by many requests.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};

use super::Backend;
use super::connection::Open;
use crate::proxy::io::Stream;
use crate::proxy::io::coalesce::Coalesced;
use crate::proxy::pump::from_h2;

/// Requests at once on a connection, when the backend allows more; then another one is made.
const MOST: usize = 100;

/// Bytes that a backend may send ahead, on a stream and on a connection.
const WINDOW: (u32, u32) = (256 * 1024, 1024 * 1024);

/// A connection that takes requests until it has ended.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    over: Cell<bool>,
    active: Cell<usize>,
    used: Cell<Instant>,
}

/// A request's place on a connection.
#[derive(Debug)]
pub struct Place {
    /// To send it.
    pub requests: SendRequest<Bytes>,
    /// The connection was there before.
    pub reused: bool,
    state: Rc<State>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.state.active.set(self.state.active.get() - 1);
        self.state.used.set(Instant::now());
    }
}

impl Connection {
    /// Begins one; its own task serves it until it ends.
    pub(super) async fn begin(stream: Stream, backend: &Rc<Backend>) -> io::Result<Self> {
        let open = Open::new(&stream, backend);
        let mut builder = Builder::new();
        builder
            .initial_window_size(WINDOW.0)
            .initial_connection_window_size(WINDOW.1)
            .enable_push(false);
        let io = Coalesced::new(stream);
        let (requests, mut connection) = builder.handshake(io.clone()).await.map_err(from_h2)?;
        let state = Rc::new(State {
            over: Cell::new(false),
            active: Cell::new(0),
            used: Cell::new(Instant::now()),
        });
        let ended = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            // How it ended, its requests hear.
            poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                match io.poll_send(cx) {
                    Poll::Ready(Err(_)) => Poll::Ready(()),
                    _ => polled.map(|_| ()),
                }
            })
            .await;
            ended.over.set(true);
            drop(open);
        });
        Ok(Self { requests, state })
    }

    /// A place for one more request.
    pub(super) fn place(&self) -> Option<Place> {
        let most = MOST.min(self.requests.current_max_send_streams());
        if self.state.over.get() || self.state.active.get() >= most {
            return None;
        }
        self.state.active.set(self.state.active.get() + 1);
        Some(Place {
            requests: self.requests.clone(),
            reused: true,
            state: Rc::clone(&self.state),
        })
    }

    /// Is it of no more use? It closes when the last that holds it is gone.
    pub(super) fn is_over(&self, idle_for: Duration) -> bool {
        self.state.over.get() || self.state.active.get() == 0 && self.state.used.get().elapsed() > idle_for
    }
}
