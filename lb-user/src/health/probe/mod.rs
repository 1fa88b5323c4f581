//! One probe of one backend: what a check's kind sends, and what came of it in words.
//!
//! A probe has one deadline for everything it does, reads a bounded amount, and closes its connection with a reset:
//! 20,000 backends at one probe a second would otherwise keep 1.2 million sockets in TIME_WAIT on the node. (HAProxy's
//! checks end the same way; a server may log the reset.) Counting outcomes and choosing the moment are for others.

mod http;
mod tcp;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::model::HealthKind;

/// A probe that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Success {
    /// What the backend did.
    pub answer: Answer,
    /// From the start of the probe to the answer.
    pub took: Duration,
}

/// What a healthy backend did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was asked.
    NotProbed,
    /// It accepted a connection.
    Connected,
    /// It answered a request with this status, 200 to 399.
    Status(u16),
}

/// Why a probe failed. Two equal failures differ in nothing that people would care about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The deadline passed.
    #[error("timed out after {after:?} while {phase}")]
    TimedOut {
        /// The check's timeout.
        after: Duration,
        /// What the probe was waiting for.
        phase: Phase,
    },
    /// Nobody listens on the port.
    #[error("connection refused")]
    Refused,
    /// A response, but not with a status from 200 to 399.
    #[error("status {0}, wanted 2xx or 3xx")]
    Status(u16),
    /// The answer to a request was not HTTP/1.
    #[error("not HTTP")]
    NotHttp,
    /// The head of the response was larger than a probe reads.
    #[error("response head too large")]
    TooLarge,
    /// The backend closed the connection before it had answered.
    #[error("connection closed without a response")]
    Closed,
    /// The network, or the backend's kernel, says that it cannot be reached or that the connection is over.
    #[error("{text}")]
    Unreachable {
        /// What the system said.
        kind: io::ErrorKind,
        /// The same for people, such as `no route to host`.
        text: &'static str,
    },
    /// The probe did not leave this node, which says nothing about the backend.
    #[error("this node could not probe: {0}")]
    Local(String),
}

/// What a probe was waiting for when time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection.
    Connecting,
    /// The head of the response.
    Waiting,
}

/// Probes `address` once. Returns within `timeout`.
///
/// # Errors
/// Why the backend is not healthy, or could not be asked ([`Failure::Local`]).
pub async fn probe(kind: &HealthKind, address: SocketAddr, timeout: Duration) -> Result<Success, Failure> {
    let started = Instant::now();
    let deadline = Deadline {
        at: started + timeout,
        after: timeout,
    };
    let answer = match kind {
        HealthKind::None => Answer::NotProbed,
        HealthKind::Tcp => tcp::probe(address, deadline).await?,
        HealthKind::Http(check) => http::probe(check, address, deadline).await?,
    };
    Ok(Success {
        answer,
        took: started.elapsed(),
    })
}

/// When a probe gives up.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    async fn bound<T>(self, phase: Phase, work: impl Future<Output = T>) -> Result<T, Failure> {
        let after = self.after;
        timeout_at(self.at, work)
            .await
            .map_err(|_| Failure::TimedOut { after, phase })
    }
}

impl fmt::Display for Success {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.took.as_secs_f64() * 1e3;
        match self.answer {
            Answer::NotProbed => write!(f, "not probed"),
            Answer::Connected => write!(f, "connected in {millis:.1} ms"),
            Answer::Status(code) => write!(f, "status {code} in {millis:.1} ms"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Waiting => "waiting for the response",
        })
    }
}

impl From<io::Error> for Failure {
    /// Tells what the backend did from what this node lacks: a node that runs out of descriptors or ports must not
    /// take its backends for dead.
    fn from(error: io::Error) -> Self {
        use nix::errno::Errno;

        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
        let text = match errno {
            Errno::ECONNREFUSED => return Self::Refused,
            Errno::EHOSTUNREACH => "no route to host",
            Errno::ENETUNREACH => "network unreachable",
            Errno::EHOSTDOWN => "host is down",
            Errno::ECONNRESET | Errno::EPIPE => "connection reset",
            Errno::ECONNABORTED => "connection aborted",
            Errno::ETIMEDOUT => "connection timed out",
            _ => return Self::Local(error.to_string()),
        };
        Self::Unreachable {
            kind: error.kind(),
            text,
        }
    }
}

#[cfg(test)]
mod tests;
