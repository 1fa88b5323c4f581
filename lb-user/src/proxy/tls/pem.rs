//! Certificates with their chains and keys, out of one PEM file or two.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{Fault, Part, Unusable};
use crate::model::Hidden;
use crate::model::acme::Issued;
use crate::model::proxy::CertificateFiles;
use crate::net::tls::{Unpaired, certified, paired, read};

/// A certificate and its key, and the bytes that they were read from.
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) bytes: Vec<Hidden<Vec<u8>>>,
}

/// What files of a certificate come to; `index` is its place in the list.
pub(super) fn pair(files: &CertificateFiles, index: usize) -> Result<Pair, Unusable> {
    let read = |part: Part, file: &Path| {
        read(file)
            .map(Hidden)
            .map_err(|unread| Unusable::new(part, file, unread))
    };
    let mut bytes = vec![read(Part::Certificate(index), &files.certificate)?];
    if files.key != files.certificate {
        bytes.push(read(Part::Key(index), &files.key)?);
    }
    pair_of(bytes, files, index)
}

/// The same of what was ordered, with the key in the same text.
pub(super) fn ordered(issued: &Issued, index: usize) -> Result<Pair, Unusable> {
    let files = CertificateFiles {
        certificate: issued.file.to_path_buf(),
        key: issued.file.to_path_buf(),
    };
    pair_of(vec![Hidden(issued.pem.0.clone())], &files, index)
}

/// A certificate that answers a challenge, ready to be shown. Nobody looks whether it is one for clients: what it says is in a
/// critical extension that libraries do not know.
///
/// # Errors
/// What is wrong with it.
pub(in super::super) fn shown(issued: &Issued) -> Result<Arc<CertifiedKey>, Fault> {
    let chain = chain(&issued.pem.0)?;
    let key = Hidden(key(&issued.pem.0)?);
    Ok(Arc::new(paired(chain, &key.0)?))
}

/// `bytes`: the certificate, and the key where it is elsewhere.
fn pair_of(bytes: Vec<Hidden<Vec<u8>>>, files: &CertificateFiles, index: usize) -> Result<Pair, Unusable> {
    let of_certificate = |fault: Fault| Unusable::new(Part::Certificate(index), &files.certificate, fault);
    let of_key = |fault: Fault| Unusable::new(Part::Key(index), &files.key, fault);
    let chain = bytes.first().map_or(Err(Fault::NoCertificate), |bytes| chain(&bytes.0));
    let chain = chain.map_err(of_certificate)?;
    let key = bytes
        .last()
        .map_or(Err(Fault::NoKey), |bytes| self::key(&bytes.0))
        .map(Hidden)
        .map_err(of_key)?;
    let certified = certified(chain, &key.0).map_err(|unpaired| match unpaired {
        Unpaired::Certificate(_) => of_certificate(unpaired.into()),
        Unpaired::Key(_) | Unpaired::OtherKey => of_key(unpaired.into()),
    })?;
    Ok(Pair {
        key: Arc::new(certified),
        bytes,
    })
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(Fault::NoCertificate),
        Ok(chain) => Ok(chain),
        // The library decodes keys on its way, and an encrypted one is none to it.
        Err(_) if is_encrypted(pem) => Err(Fault::Encrypted),
        Err(error) => Err(Fault::Broken(error.to_string())),
    }
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    if is_encrypted(pem) {
        return Err(Fault::Encrypted);
    }
    let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(pem).collect();
    let mut keys = keys.map_err(|error| Fault::Broken(error.to_string()))?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(Fault::SeveralKeys(others + 1)),
        (None, _) => Err(Fault::NoKey),
    }
}

/// In the form of PKCS #8 (RFC 5958 §3), or in that of old (RFC 1421 §4.6.1.1)?
fn is_encrypted(pem: &[u8]) -> bool {
    const MARKS: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];
    pem.split(|byte| *byte == b'\n')
        .any(|line| MARKS.contains(&line.trim_ascii()))
}

/// The names of the hosts that a certificate is for, in lower case.
pub(super) fn names(certificate: &CertificateDer<'_>, file: &Path, index: usize) -> Result<Vec<String>, Unusable> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|error| {
        let fault = Fault::UnfitCertificate(error.to_string());
        Unusable::new(Part::Certificate(index), file, fault)
    })?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}
