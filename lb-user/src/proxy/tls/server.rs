//! `[service.tls]`: TLS towards clients.
//!
//! Sessions are resumed: by [tickets](super::tickets), which every node of a fleet opens, and for clients of TLS 1.2 without
//! tickets by a small memory. Nothing of it is shared between services, since what a client has shown to one says nothing to
//! another. Early data is not taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CipherSuite, ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::resolve::Resolver;
use super::tickets::Secret;
use super::{Fault, Part, Unusable, pem};
use crate::model::acme::Issued;
use crate::model::proxy::{HttpVersion, Tls, TlsVersion};
use crate::net::tls::{Distrust, Validity, authorities, read, validity};

/// Sessions that are remembered for clients without tickets.
const SESSIONS: usize = 4_096;

/// A day, in seconds.
pub(super) const DAY: u64 = 24 * 3_600;

/// TLS of a service, ready to be spoken.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// For the library.
    pub config: Arc<ServerConfig>,
    /// As in the file.
    pub certificates: Vec<Certificate>,
    /// Of the settings and of all that was read: two that have the same are the same, and the older one may stay, with
    /// the sessions that clients resume.
    pub digest: [u8; 32],
    /// Of what clients have to show: a session that is resumed is not asked for it again.
    shown: [u8; 32],
}

/// What is to be told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The hosts that it is for, in lower case.
    pub names: Vec<String>,
    /// When it begins, in seconds since 1970.
    pub not_before: u64,
    /// Until when it is valid.
    pub not_after: u64,
    /// Where it was read.
    pub file: PathBuf,
}

impl Loaded {
    /// As it is served by the service of this name: with tickets that the same service opens on every node with this
    /// secret, for as long as it asks the same of its clients.
    #[must_use]
    pub fn with_tickets(self, secret: &Secret, service: &str) -> Self {
        let bound = Sha256::new_with_prefix(self.shown).chain_update(service).finalize();
        let mut config = Arc::unwrap_or_clone(self.config);
        config.ticketer = Arc::new(secret.tickets(bound.into()));
        Self {
            config: Arc::new(config),
            ..self
        }
    }

    /// Is every certificate valid at this time, in seconds since 1970?
    ///
    /// # Errors
    /// The first that is not.
    pub fn in_date(&self, now: u64) -> Result<(), Unusable> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            let fault = if let Some(since) = now.checked_sub(certificate.not_after + 1) {
                Fault::Expired { days: since / DAY }
            } else if let Some(left) = certificate.not_before.checked_sub(now).filter(|left| *left > 0) {
                Fault::NotYet { days: left / DAY }
            } else {
                continue;
            };
            return Err(Unusable::new(Part::Certificate(index), &certificate.file, fault));
        }
        Ok(())
    }
}

/// Reads what `tls` names. Dates are not looked at: see [`Loaded::in_date`]. Nobody gets a ticket yet: see
/// [`Loaded::with_tickets`].
///
/// # Errors
/// The first file that cannot be used.
pub fn server(tls: &Tls) -> Result<Loaded, Unusable> {
    server_with(tls, None)
}

