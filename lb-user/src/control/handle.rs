//! How everyone else asks the reconciler something, the daemon to read its file, or the log to say more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::certificates::{CertificateRefused, CertificateRequest};
use super::denying::DenyRefused;
use super::levels::{Levels, Silent};
use super::names::Unknown;
use super::overrides::{Crowded, Override};
use super::trace::TraceRefused;
use crate::model::acme::CertificateStatus;
use crate::model::denied::{Denied, DeniedList, Undenied};
use crate::model::peers::{SharedFlow, Taken};
use crate::model::preview::Preview;
use crate::model::status::{Explained, FlowQuery, NodeState, OneBackend, Overridden, Pulse, Status};
use crate::model::tally::Tally;
use crate::model::trace::{Filter, Traced};
use crate::model::{Config, Hidden, Prefix};

/// A question or command to the reconciler. It is answered from a state in which every configuration counts that was
/// accepted before.
#[derive(Debug)]
pub enum Request {
    /// The node's state.
    Status(oneshot::Sender<Status>),
    /// What has been counted; `None` when it cannot be read.
    Tally(oneshot::Sender<Option<Tally>>),
    /// Whether the reconciler works, and how the node is in short.
    Pulse(oneshot::Sender<Pulse>),
    /// What becomes of a flow.
    Explain(FlowQuery, oneshot::Sender<Explained>),
    /// Begins a trace of packets; answered with its number.
    Trace(Filter, oneshot::Sender<Result<u64, TraceRefused>>),
    /// What a trace has shown since the last time; `None` when there is no such trace.
    Traced(u64, oneshot::Sender<Option<Vec<Traced>>>),
    /// Ends a trace; false when there was none.
    EndTrace(u64, oneshot::Sender<bool>),
    /// The node's fault, once the newest configuration has been put to the maps, and overrides that it ended have been
    /// forgotten on the disk, too.
    Settle(oneshot::Sender<Option<String>>),
    /// Every flow that a peer has to know of.
    Flows(oneshot::Sender<Vec<SharedFlow>>),
    /// Flows that a peer knows of; answered with what has come of them.
    Take(Vec<SharedFlow>, oneshot::Sender<Taken>),
    /// One backend, by the names of its service and of itself, or by its address.
    Backend(String, String, oneshot::Sender<Result<OneBackend, OverrideRefused>>),
    /// What a reload of this would change; or why that cannot be told.
    Preview(Arc<Config>, oneshot::Sender<Result<Preview, String>>),
    /// The node's addresses, and whether it drains.
    Node(oneshot::Sender<NodeState>),
    /// Says whether the node drains. Answered after that has been kept or could not be.
    Drain(bool, oneshot::Sender<NodeState>),
    /// Says `change` of a backend. Answered after the maps have been written, and the override has been kept or could
    /// not be.
    Override {
        /// The service's name.
        service: String,
        /// The backend's name or address.
        backend: String,
        /// What is said.
        change: Override,
        /// Who waits.
        reply: oneshot::Sender<Result<Overridden, OverrideRefused>>,
    },
    /// What is denied at run time.
    Denied(oneshot::Sender<DeniedList>),
    /// Denies a prefix. Answered after the maps have been written, and it has been kept or could not be.
    Deny {
        /// Who.
        prefix: Prefix,
        /// By the service of this name; `None`: by all.
        service: Option<String>,
        /// From now on; `None`: for ever. In whole seconds, the last one begun.
        lasts: Option<Duration>,
        /// Who waits.
        reply: oneshot::Sender<Result<Denied, DenyRefused>>,
    },
    /// Ends that. Answered likewise.
    Undeny {
        /// Who.
        prefix: Prefix,
        /// By whom, as in [`Request::Deny`].
        service: Option<String>,
        /// Who waits.
        reply: oneshot::Sender<Result<Undenied, DenyRefused>>,
    },
}

/// Why a command about a backend changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideRefused {
    /// There is no such backend.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The ring is too small.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// It has left the file, and finishes its flows.
    #[error(
        "{0} is leaving, since the file does not have it any more: add it to the file again, or disable it to cut its flows"
    )]
    Leaving(String),
    /// What is to be done is in force and kept, but what has become of the backend cannot be read.
    #[error("what was asked for is done, but the counters cannot be read: {0}")]
    Unreadable(String),
}

