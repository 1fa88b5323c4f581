//! What commands ask of whoever orders certificates.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::addresses::Addresses;
use super::reconciler::Reconciler;
use crate::dataplane::Dataplane;
use crate::model::Hidden;
use crate::model::acme::{AcmeStatus, CertificateStatus, Failure, Heard};

/// Who waits for what becomes of a command.
pub type Reply = oneshot::Sender<Result<CertificateStatus, CertificateRefused>>;

/// What a peer has told of certificates, with who waits until it has been taken in.
pub type PeerNews = Heard<oneshot::Sender<()>>;

/// A command about the certificate of a service. Each is answered when it is done, or has failed; an order when it begins.
#[derive(Debug)]
pub enum CertificateRequest {
    /// Order another one now.
    Renew {
        /// The service's name.
        service: String,
        /// Instead, give the account with its authority another key.
        account_key: bool,
        /// Who waits.
        reply: Reply,
    },
    /// Take it back at its authority, and order another one.
    Revoke {
        /// The service's name.
        service: String,
        /// Why, by its number (RFC 5280 §5.3.1).
        reason: u8,
        /// Who waits.
        reply: Reply,
    },
    /// Serve one that another client has ordered, and renew it from then on.
    Import {
        /// The service's name.
        service: String,
        /// Certificate, chain and key.
        pem: Hidden<Vec<u8>>,
        /// Who waits.
        reply: Reply,
    },
}

impl CertificateRequest {
    /// Who waits.
    #[must_use]
    pub fn into_reply(self) -> Reply {
        match self {
            Self::Renew { reply, .. } | Self::Revoke { reply, .. } | Self::Import { reply, .. } => reply,
        }
    }
}

/// Why a command about a certificate does nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// There is no such service, or it orders none; and those that do.
    #[error("no certificate is ordered for a service `{name}`{}", others(known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: Vec<Arc<str>>,
    },
    /// Another node orders.
    #[error("another node orders the certificate of {0}: ask there")]
    Elsewhere(String),
    /// Something else is being done with it.
    #[error("the authority is being asked about the certificate of {0}: try again in a moment")]
    Busy(String),
    /// There is none yet.
    #[error("no authority has issued a certificate for {0} yet")]
    None(String),
    /// The authority does not want to hear of it.
    #[error("the authority does not want to hear of it before {0}")]
    Early(String),
    /// It was tried.
    #[error("{0}")]
    Failed(Failure),
    /// It cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Unfit(String),
}

fn others(known: &[Arc<str>]) -> String {
    if known.is_empty() {
        return "; `acme` in [service.tls] orders one".to_owned();
    }
    format!("; there is {}", known.join(", "))
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Where whoever orders certificates tells how they stand.
    pub fn connect_acme(&mut self) -> watch::Sender<AcmeStatus> {
        let (told, status) = watch::channel(AcmeStatus::default());
        self.certificates = status;
        told
    }
}