/// The same, with a certificate that was ordered behind those of the files.
///
/// # Errors
/// As of [`server`].
pub fn server_with(tls: &Tls, ordered: Option<&Issued>) -> Result<Loaded, Unusable> {
    let provider = Arc::new(provider(&tls.ciphers));
    let mut digest = Sha256::new_with_prefix(format!("{tls:?}"));
    let mut certificates = Vec::with_capacity(tls.certificates.len());
    let mut resolver = Resolver::default();
    let named = tls.certificates.iter().enumerate();
    let named = named.map(|(index, files)| (&*files.certificate, pem::pair(files, index)));
    let ordered = ordered.map(|issued| (&*issued.file, pem::ordered(issued, tls.certificates.len())));
    for (index, (file, pair)) in named.chain(ordered).enumerate() {
        let pair = pair?;
        let of_certificate = |fault: Fault| Unusable::new(Part::Certificate(index), file, fault);
        let leaf = pair
            .key
            .cert
            .first()
            .ok_or_else(|| of_certificate(Fault::NoCertificate))?;
        let unfit = || of_certificate(Fault::UnfitCertificate("it does not say when it is valid".to_owned()));
        let Validity { not_before, not_after } = validity(leaf).ok_or_else(unfit)?;
        let names = pem::names(leaf, file, index)?;
        resolver.add(&names, &pair.key);
        certificates.push(Certificate {
            names,
            not_before,
            not_after,
            file: file.to_owned(),
        });
        for bytes in &pair.bytes {
            digest.update(bytes.0.len().to_le_bytes());
            digest.update(&bytes.0);
        }
    }
    if certificates.is_empty() && tls.acme.is_none() {
        return Err(Unusable::new(Part::Certificate(0), Path::new(""), Fault::NoCertificate));
    }
    let failed = |error: &dyn std::error::Error| {
        let file = tls
            .certificates
            .first()
            .map(|files| files.certificate.clone())
            .unwrap_or_default();
        Unusable::new(Part::Certificate(0), &file, Fault::UnfitCertificate(error.to_string()))
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls.min_version, &provider))
        .map_err(|error| failed(&error))?;
    let mut shown = Sha256::new_with_prefix([u8::from(tls.client_ca.is_some()), u8::from(tls.client_optional)]);
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let refused = |fault: Fault| Unusable::new(Part::ClientCa, path, fault);
            let bytes = read(path).map_err(|unread| refused(unread.into()))?;
            digest.update(&bytes);
            shown.update(&bytes);
            let roots = authorities(&bytes).map_err(|distrust| refused(distrust.into()))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = if tls.client_optional {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier = verifier.build().map_err(|error| {
                let distrust = Distrust::Unfit(error.to_string());
                refused(distrust.into())
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = tls.alpn.iter().map(|version| protocol(*version)).collect();
    if tls.alpn.contains(&HttpVersion::H1) {
        // Who offers nothing else would be turned away (RFC 7301 §3.2), though it is spoken.
        config.alpn_protocols.push(b"http/1.0".to_vec());
    }
    // Who has said which suites come first means it; without a word they come as `provider` has them.
    config.ignore_client_order = true;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    // Each ticket costs as much as a record. Clients that open several connections resume one session with each.
    config.send_tls13_tickets = 1;
    Ok(Loaded {
        config: Arc::new(config),
        certificates,
        digest: digest.finalize().into(),
        shown: shown.finalize().into(),
    })
}

/// The library's own, with the suites of these names in their order; without names, with all of its own.
fn provider(ciphers: &[String]) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if ciphers.is_empty() {
        // All of them are beyond anybody's reach. SHA-256 is what processors compute by themselves, and SHA-384 is not: it
        // was a tenth of a handshake.
        provider.cipher_suites.sort_by_key(|suite| {
            let name = self::name(suite.suite());
            (name.contains("CHACHA20"), name.contains("AES_256"))
        });
    } else {
        let suite = |name: &String| {
            let is = |suite: &&SupportedCipherSuite| self::name(suite.suite()) == name;
            provider.cipher_suites.iter().find(is).copied()
        };
        provider.cipher_suites = ciphers.iter().filter_map(suite).collect();
    }
    provider
}

/// As IANA has it; the library calls those of TLS 1.3 by another name.
pub(crate) fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str().unwrap_or_default(),
    }
}

/// From the oldest on, those for which there is a suite.
fn versions(least: TlsVersion, provider: &CryptoProvider) -> Vec<&'static SupportedProtocolVersion> {
    let has = |version: ProtocolVersion| {
        provider
            .cipher_suites
            .iter()
            .any(|suite| suite.version().version == version)
    };
    let mut versions = Vec::with_capacity(2);
    if has(ProtocolVersion::TLSv1_3) {
        versions.push(&TLS13);
    }
    if least == TlsVersion::V1_2 && has(ProtocolVersion::TLSv1_2) {
        versions.push(&TLS12);
    }
    versions
}

/// As it is called in a handshake (RFC 7301 §6).
pub(super) fn protocol(version: HttpVersion) -> Vec<u8> {
    match version {
        HttpVersion::H1 => b"http/1.1".to_vec(),
        HttpVersion::H2 => b"h2".to_vec(),
    }
}
