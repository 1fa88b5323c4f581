//! What is kept of accounts and certificates, on the disk: a folder for the node alone, or one that several nodes mount.
//!
//! ```text
//! lock                        held by the node that orders
//! challenges.json             what authorities are shown now, for the other nodes
//! accounts/DIGEST.json        an account: where, since when, and its key
//! certificates/SERVICE.pem    key, certificate and chain
//! attempts/SERVICE.json       what became of the last tries
//! ```
//!
//! Every file is replaced as a whole, and is for its owner alone. One that cannot be understood is said to be, and is as if it
//! were not there: it is not removed, since there may be a key in it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instant_acme::AccountCredentials;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::shared::{Account, Shown};
use crate::disk;
use crate::model::acme::{Authority, Issued};
use crate::model::{Hidden, hex};

/// What the files' `version` says.
const VERSION: u32 = 1;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why something is not on the disk, or does not come from there; for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    /// It cannot be written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, io::Error),
    /// Nobody knows what it means.
    #[error("{0} cannot be used: {1}")]
    Broken(PathBuf, String),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Store {
    folder: PathBuf,
}

/// How the last tries of a certificate went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempts {
    version: u32,
    /// When the last one was over, in seconds since 1970.
    pub(super) last: Option<u64>,
    /// Those in a row that failed.
    pub(super) failures: u32,
    /// The authority does not want to hear of it before.
    pub(super) until: u64,
    /// Why the last one failed.
    pub(super) error: Option<String>,
    /// A certificate that was taken back, by its digest.
    #[serde(default)]
    pub(super) revoked: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptAccount {
    version: u32,
    directory: String,
    stamp: u64,
    credentials: AccountCredentials,
}

impl Store {
    /// In this folder, which is made when something is written.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where the certificate of a service is.
    pub(super) fn certificate_file(&self, service: &str) -> PathBuf {
        self.folder.join("certificates").join(format!("{service}.pem"))
    }

    /// The certificate of a service; `None`: there is none yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn certificate(&self, service: &str) -> Result<Option<Issued>, Fault> {
        let path = self.certificate_file(service);
        let bytes = read(&path)?;
        Ok(bytes.map(|bytes| Issued {
            pem: Arc::new(bytes),
            file: path.into(),
        }))
    }

    /// Keeps the certificate of a service.
    ///
    /// # Errors
    /// It cannot be written; then the one before is still there.
    pub(super) fn keep_certificate(&self, service: &str, issued: &Issued) -> Result<(), Fault> {
        write(&self.certificate_file(service), &issued.pem.0)
    }

    /// The account with an authority; `None`: there is none yet.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense.
    pub(super) fn account(&self, authority: &Authority) -> Result<Option<Account>, Fault> {
        let path = self.account_file(authority);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let kept: KeptAccount =
            serde_json::from_slice(&bytes.0).map_err(|error| Fault::Broken(path.clone(), error.to_string()))?;
        if kept.version != VERSION {
            return Err(Fault::Broken(
                path,
                format!("its version is {}, not {VERSION}", kept.version),
            ));
        }
        let text = Hidden(serde_json::to_vec(&kept.credentials).unwrap_or_default());
        Ok(Some(Account {
            stamp: kept.stamp,
            credentials: Arc::new(text),
        }))
    }

    /// Keeps the account with an authority.
    ///
    /// # Errors
    /// It cannot be written; then the one before is still there.
    pub(super) fn keep_account(&self, authority: &Authority, account: &Account) -> Result<(), Fault> {
        let path = self.account_file(authority);
        let broken = |error: serde_json::Error| Fault::Broken(path.clone(), error.to_string());
        let kept = KeptAccount {
            version: VERSION,
            directory: authority.directory.to_string(),
            stamp: account.stamp,
            credentials: serde_json::from_slice(&account.credentials.0).map_err(broken)?,
        };
        let text = Hidden(serde_json::to_vec_pretty(&kept).map_err(broken)?);
        write(&path, &text.0)
    }

    /// An account is with a directory, in the name of somebody else or in the node's own.
    fn account_file(&self, authority: &Authority) -> PathBuf {
        self.folder
            .join("accounts")
            .join(format!("{}.json", account_name(authority)))
    }

    /// What became of the last tries. What cannot be read is as if there had been none.
    pub(super) fn attempts(&self, service: &str) -> Attempts {
        let known = read(&self.attempts_file(service)).ok().flatten();
        let known = known.and_then(|bytes| serde_json::from_slice::<Attempts>(&bytes.0).ok());
        known.filter(|known| known.version == VERSION).unwrap_or_default()
    }

    /// Keeps that.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep_attempts(&self, service: &str, attempts: &Attempts) -> Result<(), Fault> {
        let path = self.attempts_file(service);
        let attempts = Attempts {
            version: VERSION,
            ..attempts.clone()
        };
        let text =
            serde_json::to_vec_pretty(&attempts).map_err(|error| Fault::Broken(path.clone(), error.to_string()))?;
        write(&path, &text)
    }

    fn attempts_file(&self, service: &str) -> PathBuf {
        self.folder.join("attempts").join(format!("{service}.json"))
    }

    /// What another node that mounts the folder shows. What cannot be read is as if it showed nothing.
    pub(super) fn shown(&self) -> Option<Shown> {
        let bytes = read(&self.folder.join("challenges.json")).ok()??;
        serde_json::from_slice(&bytes.0).ok()
    }

    /// Shows this to the others.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep_shown(&self, shown: &Shown) -> Result<(), Fault> {
        let path = self.folder.join("challenges.json");
        let text = serde_json::to_vec(shown).map_err(|error| Fault::Broken(path.clone(), error.to_string()))?;
        write(&path, &Hidden(text).0)
    }

    /// Is there room for what comes? An authority should not be troubled for a certificate that has no place.
    ///
    /// # Errors
    /// Nothing can be written.
    pub(super) fn try_room(&self) -> Result<(), Fault> {
        // More than a certificate with key and chain is.
        static ROOM: [u8; 64 << 10] = [b'.'; 64 << 10];
        let path = self.folder.join("certificates/room");
        let tried = write(&path, &ROOM);
        for left in [&path, &path.with_extension("new")] {
            // There need not be any.
            let _ = fs::remove_file(left);
        }
        tried
    }

    /// Takes the right to order, unless another process has it: `None`. It goes with what is returned, and with the process.
    ///
    /// # Errors
    /// The file for it cannot be made.
    pub(super) fn lease(&self) -> Result<Option<Lease>, Fault> {
        let path = self.folder.join("lock");
        let failed = |error: io::Error| Fault::Write(path.clone(), error);
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Lease { _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(failed(error.into())),
        }
    }
}

