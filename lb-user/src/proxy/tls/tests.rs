//! Certificates of our own making, in files.

mod files;
mod handshakes;
mod judged;

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;
use crate::model::proxy::{CertificateFiles, HttpVersion, Tls, TlsVersion};

/// 2030-01-01, in seconds since 1970.
const IN_2030: u64 = 1_893_456_000;

/// A folder, and an authority that signs for what is in it.
struct Place {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: String,
}

impl Place {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Fulcrum tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        Self {
            folder: tempfile::tempdir().unwrap(),
            issuer: Issuer::new(params, key),
            authority,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn ca(&self) -> PathBuf {
        self.write("ca.pem", &self.authority)
    }

    /// A certificate as text, for these names, through the years 2020 to 2039.
    fn signed(&self, names: &[&str], key: &KeyPair) -> String {
        self.sign(names, key, |_| {})
    }

    fn sign(&self, names: &[&str], key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        change(&mut params);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// A file with certificate and key, for these names.
    fn pair(&self, file: &str, names: &[&str]) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        self.write(file, self.signed(names, &key) + &key.serialize_pem())
    }
}

/// What says nothing but where its certificates are.
fn tls(files: &[PathBuf]) -> Tls {
    let one = |file: &PathBuf| CertificateFiles {
        certificate: file.clone(),
        key: file.clone(),
    };
    Tls {
        certificates: files.iter().map(one).collect(),
        acme: None,
        client_ca: None,
        client_optional: false,
        min_version: TlsVersion::V1_2,
        ciphers: Vec::new(),
        alpn: vec![HttpVersion::H2, HttpVersion::H1],
        hsts: None,
    }
}
