//! One file: appended to, rotated by size, opened again when somebody has renamed it.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A file that is there, or shall be.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    open: Option<Open>,
    /// The last try failed, and that was logged.
    failing: bool,
    /// The last rotation failed, and that was logged.
    stuck: bool,
    /// The last line has no end.
    torn: bool,
    /// Lines have come since it was opened again.
    used: bool,
}

#[derive(Debug)]
struct Open {
    file: fs::File,
    length: u64,
    /// Only a regular file is rotated.
    regular: bool,
}

impl File {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            failing: false,
            stuck: false,
            torn: false,
            used: false,
        }
    }

    /// Appends whole lines; returns how many of them were written.
    pub(super) fn append(&mut self, lines: &[u8], max_size: Option<u64>, keep: u16) -> u64 {
        self.used |= !lines.is_empty();
        let mut written = 0;
        let done = self.try_append(lines, max_size, keep, &mut written);
        match &done {
            Ok(()) if self.failing => {
                tracing::info!(path = %self.path.display(), "the access log is written again");
            }
            Err(error) if !self.failing => {
                let path = self.path.display();
                tracing::error!(%path, %error, "cannot write the access log: lines are lost until it can be written");
            }
            Ok(()) | Err(_) => {}
        }
        self.failing = done.is_err();
        if self.failing {
            // What it is open on may be what is wrong.
            self.open = None;
        }
        written
    }

    fn try_append(&mut self, lines: &[u8], max_size: Option<u64>, keep: u16, written: &mut u64) -> io::Result<()> {
        let size = lines.len() as u64;
        let is_full = |open: &Open| {
            open.regular && open.length > 0 && open.length.saturating_add(size) > max_size.unwrap_or(u64::MAX)
        };
        if is_full(self.opened()?) {
            self.rotate(keep);
        }
        if self.torn {
            self.write(b"\n")?;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            let some = self.write(rest)?;
            *written += rest[..some].iter().filter(|&&byte| byte == b'\n').count() as u64;
            rest = &rest[some..];
        }
        Ok(())
    }

    /// Some of these bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let open = self.opened()?;
        let some = loop {
            match open.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => break some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        open.length += some as u64;
        self.torn = bytes[some - 1] != b'\n';
        Ok(some)
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    /// Opens it again, so that it is there at once. False: no lines have come since that was done last, and none may come.
    pub(super) fn reopen(&mut self) -> bool {
        self.open = None;
        self.torn = false;
        let used = std::mem::take(&mut self.used);
        if used {
            self.append(b"", None, 0);
        }
        used
    }

    /// It becomes `path.1`, that `path.2`, and so on; the last one goes.
    fn rotate(&mut self, keep: u16) {
        match shift(&self.path, keep) {
            Ok(()) => {
                self.open = None;
                self.torn = false;
                self.stuck = false;
            }
            Err(error) if !self.stuck => {
                self.stuck = true;
                let path = self.path.display();
                tracing::error!(%path, %error, "cannot rotate the access log, which grows until it can be");
            }
            Err(_) => {}
        }
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    // A FIFO that nobody reads fails, where it would stop every log.
    options.custom_flags(OFlag::O_NONBLOCK.bits());
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    Ok(Open {
        file,
        length: metadata.len(),
        regular: metadata.is_file(),
    })
}

fn shift(path: &Path, keep: u16) -> io::Result<()> {
    let numbered = |number: u16| match number {
        0 => path.to_owned(),
        number => {
            let mut name = OsString::from(path);
            name.push(format!(".{number}"));
            PathBuf::from(name)
        }
    };
    if keep == 0 {
        return absent(fs::remove_file(path));
    }
    for number in (0..keep).rev() {
        absent(fs::rename(numbered(number), numbered(number + 1)))?;
    }
    Ok(())
}

/// What is not there need not be moved.
fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
