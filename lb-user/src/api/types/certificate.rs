//! `/api/v1/certificates`: certificates that the node orders.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::acme as from;

/// All certificates that the node orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Certificates {
    /// In the order of the file.
    pub certificates: Vec<OrderedCertificate>,
}

/// A certificate that is ordered and renewed. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OrderedCertificate {
    /// The service's name.
    pub service: String,
    /// The names that it shall be for.
    pub domains: Vec<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// `http-01` or `tls-alpn-01`.
    pub challenge: String,
    /// What serves: `issued` by an authority, or a `stand-in` that the node has signed itself.
    pub origin: String,
    /// From when it is valid; `null` for a stand-in.
    pub not_before: Option<u64>,
    /// Until when; `null` for a stand-in.
    pub not_after: Option<u64>,
    /// When this node orders the next one; `null` where another node does.
    pub renew_at: Option<u64>,
    /// The authority has said when (RFC 9773); else it follows from the lifetime.
    pub suggested: bool,
    /// `waiting` until then, `ordering` now, or `elsewhere`: another node orders.
    pub doing: String,
    /// When a try was last over; `null`: none was.
    pub last_attempt: Option<u64>,
    /// Why it failed, with name and step; `null` when it went well.
    pub last_error: Option<String>,
    /// Tries in a row that failed.
    pub failures: u32,
    /// Tries that were over since the daemon started.
    pub attempts: u64,
}

impl From<from::AcmeStatus> for Certificates {
    fn from(status: from::AcmeStatus) -> Self {
        Self {
            certificates: status.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<from::CertificateStatus> for OrderedCertificate {
    fn from(status: from::CertificateStatus) -> Self {
        let seconds =
            |time: Option<SystemTime>| time.map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        Self {
            service: status.service.as_ref().to_owned(),
            domains: status.domains.iter().map(|domain| domain.as_ref().to_owned()).collect(),
            directory: status.directory.as_ref().to_owned(),
            challenge: status.challenge.label().to_owned(),
            origin: status.origin.label().to_owned(),
            not_before: seconds(status.not_before),
            not_after: seconds(status.not_after),
            renew_at: seconds(status.renew_at),
            suggested: status.suggested,
            doing: status.doing.label().to_owned(),
            last_attempt: seconds(status.last_attempt),
            last_error: status.last_error,
            failures: status.failures,
            attempts: status.issued + status.failed.values().sum::<u64>(),
        }
    }
}