/// To the daemon, which has the file.
#[derive(Debug)]
pub enum FileRequest {
    /// Read it now. Answered with whether it says anything new.
    Reload(oneshot::Sender<Result<bool, ReloadRefused>>),
    /// Judge another text as a reload would, and leave it at that.
    Judge {
        /// What errors call it.
        origin: String,
        /// What would be in the file.
        text: String,
        /// Who waits.
        reply: oneshot::Sender<Result<Arc<Config>, ReloadRefused>>,
    },
}

/// Why a file is not taken; the running configuration stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadRefused {
    /// It is missing or wrong: where and why, over several lines.
    #[error("{0}")]
    File(String),
    /// It is right, but changes what is fixed while the daemon runs.
    #[error("{0}")]
    Fixed(String),
}

/// Why it cannot be told what a file would change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreviewRefused {
    /// A reload would refuse it, with these words.
    #[error(transparent)]
    Reload(#[from] ReloadRefused),
    /// The node cannot be looked at.
    #[error("{0}")]
    Unreadable(String),
}

/// A file that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Does it say anything new?
    pub changed: bool,
    /// As [`Status::fault`]: while it is there, the maps may not be as the file says yet.
    pub fault: Option<String>,
}

/// The reconciler has stopped: the daemon is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is shutting down")]
pub struct Gone;

/// Asks. Cheap to clone. When a queue is full, askers wait.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    files: mpsc::Sender<FileRequest>,
    certificates: mpsc::Sender<CertificateRequest>,
    levels: Arc<dyn Levels>,
}

impl Handle {
    /// A handle, and the queues of `depth` each: questions for the reconciler, others for whoever has the file.
    #[must_use]
    pub fn new(depth: usize) -> (Self, mpsc::Receiver<Request>, mpsc::Receiver<FileRequest>) {
        let (requests, request_queue) = mpsc::channel(depth);
        let (files, file_queue) = mpsc::channel(depth);
        let handle = Self {
            requests,
            files,
            certificates: mpsc::channel(1).0,
            levels: Arc::new(Silent),
        };
        (handle, request_queue, file_queue)
    }

    /// The same, for a process whose log is switched by `levels`.
    #[must_use]
    pub fn with_levels(self, levels: Arc<dyn Levels>) -> Self {
        Self { levels, ..self }
    }

    /// The same, with a queue of `depth` for whoever orders certificates; without it nobody does.
    #[must_use]
    pub fn with_certificates(self, depth: usize) -> (Self, mpsc::Receiver<CertificateRequest>) {
        let (certificates, queue) = mpsc::channel(depth);
        (Self { certificates, ..self }, queue)
    }

    /// What switches the log.
    #[must_use]
    pub fn levels(&self) -> &dyn Levels {
        &*self.levels
    }

