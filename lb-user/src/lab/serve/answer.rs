//! What the labs' server answers to which path. It is for labs: whoever asks may make it fail.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body as _, Bytes, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::super::pattern::Pattern;
use super::access::Log;

/// 100 ms between the lines of a stream.
const APART: Duration = Duration::from_millis(100);

/// Longest wait before a slow answer, in milliseconds: ten minutes.
const SLOWEST: u64 = 600_000;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server with all its connections.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    /// The name, as a header has it.
    mark: HeaderValue,
    log: Option<Log>,
    fails: AtomicBool,
    connections: AtomicU64,
}

impl Server {
    pub(super) fn new(name: &str, log: Option<Log>) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            mark: HeaderValue::from_str(name).context("the name must be printable, to be sent in a header")?,
            log,
            fails: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        })
    }
}

/// How a client wants to be left without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Close,
    Reset,
}

impl Leave {
    /// If a connection has ended for that reason.
    pub(super) fn of(error: &hyper::Error) -> Option<Self> {
        std::error::Error::source(error)?.downcast_ref().copied()
    }
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client has asked for no answer")
    }
}

impl std::error::Error for Leave {}

/// What every answer says.
pub(super) fn facts(name: &str, client: SocketAddr, asked: SocketAddr) -> String {
    format!("{name} saw client {client} for {asked}\n")
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conversation {
    server: Arc<Server>,
    client: SocketAddr,
    asked: SocketAddr,
    /// From 1, over all connections of the server.
    number: u64,
    /// So far.
    requests: AtomicU64,
}

impl Conversation {
    pub(super) fn new(server: Arc<Server>, client: SocketAddr, asked: SocketAddr) -> Self {
        Self {
            number: server.connections.fetch_add(1, Ordering::Relaxed) + 1,
            server,
            client,
            asked,
            requests: AtomicU64::new(0),
        }
    }

    /// # Errors
    /// Where the client wants no answer.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Result<Response<Body>, Leave> {
        let server = &self.server;
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (status, body) = self.choose(request, number).await?;
        let length = body.size_hint().exact();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert("x-served-by", server.mark.clone());
        if let Ok(client) = HeaderValue::from_str(&self.client.ip().to_string()) {
            headers.insert("x-saw-client", client);
        }
        if let Some(log) = &server.log {
            log.write(self.client.ip(), request, status, length);
        }
        Ok(response)
    }

    async fn choose<B>(&self, request: &Request<B>, number: u64) -> Result<(StatusCode, Body), Leave> {
        let server = &self.server;
        let fine = |text: String| Ok((StatusCode::OK, whole(text)));
        let path = request.uri().path();
        match path {
            "/healthz" if server.fails.load(Ordering::Relaxed) => {
                return Ok((StatusCode::SERVICE_UNAVAILABLE, whole("failing\n".to_owned())));
            }
            "/healthz" => return fine("ok\n".to_owned()),
            "/health/fail" | "/health/ok" => {
                let fails = path == "/health/fail";
                server.fails.store(fails, Ordering::Relaxed);
                return fine(format!(
                    "/healthz {} from now on\n",
                    if fails { "fails" } else { "is ok" }
                ));
            }
            "/close" => return Err(Leave::Close),
            "/reset" => return Err(Leave::Reset),
            _ => {}
        }
        let parameter = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let parameter = parameter.and_then(|(kind, number)| Some((kind, number.parse::<u64>().ok()?)));
        match parameter {
            Some(("bytes", length)) => Ok((StatusCode::OK, Pattern::new(length).boxed_unsync())),
            Some(("slow", milliseconds)) if milliseconds <= SLOWEST => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                fine(self.all(request, number))
            }
            // Those below 200 announce another one.
            Some(("status", code @ 200..=999)) => {
                let status = StatusCode::from_u16(code as u16).unwrap_or_default();
                Ok((status, whole(self.all(request, number))))
            }
            Some(("stream", lines)) => Ok((StatusCode::OK, lines_of(&server.name, lines))),
            _ => fine(self.all(request, number)),
        }
    }

    /// All that there is to say of a request.
    fn all<B>(&self, request: &Request<B>, number: u64) -> String {
        let mut text = facts(&self.server.name, self.client, self.asked);
        text += &format!("connection {}, request {number} on it\n", self.number);
        for (name, value) in request.headers() {
            text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
        }
        text
    }
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

/// So many lines, the first at once.
fn lines_of(name: &str, lines: u64) -> Body {
    let name = name.to_owned();
    let next = move |number| {
        let line = format!("{name} line {} of {lines}\n", number + 1);
        async move {
            if number == lines {
                return None;
            }
            if number > 0 {
                tokio::time::sleep(APART).await;
            }
            Some((Ok(Frame::data(Bytes::from(line))), number + 1))
        }
    };
    StreamBody::new(stream::unfold(0, next)).boxed_unsync()
}
