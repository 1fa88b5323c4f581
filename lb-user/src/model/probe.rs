//! What a probe does, by the kind of a check. What stands here can be sent as it is: `config` has seen to it.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Hidden;

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthKind {
    /// Opens a TCP connection, and closes it.
    Tcp,
    /// Sends a request, over TLS or not, and judges the response.
    Http(Arc<HttpProbe>),
    /// Completes a TLS handshake.
    Tls(Arc<TlsCheck>),
    /// Sends a datagram.
    Udp(Arc<UdpProbe>),
    /// Asks a name server over UDP.
    Dns(Arc<DnsProbe>),
    /// Greets a MySQL or MariaDB server, or logs in and asks it.
    Mysql(Arc<MysqlProbe>),
    /// Runs a command.
    Script(Arc<ScriptProbe>),
    /// No probes: the backend always counts as up.
    None,
}

impl HealthKind {
    /// Is anything asked at all?
    #[must_use]
    pub fn probes(&self) -> bool {
        *self != Self::None
    }
}

/// Which way a probe goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// To the backend's own address, as the node sends anything.
    #[default]
    Address,
    /// To the VIP at the backend, in what the service's packets travel in.
    Service,
}

impl Via {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Address, Self::Service];

    /// As it is written.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Service => "service",
        }
    }
}

/// The request of an HTTP probe, and the response that it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Over TLS, with these terms.
    pub tls: Option<TlsCheck>,
    /// Such as `GET`.
    pub method: String,
    /// The `Host` header; the address that is asked where there is none.
    pub host: Option<String>,
    /// Path and query; begins with a slash.
    pub path: String,
    /// Further headers, in the order of the file.
    pub headers: Vec<(String, Hidden<String>)>,
    /// Good statuses.
    pub expect_status: Statuses,
    /// What the body must say.
    pub expect_body: Option<ExpectBody>,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            tls: None,
            method: "GET".to_owned(),
            host: None,
            path: "/".to_owned(),
            headers: Vec::new(),
            expect_status: Statuses::default(),
            expect_body: None,
        }
    }
}

/// What a response's body must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectBody {
    /// It contains this text.
    Text(String),
    /// It has a match.
    Regex(Pattern),
}

/// A regular expression; two are equal that are written the same way.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex::bytes::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Codes and ranges of HTTP statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Is `code` one of them?
    #[must_use]
    pub fn contain(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("2xx or 3xx");
        }
        for (i, range) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" or ")?;
            }
            write!(f, "{}", range.start())?;
            if range.start() != range.end() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}

/// Whom a TLS probe believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// Name that the certificate must have, a host name or an IP address; the address that is asked where there is none.
    pub server_name: Option<String>,
    /// Is the certificate checked at all?
    pub verify: bool,
    /// PEM file with the authorities to believe; those of the system where there is none.
    pub ca: Option<PathBuf>,
}

impl Default for TlsCheck {
    fn default() -> Self {
        Self {
            server_name: None,
            verify: true,
            ca: None,
        }
    }
}

/// A datagram, and what comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpProbe {
    /// What is sent.
    pub payload: Vec<u8>,
    /// Must an answer come? If not, only an ICMP error is a failure.
    pub expect_answer: bool,
    /// What an answer must contain.
    pub expect: Vec<u8>,
}

/// A question to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsProbe {
    /// A host name without the final dot; `.` for the root.
    pub name: String,
    /// Type of the record asked for.
    pub record: RecordType,
    /// Must the answer have a record of this type?
    pub expect_record: bool,
}

/// Types of records that can be asked for, with their numbers on the wire (RFC 1035 §3.2.2, 3596, 2782).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordType {
    /// An IPv4 address.
    A = 1,
    /// A name server.
    Ns = 2,
    /// An alias.
    Cname = 5,
    /// Who is in charge of a zone.
    Soa = 6,
    /// A name for an address.
    Ptr = 12,
    /// Who takes mail.
    Mx = 15,
    /// Text.
    Txt = 16,
    /// An IPv6 address.
    Aaaa = 28,
    /// Where a service is.
    Srv = 33,
}

impl RecordType {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::A,
        Self::Aaaa,
        Self::Cname,
        Self::Mx,
        Self::Ns,
        Self::Ptr,
        Self::Soa,
        Self::Srv,
        Self::Txt,
    ];

    /// As it is written.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Ns => "NS",
            Self::Cname => "CNAME",
            Self::Soa => "SOA",
            Self::Ptr => "PTR",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        }
    }
}

/// What is asked of a MySQL or MariaDB server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MysqlProbe {
    /// As whom to log in; nobody waits for the server's greeting only.
    pub login: Option<MysqlLogin>,
    /// What it must be.
    pub role: MysqlRole,
    /// How far a replica may be behind.
    pub max_lag: Option<Duration>,
    /// Whether a replica may be out of reach of its source, so that nobody knows how far it is behind.
    pub without_source: bool,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlLogin {
    /// Name of the account.
    pub user: String,
    /// File with the password; an empty password where there is none.
    pub password_file: Option<PathBuf>,
    /// Over TLS, with these terms.
    pub tls: Option<TlsCheck>,
}

/// What a MySQL or MariaDB server must be, by its `read_only`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MysqlRole {
    /// Either.
    #[default]
    Any,
    /// It takes writes.
    Primary,
    /// It is read-only.
    Replica,
}

impl MysqlRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Any, Self::Primary, Self::Replica];

    /// As it is written.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// A command whose exit code judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptProbe {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Exit codes from 2 to 255 mean that the backend is up, and has a weight of two less.
    pub dynamic_weight: bool,
}
