//! Files that hold a secret.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Parsed, Subject, Warning};
use crate::model::{HealthKind, Hidden};

/// Of whom a file is that everybody may open.
const OF_OTHERS: u32 = 0o007;

/// What a secret's file holds.
pub struct Secret {
    /// All of it.
    pub bytes: Hidden<Vec<u8>>,
    /// Everybody on this machine may open it.
    pub is_open: bool,
}

impl Secret {
    /// Reads a file of at most so many bytes. A pipe is not waited for.
    ///
    /// # Errors
    /// When it cannot be read, is no file, or is longer.
    pub fn read(path: &Path, most: usize) -> io::Result<Self> {
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let file = File::open(path)?;
        let is_open = file.metadata()?.permissions().mode() & OF_OTHERS != 0;
        // Room for all of it, so that no copy stays behind.
        let mut bytes = Hidden(Vec::with_capacity(most + 64));
        file.take(most as u64 + 1).read_to_end(&mut bytes.0)?;
        if bytes.0.len() > most {
            return Err(io::Error::other(format!("it has more than {most} bytes")));
        }
        Ok(Self { bytes, is_open })
    }

    /// Warns of a file that everybody may open, of which `subject` is the place, and what they can do then.
    #[must_use]
    pub fn warning(&self, parsed: &Parsed, subject: &Subject, path: &Path, lets: &str) -> Option<Warning> {
        self.is_open.then(|| open(parsed, subject, path, lets))
    }
}

fn open(parsed: &Parsed, subject: &Subject, path: &Path, lets: &str) -> Warning {
    let shown = path.display();
    let what = format!("everybody on this machine may open {shown}, and so {lets}");
    parsed.warning_at(subject, what, format!("chmod o= {shown}"))
}

/// Warns of other files that hold a secret and that everybody may open: the seed, keys of TLS, passwords of probes.
#[must_use]
pub fn warnings(parsed: &Parsed) -> Vec<Warning> {
    let mut files: BTreeMap<&Path, (Subject, &str)> = BTreeMap::new();
    let config = &parsed.config;
    if let Some(seed) = &config.node.hash_seed_file {
        files.insert(seed, (Subject::HashSeedFile, "aim flows at one backend"));
    }
    for service in &config.services {
        let tls = service.proxy.iter().filter_map(|proxy| proxy.tls.as_ref());
        for (index, pair) in tls.flat_map(|tls| &tls.certificates).enumerate() {
            let subject = Subject::CertificateKey(service.name.to_string(), index);
            files.entry(&pair.key).or_insert((subject, "pass for its names"));
        }
        let acme = service
            .proxy
            .iter()
            .filter_map(|proxy| proxy.tls.as_ref()?.acme.as_ref());
        for external in acme.filter_map(|acme| acme.authority.external_account.as_ref()) {
            let subject = Subject::ExternalAccountKey(external.key_file.clone());
            files
                .entry(&external.key_file)
                .or_insert((subject, "open accounts in the name of this one"));
        }
        if let HealthKind::Mysql(probe) = &service.health.kind
            && let Some(password) = probe.login.as_ref().and_then(|login| login.password_file.as_ref())
        {
            let subject = Subject::PasswordFile(password.clone());
            files.entry(password).or_insert((subject, "log in to the databases"));
        }
    }
    let is_open = |path: &Path| fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OF_OTHERS != 0);
    let opened = files.into_iter().filter(|(path, _)| is_open(path));
    opened
        .map(|(path, (subject, lets))| open(parsed, &subject, path, lets))
        .collect()
}
