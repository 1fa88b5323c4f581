//! What a service of `mode = "proxy"` does with HTTP, after validation.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Prefix;
use super::acme::Acme;

/// All that a service or pool says of HTTP. A pool has [`Http::upstream`] and what chooses its backends alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// `[service.tls]`; `None`: plain.
    pub tls: Option<Tls>,
    /// `[service.http]`
    pub http: Http,
    /// `[service.upstream]`: how its backends are spoken to.
    pub upstream: Upstream,
    /// `[[service.route]]`, in file order: the first that matches says which pool serves, and without one the service does.
    pub routes: Vec<Route>,
}

/// `[service.tls]`: TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one, unless one is ordered. The first serves clients that name nobody, or somebody whom no certificate is
    /// for.
    pub certificates: Vec<CertificateFiles>,
    /// One more, which is ordered.
    pub acme: Option<Arc<Acme>>,
    /// Clients show a certificate of an authority in this file.
    pub client_ca: Option<PathBuf>,
    /// Clients without a certificate are let in all the same. Nothing without [`Self::client_ca`].
    pub client_optional: bool,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// IANA names of the cipher suites that are offered, in this order; empty: all that the library thinks safe.
    pub ciphers: Vec<String>,
    /// What is offered, the dearest first (RFC 7301).
    pub alpn: Vec<HttpVersion>,
    /// Browsers shall come by TLS only, for so long (RFC 6797).
    pub hsts: Option<Hsts>,
}

/// Where a certificate with its chain and its key are. Both may be one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, the certificate itself first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246
    #[default]
    V1_2,
    /// RFC 8446
    V1_3,
}

/// A version of HTTP that is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1, and 1.0 with who speaks that (RFC 9112).
    #[default]
    H1,
    /// RFC 9113
    H2,
}

/// `strict-transport-security` (RFC 6797 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// How long a browser remembers it; in whole seconds.
    pub max_age: Duration,
    /// Of every name below this one, too.
    pub include_subdomains: bool,
    /// May be put into the lists that browsers come with.
    pub preload: bool,
}

/// `[service.http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// HTTP/2 is spoken on plain connections that begin with its preface (RFC 9113 §3.3).
    pub h2c: bool,
    /// Every request is answered with the way to the same at https, on this port.
    pub redirect_to_https: Option<NonZeroU16>,
    /// Backends see the Host that the client named; else their own address.
    pub preserve_host: bool,
    /// `location`, `content-location`, and the path and domain of cookies that name a backend are made to name the service:
    /// what `ProxyPassReverse` and its like do.
    pub rewrite_location: bool,
    /// What backends are told of the client.
    pub forwarded: Vec<Forwarded>,
    /// Who is believed about the client: what others say in headers of [`Forwarded`] is thrown away.
    pub trusted_proxies: Vec<Prefix>,
    /// Who has to begin with a header of the PROXY protocol. Others must not.
    pub proxy_protocol: Vec<Prefix>,
    /// A header that gives each request a name, unless a trusted proxy has given it one; `None`: not.
    pub request_id: Option<HeaderName>,
    /// What a ring is asked for, in [`Balance::Maglev`](super::Balance::Maglev).
    pub hash_on: HashOn,
    /// Keeps clients with their backend by a cookie of this name.
    pub sticky_cookie: Option<StickyCookie>,
    /// In file order, each applied to what those before it left.
    pub headers: Vec<HeaderRule>,
    /// Where requests are logged; `None`: nowhere.
    pub access_log: Option<AccessLog>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much there may be of things.
    pub limits: Limits,
    /// What clients get where no backend has an answer, by status.
    pub error_pages: Vec<(u16, PathBuf)>,
    /// What a client without a backend is told to wait, in whole seconds.
    pub retry_after: Duration,
    /// Requests that are tried again.
    pub retry: Retry,
    /// Backends that are set aside for what they do to requests; `None`: none are.
    pub eject: Option<Eject>,
    /// Requests that wait for a backend that has as many as it may; for nothing where no backend has such a limit.
    pub queue: Queue,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            h2c: false,
            redirect_to_https: None,
            preserve_host: true,
            rewrite_location: true,
            forwarded: vec![Forwarded::For, Forwarded::Proto, Forwarded::Host],
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            request_id: HeaderName::new("x-request-id"),
            hash_on: HashOn::Source,
            sticky_cookie: None,
            headers: Vec::new(),
            access_log: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            error_pages: Vec::new(),
            retry_after: Duration::from_secs(5),
            retry: Retry::default(),
            eject: Some(Eject::default()),
            queue: Queue::default(),
        }
    }
}

/// A header by which backends are told of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// `x-forwarded-for`: the addresses on the way.
    For,
    /// `x-forwarded-proto`: http or https.
    Proto,
    /// `x-forwarded-host`: whom the client named.
    Host,
    /// `x-forwarded-port`: the port of the service that the client came to.
    Port,
    /// `x-real-ip`: the client's address alone.
    RealIp,
    /// `forwarded` (RFC 7239), which says all of it.
    Standard,
}

impl Forwarded {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::For,
        Self::Proto,
        Self::Host,
        Self::Port,
        Self::RealIp,
        Self::Standard,
    ];

    /// Its name, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::For => "x-forwarded-for",
            Self::Proto => "x-forwarded-proto",
            Self::Host => "x-forwarded-host",
            Self::Port => "x-forwarded-port",
            Self::RealIp => "x-real-ip",
            Self::Standard => "forwarded",
        }
    }
}

/// The name of a header field: a token (RFC 9110 §5.6.2), in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderName(Arc<str>);