    /// The node's state now.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn status(&self) -> Result<Status, Gone> {
        self.ask(Request::Status).await
    }

    /// What the node has counted, in short: cheaper than its state. `None` when it cannot be read.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn tally(&self) -> Result<Option<Tally>, Gone> {
        self.ask(Request::Tally).await
    }

    /// How the node is, in short, with every configuration that was accepted before put to the maps. Cheap; what answers
    /// is the loop that keeps the maps right, so that an answer shows that it turns.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn pulse(&self) -> Result<Pulse, Gone> {
        self.ask(Request::Pulse).await
    }

    /// What the program would do with a packet of this flow.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn explain(&self, flow: FlowQuery) -> Result<Explained, Gone> {
        self.ask(|reply| Request::Explain(flow, reply)).await
    }

    /// A backend's state now; `backend` is its name or its address.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn backend(&self, service: String, backend: String) -> Result<Result<OneBackend, OverrideRefused>, Gone> {
        self.ask(|reply| Request::Backend(service, backend, reply)).await
    }

    /// Begins a trace, which ends when nobody has asked [`Self::traced`] for some seconds.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn trace(&self, filter: Filter) -> Result<Result<u64, TraceRefused>, Gone> {
        self.ask(|reply| Request::Trace(filter, reply)).await
    }

    /// What a trace has shown since the last time; `None` when it is over.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn traced(&self, id: u64) -> Result<Option<Vec<Traced>>, Gone> {
        self.ask(|reply| Request::Traced(id, reply)).await
    }

    /// Ends a trace; false when it was over.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn end_trace(&self, id: u64) -> Result<bool, Gone> {
        self.ask(|reply| Request::EndTrace(id, reply)).await
    }

    /// Says `change` of a backend; see [`Request::Override`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn command(
        &self,
        service: String,
        backend: String,
        change: Override,
    ) -> Result<Result<Overridden, OverrideRefused>, Gone> {
        let command = |reply| Request::Override {
            service,
            backend,
            change,
            reply,
        };
        self.ask(command).await
    }

    /// The addresses by which clients reach the node, and whether it drains. Cheap.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn node(&self) -> Result<NodeState, Gone> {
        self.ask(Request::Node).await
    }

    /// Says whether the node drains; see [`Request::Drain`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn drain(&self, drains: bool) -> Result<NodeState, Gone> {
        self.ask(|reply| Request::Drain(drains, reply)).await
    }

    /// What is denied at run time.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn denied(&self) -> Result<DeniedList, Gone> {
        self.ask(Request::Denied).await
    }

    /// Denies a prefix; see [`Request::Deny`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn deny(
        &self,
        prefix: Prefix,
        service: Option<String>,
        lasts: Option<Duration>,
    ) -> Result<Result<Denied, DenyRefused>, Gone> {
        let deny = |reply| Request::Deny {
            prefix,
            service,
            lasts,
            reply,
        };
        self.ask(deny).await
    }

    /// Ends that; see [`Request::Undeny`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn undeny(&self, prefix: Prefix, service: Option<String>) -> Result<Result<Undenied, DenyRefused>, Gone> {
        let undeny = |reply| Request::Undeny { prefix, service, reply };
        self.ask(undeny).await
    }

    /// Every flow that a peer has to know of which knows nothing.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn flows(&self) -> Result<Vec<SharedFlow>, Gone> {
        self.ask(Request::Flows).await
    }

    /// Takes in what a peer knows of flows.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn take(&self, flows: Vec<SharedFlow>) -> Result<Taken, Gone> {
        self.ask(|reply| Request::Take(flows, reply)).await
    }

    /// Orders another certificate for a service, or gives the account another key; see [`CertificateRequest`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn renew_certificate(
        &self,
        service: String,
        account_key: bool,
    ) -> Result<Result<CertificateStatus, CertificateRefused>, Gone> {
        let renew = |reply| CertificateRequest::Renew {
            service,
            account_key,
            reply,
        };
        self.ask_about_certificate(renew).await
    }

    /// Takes the certificate of a service back; see [`CertificateRequest`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn revoke_certificate(
        &self,
        service: String,
        reason: u8,
    ) -> Result<Result<CertificateStatus, CertificateRefused>, Gone> {
        let revoke = |reply| CertificateRequest::Revoke { service, reason, reply };
        self.ask_about_certificate(revoke).await
    }

    /// Serves a certificate that another client has ordered; see [`CertificateRequest`].
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn import_certificate(
        &self,
        service: String,
        pem: Hidden<Vec<u8>>,
    ) -> Result<Result<CertificateStatus, CertificateRefused>, Gone> {
        let import = |reply| CertificateRequest::Import { service, pem, reply };
        self.ask_about_certificate(import).await
    }

    async fn ask_about_certificate<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> CertificateRequest,
    ) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.certificates.send(request(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Reads the file now, and puts what it says to the maps.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn reload(&self) -> Result<Result<Reloaded, ReloadRefused>, Gone> {
        let (reply, answer) = oneshot::channel();
        self.files.send(FileRequest::Reload(reply)).await.map_err(|_| Gone)?;
        match answer.await.map_err(|_| Gone)? {
            Ok(changed) => {
                let fault = self.ask(Request::Settle).await?;
                Ok(Ok(Reloaded { changed, fault }))
            }
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// What a reload of `text` would change; `origin` is what errors call it.
    ///
    /// # Errors
    /// [`Gone`] during shutdown.
    pub async fn preview(&self, origin: String, text: String) -> Result<Result<Preview, PreviewRefused>, Gone> {
        let (reply, answer) = oneshot::channel();
        let judge = FileRequest::Judge { origin, text, reply };
        self.files.send(judge).await.map_err(|_| Gone)?;
        let config = match answer.await.map_err(|_| Gone)? {
            Ok(config) => config,
            Err(refused) => return Ok(Err(refused.into())),
        };
        let preview = self.ask(|reply| Request::Preview(config, reply)).await?;
        Ok(preview.map_err(PreviewRefused::Unreadable))
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(question(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
