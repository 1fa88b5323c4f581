//! The key that all peers have: who does not have it is a stranger.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ring::hkdf;

use crate::config::{ConfigError, Parsed, Subject, Warning};

/// Bytes that a key has: fewer can be guessed, and no key needs more.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=4096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It is too short or too long.
    #[error("it holds {0} bytes, and a key has {first} to {last}", first = LENGTH.start(), last = LENGTH.end())]
    Length(usize),
}

/// What is to be expanded with both sides' nonces.
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, KeyError> {
        match LENGTH.contains(&bytes.len()) {
            true => Ok(Self(bytes)),
            false => Err(KeyError::Length(bytes.len())),
        }
    }

    /// From its file, as it is now.
    pub(super) fn load(path: &Path) -> Result<Self, KeyError> {
        Self::new(contents(path)?.0)
    }

    /// RFC 5869, with `salt` that is never the same twice.
    pub(super) fn extract(&self, salt: &[u8]) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0)
    }
}

/// Confirms the key that a configuration names.
///
/// # Errors
/// When there is none to be read, at its place in the configuration.
pub fn confirm(parsed: &Parsed) -> Result<Option<Warning>, ConfigError> {
    let Some(peers) = &parsed.config.peers else {
        return Ok(None);
    };
    let shown = peers.key_file.display();
    let hint = format!("`(umask 077; head -c 32 /dev/urandom > {shown})` makes one, then copy it to every node");
    let wrong =
        |error: &KeyError| parsed.error_at(&Subject::PeersKey, format!("no key in {shown}: {error}"), hint.clone());
    let (bytes, metadata) = contents(&peers.key_file).map_err(|error| wrong(&error.into()))?;
    Key::new(bytes).map_err(|error| wrong(&error))?;
    Ok((metadata.permissions().mode() & 0o007 != 0).then(|| {
        let what = format!("everybody on this machine may read {shown}, and so pass for a node");
        parsed.warning_at(&Subject::PeersKey, what, format!("chmod o= {shown}"))
    }))
}

/// What a file holds, as far as that can be a key, and whose it is. A pipe is not waited for.
fn contents(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    file.take(*LENGTH.end() as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes, metadata))
}
