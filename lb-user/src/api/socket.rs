//! The Unix socket as a file: who owns it, who may open it, and how it goes away.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::UnixListener;

use crate::model::rights;

/// Connections that wait to be accepted. When so many do, connecting waits.
const BACKLOG: i32 = 128;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("another daemon already answers on {}", path.display())]
    InUse {
        /// Of the socket.
        path: PathBuf,
    },
    /// Another process is in the middle of the same.
    #[error("another daemon is starting in {}", folder.display())]
    Starting {
        /// Of the socket.
        folder: PathBuf,
    },
    /// Others may put a socket of theirs in its place, and commands would talk to them.
    #[error("others may write to {0}, and so could answer in the daemon's place: chmod go-w {0}", folder.display())]
    Open {
        /// Of the socket.
        folder: PathBuf,
    },
    /// Something that is no socket bears the name.
    #[error("{} exists and is no socket", path.display())]
    NotASocket {
        /// Its path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, such as `bind`.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    /// First, so that it goes while we still listen: a successor never finds a stale file to race us for.
    _file: SocketFile,
    pub(super) listener: UnixListener,
}

/// Listens on `path` with mode 0600, inside a tokio runtime. Creates the folder (0755) where it is missing, and
/// replaces the socket of a daemon that is gone; of two daemons that start at once, one is refused, and so is a folder that
/// others may write to.
///
/// # Errors
/// [`BindError`]
pub fn bind(path: &Path) -> Result<Socket, BindError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(failed("create", folder))?;
    let opened = File::open(folder).map_err(failed("open", folder))?;
    let metadata = opened.metadata().map_err(failed("look at", folder))?;
    if rights::others_write(metadata.mode(), metadata.gid()) && !rights::is_sticky(metadata.mode()) {
        return Err(BindError::Open {
            folder: folder.to_owned(),
        });
    }
    // Held until this returns: between looking at a socket and replacing it, nobody else may.
    let _lock = Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => BindError::Starting {
            folder: folder.to_owned(),
        },
        errno => failed("lock", folder)(errno.into()),
    })?;
    remove_stale(path)?;

    let fd = stream_socket().map_err(failed("make a socket for", path))?;
    // Before binding, so that the file never has another mode.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|e| failed("set the mode of", path)(e.into()))?;
    let address = UnixAddr::new(path).map_err(|e| failed("bind", path)(e.into()))?;
    socket::bind(fd.as_raw_fd(), &address).map_err(|e| failed("bind", path)(e.into()))?;
    let file = SocketFile::of(path).map_err(failed("look at", path))?;
    Backlog::new(BACKLOG)
        .and_then(|backlog| socket::listen(&fd, backlog))
        .map_err(|e| failed("listen on", path)(e.into()))?;
    let listener = UnixListener::from_std(fd.into()).map_err(failed("listen on", path))?;
    Ok(Socket { _file: file, listener })
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let fd = stream_socket().map_err(failed("make a socket for", path))?;
    match UnixAddr::new(path).and_then(|address| socket::connect(fd.as_raw_fd(), &address)) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(failed("remove", path)),
        // A full backlog has a listener, too.
        Ok(()) | Err(Errno::EAGAIN) => Err(BindError::InUse { path: path.to_owned() }),
        Err(errno) => Err(failed("connect to", path)(errno.into())),
    }
}

fn stream_socket() -> io::Result<std::os::fd::OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Io { action, path, source }
}

/// The file of a socket of ours; removed on drop, unless somebody has put another in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the API socket");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
