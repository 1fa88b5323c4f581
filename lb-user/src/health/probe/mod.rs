//! One probe of one backend: what a check's kind sends, and what came of it in words.
//!
//! A probe has one deadline for everything it does, reads a bounded amount, and closes its connection with a reset:
//! 20,000 backends at one probe a second would otherwise keep 1.2 million sockets in TIME_WAIT on the node. (HAProxy's
//! checks end the same way; a server may log the reset.) Counting outcomes and choosing the moment are for others.
//!
//! Reasons are shown to people and in the log. They hold what a backend or a command says, but nothing that is sent.

mod dns;
mod http;
mod link;
mod mysql;
mod script;
mod tcp;
mod tls;
mod trust;
mod udp;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::Target;
use super::path::{self, Paths};
use crate::model::{HealthKind, MysqlRole, Probes, ServicePath, Statuses};
use crate::net::Net;
use crate::process::{self, Programs};
pub use trust::Trust;

/// VIPs of one backend that are asked at once; of more, the others come later, with what is left of the time.
const AT_ONCE: usize = 8;

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
    /// It answered a request with this status, which is a good one, and a body that is as it should be.
    Status(u16),
    /// It completed a TLS handshake.
    Encrypted,
    /// It answered a datagram.
    Answered,
    /// It did not need to answer a datagram, and did not.
    Silent,
    /// It answered a question about a name.
    Resolved,
    /// It greeted as a MySQL server does.
    Greeted,
    /// It took a login, and has this role.
    Serves(MysqlRole),
    /// A command ended with exit code 0.
    Exited,
    /// A command ended with another exit code, which asks for this weight.
    Weighs(u16),
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
    /// A response, but not with a good status.
    #[error("status {code}, wanted {wanted}")]
    Status {
        /// That of the response.
        code: u16,
        /// Good ones.
        wanted: Statuses,
    },
    /// A response, but with another body.
    #[error("status {0}, but the body is not as expected")]
    Body(u16),
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
    /// TLS, or a certificate.
    #[error(transparent)]
    Tls(#[from] tls::Failure),
    /// An answer to a datagram, but another one.
    #[error("the answer is not as expected")]
    Unexpected,
    /// A name server's answer.
    #[error(transparent)]
    Dns(#[from] dns::Failure),
    /// What a MySQL server says.
    #[error(transparent)]
    Mysql(#[from] mysql::Failure),
    /// How a command ended.
    #[error(transparent)]
    Script(#[from] process::Failure),
    /// Of a probe that goes the way of the service's packets: what came of it at one of the VIPs.
    #[error("{vip} through the service: {failure}")]
    AtVip {
        /// Which one.
        vip: SocketAddr,
        /// What came of it.
        failure: Box<Self>,
    },
    /// There is no way to the backend, for sure.
    #[error("there is no way to it: {0}")]
    NoWay(String),
    /// The backend forwards what it should take.
    #[error("it hands packets to this address on, so it does not hold the address")]
    HandedOn,
    /// The probe did not leave this node, which says nothing about the backend.
    #[error("this node could not probe: {0}")]
    Local(String),
}

/// What a probe was waiting for when time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The connection.
    Connecting,
    /// The end of a TLS handshake.
    Encrypting,
    /// The head of the response, or a whole one where it has no head.
    Waiting,
    /// The rest of the response.
    Reading,
    /// The end of a command.
    Running,
}

/// What all probes share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Means {
    trust: Arc<Trust>,
    pub(super) paths: Paths,
    programs: Programs,
}

impl Means {
    /// In the network namespace of `net`, which is that of the threads that probe; `programs` starts scripts.
    #[must_use]
    pub fn new(net: Net, programs: Programs) -> Self {
        Self {
            trust: Arc::default(),
            paths: Paths::new(net),
            programs,
        }
    }

    /// From now on, services are probed through these VIPs.
    pub fn aim(&self, vips: BTreeSet<IpAddr>) {
        self.paths.aim(vips);
    }
}

/// Probes the target once: at its address, or at every VIP where its path is given, and then each has to answer. Returns within its timeout. A
/// certificate that it shows is noted in `probes`.
///
/// VIPs of a family that the node has no address of are passed over, unless there are no others.
///
/// # Errors
/// Why the backend is not healthy, or could not be asked ([`Failure::Local`]).
pub async fn probe(target: &Target, probes: &Probes, means: &Means) -> Result<Success, Failure> {
    let started = Instant::now();
    let after = target.check.timeout;
    let mut call = Call {
        target,
        probes,
        means,
        path: None,
        address: target.member.backend,
        deadline: Deadline {
            at: started + after,
            after,
        },
    };
    let answer = match &target.path {
        None => ask(call).await?,
        Some(path) => {
            call.path = Some(path);
            let late = |_| Failure::Local("the node's addresses could not be read in time".to_owned());
            let askable = call.deadline.bound(Phase::Connecting, askable(path, means)).await;
            let vips = askable.map_err(late)??;
            let asked = vips.into_iter().map(|vip| ask_at(call, vip));
            let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
            answers.last().copied().unwrap_or(Answer::NotProbed)
        }
    };
    Ok(Success {
        answer,
        took: started.elapsed(),
    })
}

/// The VIPs of a path that the node has an address to ask from; all of them where it has for none, which then says so.
async fn askable(path: &ServicePath, means: &Means) -> Result<Vec<IpAddr>, Failure> {
    let mut vips = Vec::new();
    for &vip in &path.vips {
        if means.paths.source(path, vip).await?.is_some() {
            vips.push(vip);
        }
    }
    if vips.is_empty() {
        vips.clone_from(&path.vips);
    }
    Ok(vips)
}

async fn ask_at(call: Call<'_>, vip: IpAddr) -> Result<Answer, Failure> {
    let address = SocketAddr::new(vip, call.address.port());
    let asked = ask(Call { address, ..call }).await;
    asked.map_err(|failure| failure.at(address))
}

async fn ask(call: Call<'_>) -> Result<Answer, Failure> {
    match &call.target.check.kind {
        HealthKind::None => Ok(Answer::NotProbed),
        HealthKind::Tcp => tcp::probe(call).await,
        HealthKind::Http(check) => http::probe(check, call).await,
        HealthKind::Tls(check) => tls::probe(check, call).await,
        HealthKind::Udp(check) => udp::probe(check, call).await,
        HealthKind::Dns(check) => dns::probe(check, call).await,
        HealthKind::Mysql(check) => mysql::probe(check, call).await,
        HealthKind::Script(check) => script::probe(check, call).await,
    }
}

/// One probe under way.
#[derive(Clone, Copy)]
struct Call<'a> {
    target: &'a Target,
    probes: &'a Probes,
    means: &'a Means,
    /// The way there; `None`: as the node sends anything.
    path: Option<&'a ServicePath>,
    /// What is asked: the backend's address, or a VIP and the backend's port.
    address: SocketAddr,
    deadline: Deadline,
}

