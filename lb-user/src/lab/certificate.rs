//! Certificates of a lab, by an authority of its own that is made with it and forgotten.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::file::raw::Certificate;
use super::state::Lab;

/// The authority's own certificate, in the lab's folder.
const AUTHORITY: &str = "ca.pem";

/// Makes the authority, and what it signs: chain and key in one file of the lab's folder.
pub(super) fn make(lab: &Lab, certificates: &[Certificate]) -> anyhow::Result<()> {
    if certificates.is_empty() {
        return Ok(());
    }
    let mut params = CertificateParams::new([])?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Lab {}", lab.name()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let write = |name: &str, text: String| {
        let place = lab.folder().join(name);
        // Keys are in most of them.
        let mode = if name == AUTHORITY { 0o644 } else { 0o600 };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(mode).open(&place);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("writing {}", place.display()))
    };
    write(AUTHORITY, authority.pem())?;
    for certificate in certificates {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(certificate.names.clone())?;
        let signed = params.signed_by(&key, &authority)?;
        write(&certificate.file, format!("{}{}", signed.pem(), key.serialize_pem()))?;
    }
    Ok(())
}
