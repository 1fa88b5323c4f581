//! The server: accepts, bounds and serves connections.
//!
//! The same on the Unix socket and over TCP, each with connections of its own, so that nobody outside can keep the
//! administrator from the socket. A connection carries one request; one that became a [stream](super::live) counts among
//! those, and goes on. It has [`HEAD_TIMEOUT`] to say what it wants and
//! [`CONNECTION_TIMEOUT`] for everything, and request bodies are refused unread or bounded (`body`), so a slow or greedy
//! client costs one of [`MAX_CONNECTIONS`] for that long, and nothing else. Answers whose size grows with the
//! configuration are made for [`MAX_LARGE`] at a time, and count until they are sent, so that clients who do not read
//! cannot fill the memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::access::Caller;
use super::connection::Connection;
use super::listen::Listen;
use super::live::Live;
use super::route::Site;
use super::token::Token;
use super::{MAX_HEAD, route};
use crate::control::Handle;

/// Connections served at once. When so many are, others wait in the socket's backlog.
pub const MAX_CONNECTIONS: usize = 64;

/// Large answers that are being made or sent. More wait, and are refused when they have waited too long.
pub const MAX_LARGE: usize = 4;

/// A request line and headers that are not complete after this end the connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Whatever has not been sent after this is not sent.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests under way at shutdown have so long to end.
const DRAIN: Duration = Duration::from_secs(1);

const MAX_HEADERS: usize = 64;

/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is asked, in the end.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The reconciler.
    pub node: Handle,
    /// The token in force.
    pub token: watch::Receiver<Option<Token>>,
    /// What streams are made of.
    pub live: Live,
}

/// Answers requests until `shutdown` ends; then stops listening, and waits a second for requests under way.
pub async fn serve(listener: impl Listen, desk: Desk, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let site = Site {
        desk,
        large: Arc::new(Semaphore::new(MAX_LARGE)),
    };
    tokio::select! {
        never = accept(&listener, &site, &mut connections) => match never {},
        () = shutdown => {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::debug!(connections = connections.len(), "API connections cut at shutdown");
    }
}

async fn accept(listener: &impl Listen, site: &Site, connections: &mut JoinSet<()>) -> Infallible {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, caller)) => {
                let site = site.clone();
                connections.spawn(serve_one(stream, caller, site, Connection::new(permit)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an API connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_one(stream: impl AsyncRead + AsyncWrite + Unpin, caller: Caller, site: Site, itself: Connection) {
    let service = service_fn(|request| {
        let (site, itself) = (&site, &itself);
        async move { Ok::<_, Infallible>(route::answer(request, caller, site, itself).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => match ended {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "API connection failed"),
        },
        () = itself.overstays(CONNECTION_TIMEOUT) => tracing::debug!("API connection timed out"),
    }
}
