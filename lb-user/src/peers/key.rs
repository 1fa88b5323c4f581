//! The key that all peers have: who does not have it is a stranger.

use std::io;
use std::path::Path;

use ring::hkdf;

use crate::config::{ConfigError, Parsed, Secret, Subject, Warning};
use crate::model::Hidden;

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
#[derive(Debug)]
pub(super) struct Key(Hidden<Vec<u8>>);

impl Key {
    pub(super) fn new(bytes: Hidden<Vec<u8>>) -> Result<Self, KeyError> {
        match LENGTH.contains(&bytes.0.len()) {
            true => Ok(Self(bytes)),
            false => Err(KeyError::Length(bytes.0.len())),
        }
    }

    /// From its file, as it is now.
    pub(super) fn load(path: &Path) -> Result<Self, KeyError> {
        Self::new(Secret::read(path, *LENGTH.end())?.bytes)
    }

    /// RFC 5869, with `salt` that is never the same twice.
    pub(super) fn extract(&self, salt: &[u8]) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.0.0)
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
    let secret = Secret::read(&peers.key_file, *LENGTH.end()).map_err(|error| wrong(&error.into()))?;
    let warning = secret.warning(parsed, &Subject::PeersKey, &peers.key_file, "pass for a node");
    Key::new(secret.bytes).map_err(|error| wrong(&error))?;
    Ok(warning)
}
