//! What is known of a request when it has ended.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// One line. Bytes are as the client sent them: whatever they are, the formats make one line of them.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who asked; where a trusted proxy says so, whom it asked for.
    pub client: SocketAddr,
    /// When the request began.
    pub time: SystemTime,
    /// The first line; `None` when there was none that could be read.
    pub request: Option<Request<'a>>,
    /// What the client was answered; `None` when it went away before.
    pub status: Option<u16>,
    /// Bytes of the response's body that were sent.
    pub body: u64,
    /// `referer`
    pub referer: Option<&'a [u8]>,
    /// `user-agent`
    pub user_agent: Option<&'a [u8]>,
    /// Whom the client named.
    pub host: Option<&'a [u8]>,
    /// The service.
    pub service: &'a str,
    /// The backend that answered, or was asked last, and its address.
    pub backend: Option<(&'a str, SocketAddr)>,
    /// From the request's first byte to the response's last.
    pub total: Duration,
    /// How long it waited for a backend that had room; `None` when it had not to.
    pub wait: Option<Duration>,
    /// How long the connection to the backend took; `None` when there was one.
    pub connect: Option<Duration>,
    /// From the request's start at the backend to its response's head.
    pub first_byte: Option<Duration>,
    /// Bytes of head and body that the client sent.
    pub received: u64,
    /// Bytes of head and body that the client was sent.
    pub sent: u64,
    /// Of the client's connection; `None`: plain.
    pub tls: Option<TlsFacts<'a>>,
    /// The request's name.
    pub request_id: Option<&'a [u8]>,
    /// How often it was tried again.
    pub retries: u32,
    /// Why it has not come to its end, or why the answer is the proxy's own.
    pub fault: Option<&'a str>,
}

/// The first line of a request. Of HTTP/2, what it would be.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Such as GET.
    pub method: &'a [u8],
    /// Path and query.
    pub target: &'a [u8],
    /// Which HTTP.
    pub version: Version,
}

/// A version of HTTP, as logs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    H1_0,
    /// HTTP/1.1
    H1_1,
    /// HTTP/2
    H2,
}

impl Version {
    /// As in logs of Apache and nginx.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::H1_0 => "HTTP/1.0",
            Self::H1_1 => "HTTP/1.1",
            Self::H2 => "HTTP/2.0",
        }
    }
}

/// What is known of a connection with TLS.
#[derive(Clone, Copy, Debug)]
pub struct TlsFacts<'a> {
    /// Such as `TLSv1.3`.
    pub version: &'a str,
    /// IANA name of the cipher suite.
    pub cipher: &'a str,
    /// Whom the client named.
    pub server_name: Option<&'a str>,
}
