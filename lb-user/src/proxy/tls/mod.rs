//! TLS on both sides of the proxy: from what a file says to what the library takes.
//!
//! Certificates and keys are read, matched and judged here, so that nothing is left to fail at the first handshake. A
//! certificate that is [`Loaded`] serves, whatever its dates: those are judged apart, by [`judge`], since one that ends
//! while it serves goes on. Nothing here waits for the network, or remembers what it has read.

mod client;
mod judge;
mod pem;
mod resolve;
mod server;
mod tickets;

use std::path::{Path, PathBuf};

use crate::net::tls::{Distrust, Unpaired, Unread};

pub use client::client;
pub use judge::{Dates, judge, now};
pub(super) use pem::shown;
pub(super) use server::name;
pub use server::{Certificate, Loaded, server, server_with};
pub use tickets::Secret;

/// Why TLS cannot be spoken as a file says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct Unusable {
    /// Where it is named.
    pub part: Part,
    /// As it is named.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Unusable {
    fn new(part: Part, file: &Path, fault: impl Into<Fault>) -> Self {
        Self {
            part,
            file: file.to_owned(),
            fault: fault.into(),
        }
    }
}

/// What a file is named as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate at this place of the list.
    Certificate(usize),
    /// The key of that certificate.
    Key(usize),
    /// The authorities of clients.
    ClientCa,
    /// The authorities of backends.
    BackendCa,
}

/// What is wrong with a file; it goes on after the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// Something in it is broken.
    #[error("it is not PEM: {0}")]
    Broken(String),
    /// There is no certificate in it.
    #[error("no certificate in it")]
    NoCertificate,
    /// There is no private key in it.
    #[error("no private key in it")]
    NoKey,
    /// There are several.
    #[error("{0} private keys in it")]
    SeveralKeys(usize),
    /// Somebody has to give a passphrase first.
    #[error("its private key is encrypted")]
    Encrypted,
    /// It is a key of another certificate.
    #[error("the private key is not that of the certificate")]
    OtherKey,
    /// The library does not take the certificate.
    #[error("the certificate cannot be used: {0}")]
    UnfitCertificate(String),
    /// The library does not take the key.
    #[error("the private key cannot be used: {0}")]
    UnfitKey(String),
    /// Nobody in it can be believed.
    #[error(transparent)]
    Distrust(Distrust),
    /// It ended so many days ago.
    #[error("the certificate has expired, {}", ago(*days))]
    Expired {
        /// Whole ones.
        days: u64,
    },
    /// It begins in so many days.
    #[error("the certificate is not valid yet, and begins {}", ahead(*days))]
    NotYet {
        /// Whole ones.
        days: u64,
    },
}

impl From<Unpaired> for Fault {
    fn from(unpaired: Unpaired) -> Self {
        match unpaired {
            Unpaired::Key(words) => Self::UnfitKey(words),
            Unpaired::OtherKey => Self::OtherKey,
            Unpaired::Certificate(words) => Self::UnfitCertificate(words),
        }
    }
}

impl From<Distrust> for Fault {
    fn from(distrust: Distrust) -> Self {
        match distrust {
            Distrust::Unread(unread) => Self::Unread(unread),
            other => Self::Distrust(other),
        }
    }
}

impl Fault {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unread(Unread::Missing) => "put it there, or name another file",
            Self::Unread(Unread::Directory) => "name a file in it",
            Self::Unread(Unread::Denied) => "let the user read it that the daemon runs as",
            Self::Unread(Unread::Special | Unread::Large | Unread::Other(_)) => "name a PEM file",
            Self::Broken(_) => "make it again, or take the part out that is not whole",
            Self::NoCertificate => {
                "PEM is text with -----BEGIN CERTIFICATE----- in it; `openssl x509 -inform der` makes it of DER"
            }
            Self::NoKey => {
                "add the key to the file, or name its own: { certificate = \"FILE\", key = \"FILE\" }; `openssl pkey \
                 -inform der` makes PEM of DER"
            }
            Self::SeveralKeys(_) => "leave that of the first certificate",
            Self::Encrypted => {
                "nobody is there to give the passphrase: `openssl pkey -in FILE -out OTHER` takes it off"
            }
            Self::OtherKey => "the certificate itself comes first in its file, then its chain",
            Self::UnfitCertificate(_) => "have another one made, of version 3 (RFC 5280)",
            Self::UnfitKey(_) => "keys are of RSA with 2048 bits or more, of ECDSA on P-256 or P-384, or of Ed25519",
            Self::Distrust(_) => "name a PEM file with the certificates of authorities",
            Self::Expired { .. } => "renew it",
            Self::NotYet { .. } => "is the clock of this machine right?",
        }
    }
}

fn ago(days: u64) -> String {
    match days {
        0 => "less than a day ago".to_owned(),
        1 => "1 day ago".to_owned(),
        _ => format!("{days} days ago"),
    }
}

fn ahead(days: u64) -> String {
    match days {
        0 => "in less than a day".to_owned(),
        1 => "in 1 day".to_owned(),
        _ => format!("in {days} days"),
    }
}

#[cfg(test)]
mod tests;
