//! What is asked, of whom, how often and for how long.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::lab::file::value::{Scheme, Url};

/// Requests to be made. All of them are `GET`s of one path.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Plan {
    pub(in crate::lab) target: Target,
    pub(in crate::lab) protocol: Protocol,
    /// Connections at a time, at least one.
    pub(in crate::lab) connections: usize,
    /// Requests at a time on each connection of HTTP/2, at least one.
    pub(in crate::lab) streams: usize,
    /// Whether connections are used for more than one request.
    pub(in crate::lab) reuse: bool,
    pub(in crate::lab) pace: Pace,
    pub(in crate::lab) end: End,
    /// For a request from when it is sent, the connection that it may need included.
    pub(in crate::lab) timeout: Duration,
    /// Addresses that connections come from, in turn; none: the kernel chooses.
    pub(in crate::lab) sources: Vec<IpAddr>,
    /// Besides `Host`.
    pub(in crate::lab) headers: Vec<(String, String)>,
    /// Statuses that count as answered; others count as failed.
    pub(in crate::lab) fine: RangeInclusive<u16>,
    /// Whether a [`Made`](super::Made) is kept of each request: about 100 bytes.
    pub(in crate::lab) record: bool,
    /// Threads that share the connections, at least one.
    pub(in crate::lab) threads: usize,
}

/// Who is asked for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Target {
    pub(in crate::lab) tls: bool,
    pub(in crate::lab) address: SocketAddr,
    /// What the `Host` header says, and with TLS, but for a port, which name the certificate is asked for.
    pub(in crate::lab) host: String,
    /// With its query; begins with `/`.
    pub(in crate::lab) path: String,
    /// Authorities that the certificate has to be of; none: every certificate is believed.
    pub(in crate::lab) ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Protocol {
    Http1,
    Http2,
}

/// When a request is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::lab) enum Pace {
    /// When the one before on the same connection has been answered.
    Closed,
    /// So many a second, whether those before have been answered or not. Above zero.
    Open { rate: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum End {
    /// No request is sent after so long; those under way are waited for.
    After(Duration),
    Requests(u64),
}

impl Plan {
    /// One connection that is kept, one request after the other, for ten seconds.
    pub(in crate::lab) fn new(target: Target) -> Self {
        Self {
            target,
            protocol: Protocol::Http1,
            connections: 1,
            streams: 1,
            reuse: true,
            pace: Pace::Closed,
            end: End::After(Duration::from_secs(10)),
            timeout: Duration::from_secs(5),
            sources: Vec::new(),
            headers: Vec::new(),
            fine: 200..=399,
            record: false,
            threads: 1,
        }
    }
}

impl Target {
    /// What a URL names, which is at `address`.
    pub(in crate::lab) fn of(url: &Url, address: SocketAddr) -> Self {
        Self {
            tls: url.scheme == Scheme::Https,
            address,
            host: url.authority.clone(),
            path: url.path.clone(),
            ca: None,
        }
    }

    /// `/` without TLS.
    pub(in crate::lab) fn at(address: SocketAddr) -> Self {
        Self {
            tls: false,
            address,
            host: address.to_string(),
            path: "/".to_owned(),
            ca: None,
        }
    }
}