impl Failure {
    /// The same, with the VIP that it is about. What the node lacks, and what is so for all VIPs, stays what it is.
    fn at(self, vip: SocketAddr) -> Self {
        match self {
            Self::Local(_) | Self::NoWay(_) => self,
            failure => Self::AtVip {
                vip,
                failure: Box::new(failure),
            },
        }
    }
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

impl Answer {
    /// The weight that the backend asks for.
    pub(super) const fn weight(self) -> Option<u16> {
        match self {
            Self::Weighs(weight) => Some(weight),
            _ => None,
        }
    }
}

impl fmt::Display for Success {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.took.as_secs_f64() * 1e3;
        match self.answer {
            Answer::NotProbed => write!(f, "not probed"),
            Answer::Connected => write!(f, "connected in {millis:.1} ms"),
            Answer::Status(code) => write!(f, "status {code} in {millis:.1} ms"),
            Answer::Encrypted => write!(f, "TLS handshake in {millis:.1} ms"),
            Answer::Answered => write!(f, "answered in {millis:.1} ms"),
            Answer::Silent => write!(f, "no error in {millis:.1} ms"),
            Answer::Resolved => write!(f, "NOERROR in {millis:.1} ms"),
            Answer::Greeted => write!(f, "MySQL greeting in {millis:.1} ms"),
            Answer::Serves(MysqlRole::Any) => write!(f, "MySQL login in {millis:.1} ms"),
            Answer::Serves(role) => write!(f, "MySQL {} in {millis:.1} ms", role.label()),
            Answer::Exited => write!(f, "exit code 0 in {millis:.1} ms"),
            Answer::Weighs(weight) => write!(f, "asks for weight {weight} in {millis:.1} ms"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Encrypting => "waiting for the TLS handshake",
            Self::Waiting => "waiting for the response",
            Self::Reading => "reading the response",
            Self::Running => "running the command",
        })
    }
}

impl From<path::Failure> for Failure {
    fn from(failure: path::Failure) -> Self {
        match failure {
            path::Failure::NoWay(why) => Self::NoWay(why),
            path::Failure::Local(why) => Self::Local(why),
            path::Failure::Refused => Self::Refused,
            path::Failure::HandedOn => Self::HandedOn,
            path::Failure::Unreachable(errno) => io::Error::from(errno).into(),
        }
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
