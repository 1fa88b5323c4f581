//! A TLS handshake, and whom the node believes in one.
//!
//! Every probe makes a whole handshake, without resuming an earlier one, so the certificate that is judged is the one
//! that the backend has now. TLS 1.2 and 1.3.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, SliceReader, Tagged as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::{Answer, Call, Phase, tcp};
use crate::model::TlsCheck;

/// How long what was read of authorities is believed: a file that changes is read again after this.
const TRUST_FOR: Duration = Duration::from_secs(60);

/// Why TLS failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What answers does not speak TLS.
    #[error("not TLS")]
    NotTls,
    /// The connection was closed during the handshake.
    #[error("connection closed in the TLS handshake")]
    Closed,
    /// The backend ended the handshake, with this alert.
    #[error("the backend refused the TLS handshake: {0}")]
    Alert(String),
    /// The certificate is out of date.
    #[error("the certificate has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the certificate is not valid yet")]
    NotYet,
    /// It comes from nobody who is believed.
    #[error("the certificate's issuer is unknown")]
    UnknownIssuer,
    /// It is for somebody else.
    #[error("the certificate is not for {0}")]
    OtherName(String),
    /// Something else is wrong with it.
    #[error("the certificate is not good: {0}")]
    Certificate(String),
    /// Something else is wrong.
    #[error("TLS failed: {0}")]
    Other(String),
}

pub(super) async fn probe(check: &TlsCheck, call: Call<'_>) -> Result<Answer, super::Failure> {
    let stream = tcp::connect(call.address(), call.deadline).await?;
    handshake(check, Protocol::Any, stream, call).await?;
    Ok(Answer::Encrypted)
}

/// What is to be spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// Nothing, or what needs no negotiation.
    Any,
    /// HTTP/1.1 (RFC 7301).
    Http,
}

/// TLS over a connection, and a note of the certificate.
pub(super) async fn handshake(
    check: &TlsCheck,
    protocol: Protocol,
    stream: TcpStream,
    call: Call<'_>,
) -> Result<TlsStream<TcpStream>, super::Failure> {
    let local = |text: String| super::Failure::Local(text);
    let name = match &check.server_name {
        Some(name) => ServerName::try_from(name.clone()).map_err(|_| local(format!("{name:?} is no server's name")))?,
        None => ServerName::from(call.address().ip()),
    };
    // Slow disks are no fault of the backend.
    let config = call
        .deadline
        .bound(Phase::Encrypting, call.trust.config(check, protocol));
    let config = config
        .await
        .map_err(|_| local("the certificates to believe could not be read in time".to_owned()))?;
    let connector = TlsConnector::from(config.map_err(local)?);
    let shaken = call
        .deadline
        .bound(Phase::Encrypting, connector.connect(name.clone(), stream))
        .await?;
    let stream = shaken.map_err(|error| failure(error, &name, call))?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    if let Some(time) = leaf.and_then(|leaf| not_after(leaf)) {
        call.probes.certificate(Some(time));
    }
    Ok(stream)
}

fn failure(error: io::Error, name: &ServerName<'_>, call: Call<'_>) -> super::Failure {
    let Some(tls) = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>())
    else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Failure::Closed.into(),
            _ => error.into(),
        };
    };
    let failure = match tls {
        rustls::Error::InvalidMessage(_) => Failure::NotTls,
        rustls::Error::AlertReceived(alert) => Failure::Alert(format!("{alert:?}")),
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::Expired => Failure::Expired,
            CertificateError::ExpiredContext { not_after, .. } => {
                call.probes.certificate(Some(not_after.as_secs()));
                Failure::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Failure::NotYet,
            CertificateError::UnknownIssuer => Failure::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Failure::OtherName(name.to_str().into_owned())
            }
            other => Failure::Certificate(other.to_string()),
        },
        other => Failure::Other(other.to_string()),
    };
    failure.into()
}

