//! Whom the node believes in a TLS handshake: authorities of a file or of the system, read once a minute at most.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::model::TlsCheck;

/// How long what was read of authorities is believed: a file that changes is read again after this.
const TRUST_FOR: Duration = Duration::from_secs(60);

/// What is to be spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// Nothing, or what needs no negotiation.
    Any,
    /// HTTP/1.1 (RFC 7301).
    Http,
}

/// What was read of authorities, shared by all probes.
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
    pub(super) async fn config(
        self: &Arc<Self>,
        check: &TlsCheck,
        protocol: Protocol,
    ) -> Result<Arc<ClientConfig>, String> {
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