/// The right to order certificates that a folder keeps.
#[derive(Debug)]
pub(super) struct Lease {
    _lock: Flock<File>,
}

/// What an account is called: the same on every node.
pub(super) fn account_name(authority: &Authority) -> String {
    let external = authority
        .external_account
        .as_ref()
        .map_or("", |external| &*external.key_id);
    let digest = Sha256::new_with_prefix(authority.directory.as_bytes())
        .chain_update([0])
        .chain_update(external)
        .finalize();
    hex::encode(&digest[..12])
}

fn read(path: &Path) -> Result<Option<Hidden<Vec<u8>>>, Fault> {
    let failed = |error: io::Error| Fault::Read(path.to_owned(), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let length = file.metadata().map_err(failed)?.len();
    if length > MAX_BYTES {
        return Err(Fault::Broken(
            path.to_owned(),
            format!("it is larger than {} MiB", MAX_BYTES >> 20),
        ));
    }
    // Room for all of it, so that no copy stays behind.
    let mut bytes = Hidden(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 64));
    file.take(MAX_BYTES).read_to_end(&mut bytes.0).map_err(failed)?;
    Ok(Some(bytes))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    disk::write(path, bytes).map_err(|error| Fault::Write(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::acme::tests::{account, authority, issued};

    #[test]
    fn what_is_kept_is_there_again_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("acme"));
        assert_eq!(store.certificate("web").unwrap(), None);
        assert_eq!(store.account(&authority()).unwrap(), None);
        assert_eq!(store.attempts("web"), Attempts::default());
        let one = issued(&store, "web", "a.example");
        store.keep_certificate("web", &one).unwrap();
        assert_eq!(store.certificate("web").unwrap(), Some(one.clone()));
        let account = account(7);
        store.keep_account(&authority(), &account).unwrap();
        assert_eq!(store.account(&authority()).unwrap(), Some(account));
        let attempts = Attempts {
            version: VERSION,
            last: Some(1),
            failures: 2,
            until: 3,
            error: Some("no".to_owned()),
            revoked: Some("00".to_owned()),
        };
        store.keep_attempts("web", &attempts).unwrap();
        assert_eq!(store.attempts("web"), attempts);
        for file in [
            store.certificate_file("web"),
            store.account_file(&authority()),
            store.attempts_file("web"),
        ] {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
            let mode = fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700);
        }
    }

    #[test]
    fn an_account_is_with_its_directory_and_for_whom_it_is() {
        let mut other = authority();
        other.contact = vec!["mailto:a@b".into()];
        assert_eq!(account_name(&authority()), account_name(&other));
        other.directory = "https://other.example/".into();
        assert_ne!(account_name(&authority()), account_name(&other));
    }

    #[test]
    fn what_cannot_be_understood_is_said_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned());
        store.keep_account(&authority(), &account(7)).unwrap();
        let path = store.account_file(&authority());
        let text = fs::read_to_string(&path).unwrap();
        for (broken, why) in [
            (
                text.replace("\"version\": 1", "\"version\": 2"),
                "its version is 2, not 1",
            ),
            (text.replace("stamp", "stmap"), "unknown field `stmap`"),
            (text[..text.len() / 2].to_owned(), "EOF"),
        ] {
            fs::write(&path, &broken).unwrap();
            let error = store.account(&authority()).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("accounts/"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), broken);
        }
    }

    #[test]
    fn one_orders() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("acme"));
        let first = store.lease().unwrap();
        assert!(first.is_some() && store.lease().unwrap().is_none());
        drop(first);
        assert!(store.lease().unwrap().is_some());
    }

    #[test]
    fn no_place_is_noticed_before_anybody_is_troubled() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("acme"));
        store.try_room().unwrap();
        assert_eq!(
            fs::read_dir(folder.path().join("acme/certificates")).unwrap().count(),
            0
        );
        // A file where the folder should be: not even root can write there.
        let store = Store::new(store.certificate_file("web"));
        fs::write(&store.folder, "").unwrap();
        let error = store.try_room().unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write") && error.contains("web.pem"),
            "{error}"
        );
    }
}
