//! Certificates that the node orders by itself (ACME, RFC 8555): what the file says of them, what the proxy is given, and how
//! it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Hidden;

/// `acme` in `[service.tls]`: a certificate that is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The names that it is for, in lower case; at least one.
    pub domains: Vec<Arc<str>>,
    /// Who signs it.
    pub authority: Authority,
    /// What its key is.
    pub key_type: KeyType,
    /// How the node shows that the names are its own.
    pub challenge: ChallengeKind,
}

/// An authority as the node knows it. Services that say the same have one account with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The URL of its directory (RFC 8555 §7.1.1).
    pub directory: Arc<str>,
    /// Whom it may tell of something, as URLs (RFC 8555 §7.3).
    pub contact: Vec<Arc<str>>,
    /// PEM of who is believed about the directory itself; `None`: whom the system believes.
    pub ca: Option<PathBuf>,
    /// An account that somebody has with it already (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// Where accounts and certificates lie; `None`: below `state-dir`.
    pub storage: Option<PathBuf>,
}

/// `external-account`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// What the authority calls it.
    pub key_id: Arc<str>,
    /// The file with its key for a MAC, in base64url.
    pub key_file: PathBuf,
}

/// What a key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// P-256
    #[default]
    Ecdsa,
    /// 2048 bits
    Rsa,
}

impl KeyType {
    /// As in the file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// How a node shows that a name is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChallengeKind {
    /// A file at port 80 (RFC 8555 §8.3).
    #[default]
    Http01,
    /// A certificate in a handshake at port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    /// As in the file, which is as in RFC 8555.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// Where the authority comes.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http01 => 80,
            Self::TlsAlpn01 => 443,
        }
    }
}

/// A certificate with its chain and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The key, then the certificate, then its chain.
    pub pem: Arc<Hidden<Vec<u8>>>,
    /// Where it is kept, for messages.
    pub file: Arc<Path>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issued").field(&self.file).finish()
    }
}

/// An answer to an authority that wants to see whose a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The name.
    pub domain: Arc<str>,
    /// What it is shown.
    pub proof: Proof,
}

/// What an authority is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// At `/.well-known/acme-challenge/TOKEN`, over HTTP.
    Http {
        /// What it asks for.
        token: Arc<str>,
        /// What it gets.
        answer: Arc<str>,
    },
    /// In a handshake for `acme-tls/1`.
    Tls(Issued),
}

/// What the proxy serves of all this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Rises with each change.
    pub number: u64,
    /// By service.
    pub certificates: BTreeMap<Arc<str>, Issued>,
    /// Those that are open.
    pub challenges: Vec<Challenge>,
}

/// What the proxy serves by now of an [`Offer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// [`Offer::number`]
    pub number: u64,
    /// An authority may come for http-01.
    pub challenged: bool,
}

impl Offer {
    /// May an authority come for http-01?
    #[must_use]
    pub fn is_challenged(&self) -> bool {
        let mut open = self.challenges.iter();
        open.any(|challenge| matches!(challenge.proof, Proof::Http { .. }))
    }

    /// Once the proxy serves it.
    #[must_use]
    pub fn offered(&self) -> Offered {
        Offered {
            number: self.number,
            challenged: self.is_challenged(),
        }
    }
}

/// A step on the way to a certificate, for messages and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Reading or writing what the node keeps.
    Storage,
    /// The directory is asked for.
    Directory,
    /// The node makes itself known.
    Account,
    /// It says what it wants.
    Order,
    /// It shows whose a name is.
    Challenge,
    /// It hands in its key.
    Finalise,
    /// It fetches what it has ordered.
    Certificate,
    /// It takes a certificate back.
    Revocation,
}

impl Step {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Storage,
        Self::Directory,
        Self::Account,
        Self::Order,
        Self::Challenge,
        Self::Finalise,
        Self::Certificate,
        Self::Revocation,
    ];

    /// One word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Directory => "directory",
            Self::Account => "account",
            Self::Order => "order",
            Self::Challenge => "challenge",
            Self::Finalise => "finalise",
            Self::Certificate => "certificate",
            Self::Revocation => "revocation",
        }
    }
}

