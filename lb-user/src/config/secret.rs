//! Files that hold a secret.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Parsed, Subject, Warning};

/// What a secret's file holds.
pub struct Secret {
    /// All of it.
    pub bytes: Vec<u8>,
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
        let is_open = file.metadata()?.permissions().mode() & 0o007 != 0;
        let mut bytes = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(io::Error::other(format!("it has more than {most} bytes")));
        }
        Ok(Self { bytes, is_open })
    }

    /// Warns of a file that everybody may open, of which `subject` is the place, and what they can do then.
    #[must_use]
    pub fn warning(&self, parsed: &Parsed, subject: &Subject, path: &Path, lets: &str) -> Option<Warning> {
        let shown = path.display();
        self.is_open.then(|| {
            let what = format!("everybody on this machine may open {shown}, and so {lets}");
            parsed.warning_at(subject, what, format!("chmod o= {shown}"))
        })
    }
}
