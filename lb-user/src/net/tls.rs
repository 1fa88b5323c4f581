//! What TLS needs of this machine, whoever speaks it: files, authorities that are believed, and what certificates say of
//! themselves.
//!
//! Everything here reads files when it is called and remembers nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, SliceReader, Tagged as _};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, SignatureScheme,
};

/// Largest file that is read, in bytes: room for the authorities of several systems.
const MAX_BYTES: u64 = 16 << 20;

/// Why a file cannot be read, for people: it goes on after the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Nothing is there.
    #[error("there is no such file")]
    Missing,
    /// A directory is there.
    #[error("it is a directory")]
    Directory,
    /// A device, a pipe or a socket is there.
    #[error("it is not a file with a text in it")]
    Special,
    /// Somebody else may read it.
    #[error("permission denied")]
    Denied,
    /// It is something else altogether.
    #[error("it is larger than {} MiB", MAX_BYTES >> 20)]
    Large,
    /// The system has another reason.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::IsADirectory => Self::Directory,
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// The bytes of a file.
///
/// # Errors
/// It cannot be read, or is none. What is no file is not waited for.
pub fn read(path: &Path) -> Result<Vec<u8>, Unread> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(Unread::Directory);
    }
    if !kind.is_file() {
        return Err(Unread::Special);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Unread::Large);
    }
    Ok(bytes)
}

/// Why a certificate and a key do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpaired {
    /// The library does not take the key.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// It is a key of another certificate.
    #[error("the private key is not that of the certificate")]
    OtherKey,
    /// The library does not take the certificate.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
}

/// A certificate with its chain and its own key.
///
/// # Errors
/// [`Unpaired`]
pub fn certified(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<CertifiedKey, Unpaired> {
    let certified = paired(chain, key)?;
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(Unpaired::OtherKey),
        Err(error) => Err(Unpaired::Certificate(error.to_string())),
    }
}

/// The same, whosever key it is.
///
/// # Errors
/// [`Unpaired::Key`]
pub fn paired(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<CertifiedKey, Unpaired> {
    let unfit = |error| {
        Unpaired::Key(match error {
            // The library's own words, without its surprise.
            Error::General(words) => words,
            error => error.to_string(),
        })
    };
    let key = ring::sign::any_supported_type(key).map_err(unfit)?;
    Ok(CertifiedKey::new(chain, key))
}

/// Why nobody can be believed, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The file with the authorities cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// There is no certificate in it.
    #[error("no certificate in it")]
    Empty,
    /// One is not what it should be.
    #[error("a certificate in it cannot be used: {0}")]
    Unfit(String),
    /// No file was named, and the system has none.
    #[error("this machine has no certificates of authorities; name a file with `ca`")]
    NoSystem,
}

/// The authorities of a PEM file, or of the system. What cannot be used among the system's is passed over.
///
/// # Errors
/// There is none, or the file cannot be used.
pub fn roots(ca: Option<&Path>) -> Result<RootCertStore, Distrust> {
    match ca {
        Some(path) => authorities(&read(path)?),
        None => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(Distrust::NoSystem);
            }
            Ok(store)
        }
    }
}

/// The authorities in a text of PEM.
///
/// # Errors
/// There is none, or one cannot be used.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, Distrust> {
    let unfit = |error: &dyn std::error::Error| Distrust::Unfit(error.to_string());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unfit(&error))?;
        store.add(certificate).map_err(|error| unfit(&error))?;
    }
    if store.is_empty() {
        return Err(Distrust::Empty);
    }
    Ok(store)
}

/// A client that believes [`roots`], or without `verify` everybody. It shows no certificate of its own.
///
/// # Errors
/// As of [`roots`].
pub fn client(verify: bool, ca: Option<&Path>) -> Result<ClientConfig, Distrust> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Distrust::Unfit(error.to_string()))?;
    let builder = if verify {
        builder.with_root_certificates(roots(ca)?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    Ok(builder.with_no_client_auth())
}

/// Believes every certificate; that the other side has its key is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// When a certificate is valid, in seconds since 1970. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: u64,
    /// Until then.
    pub not_after: u64,
}

/// What a certificate says of it (RFC 5280 §4.1); `None` for what is no certificate.
///
/// TLS libraries check this and keep it to themselves; the fields before it are passed over.
#[must_use]
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let mut fields = SliceReader::new(contents(contents(certificate)?)?).ok()?;
    let mut field = || AnyRef::decode(&mut fields).ok();
    if field()?.tag().is_context_specific() {
        // That was the version, which certificates of version 1 do not have.
        let _serial = field()?;
    }
    let (_signature, _issuer, validity) = (field()?, field()?, field()?);
    let mut times = SliceReader::new(validity.value()).ok()?;
    let mut time = || {
        let time = AnyRef::decode(&mut times).ok()?;
        let time = match time.tag() {
            der::Tag::UtcTime => UtcTime::try_from(time).ok()?.to_unix_duration(),
            _ => GeneralizedTime::try_from(time).ok()?.to_unix_duration(),
        };
        Some(time.as_secs())
    };
    Some(Validity {
        not_before: time()?,
        not_after: time()?,
    })
}

/// What is in the sequence that `bytes` begin with.
fn contents(bytes: &[u8]) -> Option<&[u8]> {
    let sequence = AnyRef::decode(&mut SliceReader::new(bytes).ok()?).ok()?;
    (sequence.tag() == der::Tag::Sequence).then(|| sequence.value())
}
