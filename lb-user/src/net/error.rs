//! What the kernel refused, and what it was asked for.

use std::io;

use nix::errno::Errno;

/// A request to the kernel's network configuration that failed. Says what was asked of which object; the kernel's own
/// words are the source.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
pub struct Error {
    action: String,
    source: io::Error,
}

impl Error {
    /// `action` completes "the kernel refused this: ...", as in `adding 10.0.0.1/32 to eth0`.
    pub(crate) fn new(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            action: action.into(),
            source: source.into(),
        }
    }

    /// The kernel's error number, where it gave one.
    pub fn errno(&self) -> Option<Errno> {
        self.source.raw_os_error().map(Errno::from_raw)
    }
}

/// The kernel's own error, out of the wrapping that netlink libraries put around it.
pub(crate) fn cause(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        rtnetlink::Error::RequestFailed => io::Error::new(io::ErrorKind::BrokenPipe, "the netlink connection is gone"),
        other => io::Error::other(other),
    }
}

/// Was it the kernel that said `errno`?
pub(crate) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Names the object that a request was about.
pub(crate) trait Context<T> {
    /// Wraps the error; `action` is as for [`Error::new`].
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Context<T> for Result<T, rtnetlink::Error> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::new(action(), cause(error)))
    }
}

impl<T> Context<T> for io::Result<T> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::new(action(), error))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::new(action(), error))
    }
}
