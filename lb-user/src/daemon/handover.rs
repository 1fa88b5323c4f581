//! An upgrade without a gap: the running daemon starts its successor, which is the program that stands at its path by now,
//! and hands it the sockets on which clients of the proxy wait.
//!
//! 1. The successor inherits the sockets, reads the file, and says that it could begin. One that fails, or is silent for
//!    [`PATIENCE`], changes nothing: the old daemon goes on.
//! 2. The old daemon lets the maps go, and says so; the successor takes them over as after a restart.
//! 3. When its proxy takes connections, it says so; the old one takes no more, finishes what has begun, and ends.
//!
//! What they say to each other is a byte each, on two pipes. What the old one has changed in the kernel for as long as it runs stays
//! changed meanwhile: the successor is told when it is started what was there before, and puts it back when it ends.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::pipe2;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::net::tcp::Cookies;
use crate::proxy::Inherited;

/// Longest wait for each word of the other one. A successor that loads the program needs a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the successor is told: `hears,says;address=fd;address=fd...`.
const VARIABLE: &str = "FULCRUM_HANDOVER";

/// What was there before of the kernel's settings for SYN cookies. A variable of its own: an older program knows only the other.
const COOKIES: &str = "FULCRUM_HANDOVER_COOKIES";

/// One end of the two pipes.
#[derive(Debug)]
struct Line {
    hears: Receiver,
    says: Sender,
}

impl Line {
    fn new(hears: OwnedFd, says: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            hears: Receiver::from_owned_fd(hears)?,
            says: Sender::from_owned_fd(says)?,
        })
    }

    async fn say(&mut self) -> io::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        self.says.write_all(b".").await
    }

    async fn hear(&mut self) -> Result<()> {
        use tokio::io::AsyncReadExt as _;
        let mut byte = [0];
        let heard = timeout(PATIENCE, self.hears.read_exact(&mut byte)).await;
        heard.context("it says nothing")?.context("it has gone")?;
        Ok(())
    }
}

/// How this process was started, to start another one so.
#[derive(Debug)]
pub(super) struct Origin {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Origin {
    /// To be asked for early: a program that is replaced is not found by what the kernel says of it later.
    pub(super) fn of_this() -> io::Result<Self> {
        Ok(Self {
            program: env::current_exe()?,
            arguments: env::args_os().skip(1).collect(),
        })
    }

    /// Starts a successor with these sockets, tells it what `cookies` have changed, and waits until it could begin.
    ///
    /// # Errors
    /// When it could not; it is gone then.
    pub(super) async fn succeed(&self, sockets: &[(SocketAddr, RawFd)], cookies: &Cookies) -> Result<Successor> {
        let (hears, answers) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let (listens, says) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let mut told = format!("{},{}", listens.as_raw_fd(), answers.as_raw_fd());
        for (address, fd) in sockets {
            told.push_str(&format!(";{address}={fd}"));
        }
        let mut inherited: Vec<RawFd> = sockets.iter().map(|(_, fd)| *fd).collect();
        inherited.extend([listens.as_raw_fd(), answers.as_raw_fd()]);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(VARIABLE, told);
        command.env(COOKIES, cookies.changed());
        let keep = move || {
            for &fd in &inherited {
                // SAFETY: it is open in this process, and a fork has it, too.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec it only asks the kernel to keep descriptors.
        unsafe { command.pre_exec(keep) };
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        drop((listens, answers));
        let mut successor = Successor {
            line: Line::new(hears, says)?,
            child,
        };
        match successor.line.hear().await {
            Ok(()) => Ok(successor),
            Err(error) => {
                // It may have ended already.
                let _ = successor.child.kill().await;
                Err(error.context("the new daemon does not begin; see what it has logged"))
            }
        }
    }
}

/// The daemon that comes after this one.
#[derive(Debug)]
pub(super) struct Successor {
    line: Line,
    child: Child,
}

impl Successor {
    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The maps are free. Waits until its proxy serves.
    ///
    /// # Errors
    /// When it does not come as far as that.
    pub(super) async fn take_over(&mut self) -> Result<()> {
        self.line.say().await?;
        self.line.hear().await
    }
}

/// The daemon that was there before this one.
#[derive(Debug)]
pub(super) struct Predecessor {
    line: Line,
    cookies: String,
}

impl Predecessor {
    /// What this process was told when it was started, if another daemon has started it.
    ///
    /// # Errors
    /// When that makes no sense.
    pub(super) fn from_environment() -> Result<Option<(Self, Inherited)>> {
        let Some(told) = env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let told = told.to_str().with_context(|| format!("{VARIABLE} is no text"))?;
        let mut words = told.split(';');
        let fds = words.next().and_then(|fds| fds.split_once(','));
        let Some((hears, says)) = fds else {
            bail!("{VARIABLE} is for daemons that start their successor; unset it");
        };
        let line = Line::new(inherit(hears)?, inherit(says)?)?;
        let mut sockets = BTreeMap::<SocketAddr, Vec<TcpListener>>::new();
        for word in words {
            let (address, fd) = word.split_once('=').with_context(|| format!("{VARIABLE}: {word}"))?;
            let address = address.parse().with_context(|| format!("{VARIABLE}: {address}"))?;
            sockets.entry(address).or_default().push(inherit(fd)?.into());
        }
        let cookies = env::var(COOKIES).unwrap_or_default();
        Ok(Some((Self { line, cookies }, Inherited(sockets))))
    }

    /// What it has changed for SYN cookies, for [`Cookies::take_over`].
    pub(super) fn cookies(&self) -> &str {
        &self.cookies
    }

    /// This process could begin. Waits until the maps are free.
    ///
    /// # Errors
    /// When the other one does not let them go.
    pub(super) async fn replace(&mut self) -> Result<()> {
        self.line.say().await?;
        self.line
            .hear()
            .await
            .context("the daemon that is to be replaced keeps its place")
    }

    /// This process serves.
    pub(super) async fn relieve(&mut self) {
        // It may have gone: then there is nobody to be told.
        let _ = self.line.say().await;
    }
}

/// A descriptor that was handed over; programs started from here on do not have it.
fn inherit(fd: &str) -> Result<OwnedFd> {
    let fd: RawFd = fd.parse().with_context(|| format!("{VARIABLE}: {fd}"))?;
    // SAFETY: who has started this process has left it this descriptor, and nobody else here knows of it. That it is one
    // is seen by the call below.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .with_context(|| format!("{VARIABLE}: descriptor {}", fd.as_raw_fd()))?;
    Ok(fd)
}
