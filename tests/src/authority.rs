//! Certificates of a test: an authority of its own, whose files lie in the test's folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The authority.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// PEM of its own certificate, which who is to believe it needs.
    pub file: PathBuf,
}

impl Authority {
    /// An authority of this name, whose certificate is `NAME.ca` in the folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let file = folder.join(format!("{name}.ca"));
        fs::write(&file, params.self_signed(&key).expect("a certificate").pem()).expect("a file");
        Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// A certificate for these names, from yesterday for three months, with its key in one file of the folder. One that is
    /// there is replaced as a whole, as certbot and its like do.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn issue(&self, file: &str, names: &[&str]) -> PathBuf {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        #[expect(clippy::disallowed_methods, reason = "certificates have dates of the wall clock")]
        let now = SystemTime::now();
        params.not_before = (now - DAY).into();
        params.not_after = (now + 90 * DAY).into();
        // The name of a user, where it is for one.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, &names[0]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = self.folder.join(file);
        let draft = self.folder.join(format!("{file}.draft"));
        fs::write(&draft, certificate.pem() + &key.serialize_pem()).expect("a file");
        fs::rename(&draft, &path).expect("a file");
        path
    }
}