/// Why there is no new certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How far it came.
    pub step: Step,
    /// For which name, or for all of them.
    pub domain: Arc<str>,
    /// What happened, for people.
    pub reason: String,
    /// The authority does not want to hear of it earlier.
    pub wait: Option<Duration>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, step {}: {}", self.domain, self.step.label(), self.reason)
    }
}

impl std::error::Error for Failure {}

/// Why a certificate is taken back: words, with their numbers (RFC 5280 §5.3.1), those that a subscriber may say.
pub const REASONS: [(&str, u8); 5] = [
    ("unspecified", 0),
    ("key-compromise", 1),
    ("affiliation-changed", 3),
    ("superseded", 4),
    ("cessation-of-operation", 5),
];

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The node has signed it itself, until another one comes.
    #[default]
    StandIn,
    /// An authority has.
    Issued,
}

impl Origin {
    /// As it is shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::StandIn => "stand-in",
            Self::Issued => "issued",
        }
    }
}

/// What becomes of a certificate on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Nothing, until its time comes.
    #[default]
    Waiting,
    /// It is being ordered.
    Ordering,
    /// Another node orders it.
    Elsewhere,
}

impl Doing {
    /// As it is shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ordering => "ordering",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// How a certificate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Whose it is.
    pub service: Arc<str>,
    /// The names that it shall be for.
    pub domains: Vec<Arc<str>>,
    /// Who signs it.
    pub directory: Arc<str>,
    /// How the node shows that they are its own.
    pub challenge: ChallengeKind,
    /// What serves now.
    pub origin: Origin,
    /// From when it is valid.
    pub not_before: Option<SystemTime>,
    /// Until when.
    pub not_after: Option<SystemTime>,
    /// When another one is ordered; `None`: not by this node.
    pub renew_at: Option<SystemTime>,
    /// The authority has said so (RFC 9773).
    pub suggested: bool,
    /// What becomes of it.
    pub doing: Doing,
    /// When this node last tried to get one.
    pub last_attempt: Option<SystemTime>,
    /// What became of that; `None`: it went well.
    pub last_error: Option<String>,
    /// Tries in a row that failed.
    pub failures: u32,
    /// Certificates that this node got since it started.
    pub issued: u64,
    /// Tries since then that failed, by step.
    pub failed: BTreeMap<Step, u64>,
}

/// All certificates that are ordered, in the order of the file.
pub type AcmeStatus = Vec<CertificateStatus>;

/// What peers are told of certificates, as whoever orders them writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Rises with each change.
    pub number: u64,
    /// All that there is, in pieces.
    pub records: Vec<Arc<Hidden<Vec<u8>>>>,
}

/// One piece that a peer has told.
#[derive(Debug)]
pub struct Heard<R> {
    /// Its name.
    pub peer: Arc<str>,
    /// As it was written there.
    pub bytes: Hidden<Vec<u8>>,
    /// Told when it has been taken in.
    pub reply: R,
}

#[cfg(test)]
impl CertificateStatus {
    /// One with something to say of everything.
    pub(crate) fn example() -> Self {
        let at = |second| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        Self {
            service: "web".into(),
            domains: vec!["shop.example".into(), "www.shop.example".into()],
            directory: "https://acme.example/directory".into(),
            challenge: ChallengeKind::Http01,
            origin: Origin::Issued,
            not_before: at(1_790_000_000),
            not_after: at(1_797_776_000),
            renew_at: at(1_795_184_000),
            suggested: true,
            doing: Doing::Waiting,
            last_attempt: at(1_795_184_010),
            last_error: Some("shop.example, step challenge: connection refused (connection)".to_owned()),
            failures: 2,
            issued: 3,
            failed: [(Step::Challenge, 2)].into(),
        }
    }
}
