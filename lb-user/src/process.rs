//! Programs of the user: executed as they stand in the file, without a shell, each in a process group of its own, which is
//! killed when nobody wants to know any more.

mod user;
mod writable;

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};

use crate::model::quoted;
pub use user::User;
pub use writable::warnings;

/// Where a program finds others, and is found itself where it has no path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of what a program says is kept, in bytes, and how much of that is shown, in characters.
const MAX_SAID: usize = 1_024;
const MAX_REASON: usize = 200;

/// How a program ended that is not content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// With this exit code, and without a word.
    #[error("exit code {0}")]
    Code(i32),
    /// With this exit code, and what it said first on standard error.
    #[error("{said} (exit code {code})")]
    Said {
        /// Not 0.
        code: i32,
        /// One line.
        said: String,
    },
    /// By a signal.
    #[error("ended by {0}")]
    Signal(String),
}

/// How programs are started.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// Who they are; `None`: who this process is.
    user: Option<Arc<User>>,
}

/// A program that runs. It and what it has started ends when this is dropped, at the latest.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stderr: Option<ChildStderr>,
    said: Vec<u8>,
}

impl Programs {
    /// They run as `user`; `None`: as this process does.
    #[must_use]
    pub fn of(user: Option<User>) -> Self {
        Self {
            user: user.map(Arc::new),
        }
    }

    /// Starts a program with nothing in its environment but [`PATH`] and these.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (&'static str, String)>,
    ) -> io::Result<Process> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", PATH)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(user) = self.user.clone() {
            // SAFETY: between fork and exec it only asks the kernel.
            unsafe { command.pre_exec(move || user.assume()) };
        }
        let mut child = command.spawn()?;
        Ok(Process {
            stderr: child.stderr.take(),
            child,
            said: Vec::new(),
        })
    }
}

impl Process {
    /// Waits for its end.
    ///
    /// # Errors
    /// When the kernel does not say how it ended.
    pub async fn exit(&mut self) -> io::Result<ExitStatus> {
        tokio::select! {
            biased;
            () = listen(&mut self.stderr, &mut self.said) => self.child.wait().await,
            status = self.child.wait() => status,
        }
    }

    /// What it said just before its end may still be in the pipe. A child that it left behind may keep that open, so who
    /// waits for this needs a limit.
    pub async fn last_words(&mut self) {
        listen(&mut self.stderr, &mut self.said).await;
    }

    /// Why it is not content, as far as it has been heard.
    #[must_use]
    pub fn failure(&self, status: ExitStatus) -> Failure {
        let Some(code) = status.code() else {
            let signal = status.signal().and_then(|number| Signal::try_from(number).ok());
            return Failure::Signal(signal.map_or("a signal".to_owned(), |signal| signal.to_string()));
        };
        let lines = self.said.split(|&byte| byte == b'\n');
        match lines.map(|line| quoted(line, MAX_REASON)).find(|line| !line.is_empty()) {
            Some(said) => Failure::Said { code, said },
            None => Failure::Code(code),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has an id until its end was seen, and until then nobody else can get that.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Reads to the end, so that the program is never held up, and keeps the beginning.
async fn listen(stderr: &mut Option<ChildStderr>, said: &mut Vec<u8>) {
    let Some(pipe) = stderr else { return };
    let mut part = [0; 512];
    while let Ok(length @ 1..) = pipe.read(&mut part).await {
        let room = MAX_SAID.saturating_sub(said.len());
        said.extend_from_slice(&part[..length.min(room)]);
    }
}