impl HeaderName {
    /// `None` for what is no token.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        is_token(name.as_bytes()).then(|| Self(name.to_ascii_lowercase().into()))
    }

    /// In lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Is this a token (RFC 9110 §5.6.2)?
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// May this byte stand in a token (RFC 9110 §5.6.2)?
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// What a ring is asked for. Where a request does not have it, its client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address.
    #[default]
    Source,
    /// The path, without the query.
    Path,
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(Arc<str>),
}

impl fmt::Display for HashOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header:{}", name.as_str()),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// A cookie that names a backend. It is signed by the seed, so every node with the same seed knows its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    /// A token.
    pub name: Arc<str>,
    /// How long a browser keeps it; `None`: until it is closed.
    pub max_age: Option<Duration>,
}

/// One change of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Of requests, or of responses.
    pub on: Direction,
    /// What is done.
    pub action: HeaderAction,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the backend.
    Request,
    /// To the client.
    Response,
}

/// What a rule does to a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// The one field of its name from here on.
    Set(HeaderName, Arc<str>),
    /// One more.
    Add(HeaderName, Arc<str>),
    /// None of that name.
    Remove(HeaderName),
}

/// `access-log`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// What a line looks like.
    pub format: LogFormat,
    /// The file, made where there is none. Several services may share it.
    pub path: PathBuf,
    /// In bytes: a file that is longer becomes `path.1`, and another one is begun; `None`: it grows.
    pub max_size: Option<u64>,
    /// How many older ones are kept, with `max_size`.
    pub keep: u16,
}

/// What a line of an access log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// The Common Log Format of NCSA httpd.
    Common,
    /// The same with Referer and User-Agent.
    #[default]
    Combined,
    /// An object of JSON, with all that is known.
    Json,
}

/// How long things may take before the connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a connection's start, or a request's first byte, to the end of its head; handshakes of TLS, too.
    pub client_header: Duration,
    /// Between two pieces of a request's body, and of a response's that the client does not take.
    pub client_body: Duration,
    /// For a connection to a backend, with its handshake of TLS.
    pub connect: Duration,
    /// From a request's end to the response's head, and between two pieces of its body.
    pub response: Duration,
    /// Between requests, on both sides.
    pub idle: Duration,
    /// Between two bytes of a connection that was upgraded.
    pub tunnel: Duration,
    /// For requests under way, when the daemon ends.
    pub shutdown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            client_header: seconds(10),
            client_body: seconds(30),
            connect: seconds(2),
            response: seconds(30),
            idle: seconds(60),
            tunnel: seconds(3600),
            shutdown: seconds(30),
        }
    }
}

/// How much there may be of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, first line and all.
    pub header: u32,
    /// Fields of a head.
    pub header_count: u16,
    /// Bytes of a request's target.
    pub uri: u32,
    /// Bytes of a request's body; `None`: any.
    pub body: Option<u64>,
    /// Requests at once on a connection of HTTP/2.
    pub streams: NonZeroU32,
    /// Clients' connections at once, of the whole service.
    pub connections: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        let some = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            header: 32 * 1024,
            header_count: 100,
            uri: 8 * 1024,
            body: None,
            streams: some(128),
            connections: some(100_000),
        }
    }
}

/// `retry`: requests that may be repeated safely (RFC 9110 §9.2.2), whose backend has not begun to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often one is tried again.
    pub attempts: u8,
    /// How many of a hundred requests may be; a few always may.
    pub budget_percent: u8,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            budget_percent: 20,
        }
    }
}

/// `eject`: backends that are set aside for what they do to requests, though their probes pass. Never more than half of
/// those of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// After so many failures in a row: no connection, no answer, or a status of 502, 503 or 504.
    pub errors: NonZeroU32,
    /// When its answers take so many times as long as the pool's median, in hundredths; `None`: never.
    pub slower: Option<NonZeroU32>,
    /// How long, the first time; each time it happens again, so much longer.
    pub base: Duration,
    /// How long at most.
    pub max: Duration,
}

impl Default for Eject {
    fn default() -> Self {
        Self {
            errors: NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN),
            slower: None,
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
        }
    }
}

/// `queue`: requests that wait while every backend has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many wait at most; what comes then is answered with 503.
    pub length: u32,
    /// How long one waits at most; then the same.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            length: 1024,
            timeout: Duration::from_secs(2),
        }
    }
}

/// `[service.upstream]`: how backends are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Which HTTP.
    pub version: HttpVersion,
    /// Over TLS; `None`: plain.
    pub tls: Option<UpstreamTls>,
    /// Every connection begins with the client's address, and then serves that client alone.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Requests at once to each backend; `None`: any number.
    pub max_connections: Option<NonZeroU32>,
}

/// TLS towards backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Their certificate is checked, for `server_name` or else the backend's host name or address.
    pub verify: bool,
    /// Whom their certificate is for, and who is asked for (RFC 6066 §3).
    pub server_name: Option<Arc<str>>,
    /// PEM of authorities; `None`: those of the system.
    pub ca: Option<PathBuf>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line.
    V1,
    /// Binary.
    V2,
}

/// `[[service.route]]`. Whatever it does not say, matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host, in lower case, without a port; `*.` in front stands for one or more labels.
    pub host: Option<Arc<str>>,
    /// Whole segments of the path that it begins with: `/v1` is not for `/v10`. Begins with a slash.
    pub path_prefix: Option<Arc<str>>,
    /// A header with this value.
    pub header: Option<(HeaderName, Arc<str>)>,
    /// Who serves: [`Config::services`](super::Config::services) has it.
    pub pool: Arc<str>,
    /// What stands in the place of `path_prefix` for the backends.
    pub replace_prefix: Option<Arc<str>>,
}

/// Is `ip` of one of these?
#[must_use]
pub fn holds(prefixes: &[Prefix], ip: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.holds(ip))
}