/// Until when a certificate is valid, in seconds since 1970 (RFC 5280 §4.1).
///
/// TLS libraries check this and keep it to themselves; the fields before it are passed over.
fn not_after(certificate: &[u8]) -> Option<u64> {
    let mut fields = SliceReader::new(contents(contents(certificate)?)?).ok()?;
    let mut field = || AnyRef::decode(&mut fields).ok();
    if field()?.tag().is_context_specific() {
        // That was the version, which certificates of version 1 do not have.
        let _serial = field()?;
    }
    let (_signature, _issuer, validity) = (field()?, field()?, field()?);
    let mut times = SliceReader::new(validity.value()).ok()?;
    let _not_before = AnyRef::decode(&mut times).ok()?;
    let time = AnyRef::decode(&mut times).ok()?;
    let time = match time.tag() {
        der::Tag::UtcTime => UtcTime::try_from(time).ok()?.to_unix_duration(),
        _ => GeneralizedTime::try_from(time).ok()?.to_unix_duration(),
    };
    Some(time.as_secs())
}

/// What is in the sequence that `bytes` begin with.
fn contents(bytes: &[u8]) -> Option<&[u8]> {
    let sequence = AnyRef::decode(&mut SliceReader::new(bytes).ok()?).ok()?;
    (sequence.tag() == der::Tag::Sequence).then(|| sequence.value())
}

/// Whom the node believes: what was read of authorities, shared by all probes.
#[derive(Debug, Default)]
pub struct Trust {
    read: Mutex<HashMap<Key, Read>>,
}

type Key = (Protocol, bool, Option<PathBuf>);

#[derive(Debug)]
struct Read {
    at: Instant,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// The terms as the library wants them, read when nobody has for a minute. Probes that come meanwhile wait for it.
    async fn config(self: &Arc<Self>, check: &TlsCheck, protocol: Protocol) -> Result<Arc<ClientConfig>, String> {
        let key: Key = (protocol, check.verify, check.ca.clone());
        if let Ok(read) = self.read.try_lock()
            && let Some(config) = fresh(&read, &key)
        {
            return Ok(config);
        }
        // In a task of its own, which comes to its end though this probe may not have the time.
        let trust = Arc::clone(self);
        let reading = tokio::spawn(async move { trust.read(key).await });
        reading.await.map_err(|error| error.to_string())?
    }

    async fn read(&self, key: Key) -> Result<Arc<ClientConfig>, String> {
        let mut read = self.read.lock().await;
        if let Some(config) = fresh(&read, &key) {
            return Ok(config);
        }
        let (protocol, verify, ca) = key.clone();
        let made = tokio::task::spawn_blocking(move || client(protocol, verify, ca.as_deref())).await;
        let config = Arc::new(made.map_err(|error| error.to_string())??);
        read.retain(|_, read| read.at.elapsed() < TRUST_FOR);
        let now = Read {
            at: Instant::now(),
            config: Arc::clone(&config),
        };
        read.insert(key, now);
        Ok(config)
    }
}

fn fresh(read: &HashMap<Key, Read>, key: &Key) -> Option<Arc<ClientConfig>> {
    let read = read.get(key).filter(|read| read.at.elapsed() < TRUST_FOR)?;
    Some(Arc::clone(&read.config))
}

fn client(protocol: Protocol, verify: bool, ca: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if verify {
        builder.with_root_certificates(roots(ca)?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::disabled();
    if protocol == Protocol::Http {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// The authorities of a PEM file, or of the system. What cannot be read among many is passed over.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match ca {
        Some(path) => {
            let failed = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
                let certificate = certificate.map_err(|error| failed(&error))?;
                store.add(certificate).map_err(|error| failed(&error))?;
            }
            if store.is_empty() {
                return Err(format!("{}: no certificate in it", path.display()));
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err("this machine has no certificates of authorities; name a file with `ca`".to_owned());
            }
        }
    }
    Ok(store)
}

/// Believes every certificate; that the backend has its key is still checked.
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
