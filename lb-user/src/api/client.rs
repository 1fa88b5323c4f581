//! The client that the command line and the labs use.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::types::{
    Backend, BackendPatch, Certificates, Denied, Denies, DenyPut, Explanation, LogLevels, Node, NodePatch,
    OrderedCertificate, Overridden, Plan, Problem, Reloaded, Status, TraceEnded, TraceRequest, TraceStarted,
    TracedPackets, Undenied,
};
use super::{body, percent, query};
use crate::model::status::FlowQuery;
use crate::model::{Hidden, Prefix};

/// Longer than the server waits for its turn (10 s) and for its reconciler (10 s), so that its own account of the delay
/// arrives.
const TIMEOUT: Duration = Duration::from_secs(25);

/// Largest answer that is read, in bytes: room for the status of half a million backends.
const MAX_ANSWER: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens on it.
    #[error("no daemon answers on {place}: is it running? start it with `fulcrum run -c FILE`")]
    NotRunning {
        /// Where it should be.
        place: Place,
    },
    /// The socket is somebody else's.
    #[error("no permission to open {place}: run this as the user that runs the daemon, as a rule root")]
    Denied {
        /// Where it should be.
        place: Place,
    },
    /// The daemon has refused.
    #[error("{0}")]
    Refused(Problem),
    /// Nothing came in time.
    #[error("the daemon on {place} did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut {
        /// Where it should be.
        place: Place,
    },
    /// The socket cannot be opened.
    #[error("cannot open {place}")]
    Connect {
        /// Where it should be.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the daemon on {place} broke")]
    Broken {
        /// Where it should be.
        place: Place,
        /// How.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something answered, but not what this client knows.
    #[error("the answer on {place} was not understood: is the daemon of another version than this command?")]
    NotUnderstood {
        /// Where it should be.
        place: Place,
        /// Where it was lost.
        source: serde_json::Error,
    },
}

/// Asks the daemon that listens somewhere. Every call opens a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
}

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket: whoever may open it may change everything.
    Socket(PathBuf),
    /// TCP, where this client has no token, and so may only read on the daemon's own machine.
    Address(SocketAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Client {
    /// A client for the daemon on `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        let place = Place::Socket(socket.into());
        Self { place }
    }

    /// A client for the daemon whose `[admin] listen` is `address`.
    #[must_use]
    pub const fn at(address: SocketAddr) -> Self {
        let place = Place::Address(address);
        Self { place }
    }

    /// Where it asks.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// The node's state now.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status").await
    }

    /// What the node would do with a packet of `flow`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn explain(&self, flow: FlowQuery) -> Result<Explanation, ClientError> {
        self.get(&format!("/api/v1/explain?{}", query::write(&flow))).await
    }

    /// Makes the daemon read its file now.
    ///
    /// # Errors
    /// [`ClientError`]; the file's own is in a [`Refused`](ClientError::Refused).
    pub async fn reload(&self) -> Result<Reloaded, ClientError> {
        self.send(Request::post("/api/v1/reload"), Bytes::new()).await
    }

    /// What a reload of `text` would change; `name` is what errors call it.
    ///
    /// # Errors
    /// [`ClientError`]; why a reload would refuse it is in a [`Refused`](ClientError::Refused).
    pub async fn plan(&self, name: &str, text: String) -> Result<Plan, ClientError> {
        let request = Request::post(format!("/api/v1/plan?{}", query::write_file(name)));
        self.send(request.header(CONTENT_TYPE, body::TOML), text.into()).await
    }

    /// A backend's state now; `backend` is its name or its address.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn backend(&self, service: &str, backend: &str) -> Result<Backend, ClientError> {
        let (service, backend) = (percent::encode(service), percent::encode(backend));
        self.get(&format!("/api/v1/services/{service}/backends/{backend}"))
            .await
    }

    /// Says what is wanted of a backend; `backend` is its name or its address.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn patch(&self, service: &str, backend: &str, patch: BackendPatch) -> Result<Overridden, ClientError> {
        let (service, backend) = (percent::encode(service), percent::encode(backend));
        let request = Request::patch(format!("/api/v1/services/{service}/backends/{backend}"));
        let body = serde_json::to_vec(&patch).map_err(|e| self.broken(e))?;
        self.send(request.header(CONTENT_TYPE, body::JSON), body.into()).await
    }

    /// The addresses by which clients reach the node, and whether it drains.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn node(&self) -> Result<Node, ClientError> {
        self.get("/api/v1/node").await
    }

    /// Says what is wanted of the node.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn patch_node(&self, patch: NodePatch) -> Result<Node, ClientError> {
        let body = serde_json::to_vec(&patch).map_err(|e| self.broken(e))?;
        let request = Request::patch("/api/v1/node").header(CONTENT_TYPE, body::JSON);
        self.send(request, body.into()).await
    }

    /// Begins a trace of packets. It ends when nobody has asked [`Self::traced`] for 5 seconds.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn trace(&self, wanted: &TraceRequest) -> Result<TraceStarted, ClientError> {
        let body = serde_json::to_vec(wanted).map_err(|e| self.broken(e))?;
        let request = Request::post("/api/v1/trace").header(CONTENT_TYPE, body::JSON);
        self.send(request, body.into()).await
    }

    /// What a trace has shown since the last time.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn traced(&self, trace: &TraceStarted) -> Result<TracedPackets, ClientError> {
        self.get(&format!("/api/v1/trace/{}", trace.trace)).await
    }

    /// Ends a trace.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn end_trace(&self, trace: &TraceStarted) -> Result<TraceEnded, ClientError> {
        let request = Request::delete(format!("/api/v1/trace/{}", trace.trace));
        self.send(request, Bytes::new()).await
    }

    /// What is denied at run time.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn denies(&self) -> Result<Denies, ClientError> {
        self.get("/api/v1/denies").await
    }

    /// Denies a prefix, by the named service or by all.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn deny(&self, prefix: Prefix, service: Option<&str>, wanted: DenyPut) -> Result<Denied, ClientError> {
        let body = serde_json::to_vec(&wanted).map_err(|e| self.broken(e))?;
        let request = Request::put(deny_path(prefix, service)).header(CONTENT_TYPE, body::JSON);
        self.send(request, body.into()).await
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn undeny(&self, prefix: Prefix, service: Option<&str>) -> Result<Undenied, ClientError> {
        self.send(Request::delete(deny_path(prefix, service)), Bytes::new())
            .await
    }

    /// Certificates that the node orders.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn certificates(&self) -> Result<Certificates, ClientError> {
        self.get("/api/v1/certificates").await
    }

    /// Begins an order for another certificate of a service. What becomes of it is in [`Self::certificates`].
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn renew_certificate(&self, service: &str) -> Result<OrderedCertificate, ClientError> {
        self.about_certificate(service, "renewal").await
    }

    /// Gives the account of a service's authority another key.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn roll_account_key(&self, service: &str) -> Result<OrderedCertificate, ClientError> {
        self.about_certificate(service, "account-key").await
    }

    /// Takes the certificate of a service back, for a reason of RFC 5280 §5.3.1 in words.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn revoke_certificate(&self, service: &str, reason: &str) -> Result<OrderedCertificate, ClientError> {
        self.about_certificate(service, &format!("revocation?reason={reason}"))
            .await
    }

    /// Serves a certificate that another client has ordered: chain and key, as PEM.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn import_certificate(
        &self,
        service: &str,
        pem: &Hidden<Vec<u8>>,
    ) -> Result<OrderedCertificate, ClientError> {
        let request = Request::put(format!("/api/v1/certificates/{}", percent::encode(service)));
        let body = Bytes::copy_from_slice(&pem.0);
        self.send(request.header(CONTENT_TYPE, body::PEM), body).await
    }

    async fn about_certificate(&self, service: &str, what: &str) -> Result<OrderedCertificate, ClientError> {
        let request = Request::post(format!("/api/v1/certificates/{}/{what}", percent::encode(service)));
        self.send(request, Bytes::new()).await
    }

    /// What the daemon logs.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn log_levels(&self) -> Result<LogLevels, ClientError> {
        self.get("/api/v1/log-level").await
    }

    /// Changes that, until the daemon ends.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn set_log_levels(&self, wanted: &LogLevels) -> Result<LogLevels, ClientError> {
        let body = serde_json::to_vec(wanted).map_err(|e| self.broken(e))?;
        let request = Request::post("/api/v1/log-level").header(CONTENT_TYPE, body::JSON);
        self.send(request, body.into()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Request::get(path), Bytes::new()).await
    }

    async fn send<T: DeserializeOwned>(&self, request: Builder, body: Bytes) -> Result<T, ClientError> {
        let (status, body) = tokio::time::timeout(TIMEOUT, self.exchange(request, body))
            .await
            .map_err(|_| ClientError::TimedOut {
                place: self.place.clone(),
            })??;
        let not_understood = |source| ClientError::NotUnderstood {
            place: self.place.clone(),
            source,
        };
        if status.is_success() {
            serde_json::from_slice(&body).map_err(not_understood)
        } else {
            let problem = serde_json::from_slice(&body).map_err(not_understood)?;
            Err(ClientError::Refused(problem))
        }
    }

    async fn exchange(&self, request: Builder, body: Bytes) -> Result<(hyper::StatusCode, Bytes), ClientError> {
        let no_connection = |e| self.no_connection(e);
        match &self.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(no_connection)?;
                self.exchange_over(stream, request, body).await
            }
            Place::Address(address) => {
                let stream = TcpStream::connect(address).await.map_err(no_connection)?;
                self.exchange_over(stream, request, body).await
            }
        }
    }

    async fn exchange_over<S>(
        &self,
        stream: S,
        request: Builder,
        body: Bytes,
    ) -> Result<(hyper::StatusCode, Bytes), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let request = request.header(HOST, "localhost").body(Full::<Bytes>::from(body));
        let request = request.map_err(|e| self.broken(e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.broken(e))?;
        // Takes the sender with it: a connection that the server keeps open ends when that is gone.
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|e| self.broken(e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|e| self.broken(e))?.to_bytes();
            Ok((status, body))
        };
        // Both to their ends: what breaks the connection reaches the answer as its error.
        let (answer, _) = tokio::join!(answer, connection);
        answer
    }

    fn no_connection(&self, source: io::Error) -> ClientError {
        let place = self.place.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { place },
            io::ErrorKind::PermissionDenied => ClientError::Denied { place },
            _ => ClientError::Connect { place, source },
        }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken {
            place: self.place.clone(),
            source: source.into(),
        }
    }
}

fn deny_path(prefix: Prefix, service: Option<&str>) -> String {
    let prefix = percent::encode(&prefix.to_string());
    format!("/api/v1/denies/{prefix}{}", query::write_service(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_may_not_be_opened_says_who_may() {
        // Tests run as root, too, who may open every socket.
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = Client::new("/run/x.sock").no_connection(denied);
        assert_eq!(
            error.to_string(),
            "no permission to open /run/x.sock: run this as the user that runs the daemon, as a rule root"
        );
    }
}
