//! A command whose exit code judges. It is executed as it stands in the file, without a shell, in a process group of its
//! own, which is killed when time is up or nobody wants to know any more.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};

use super::{Answer, Call, Phase, quoted};
use crate::model::ScriptProbe;

/// Where a command finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of what a command says is kept, in bytes, and how much of that is shown, in characters.
const MAX_SAID: usize = 1_024;
const MAX_REASON: usize = 200;

/// How a command ended that is not content.
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

pub(super) async fn probe(check: &ScriptProbe, call: Call<'_>) -> Result<Answer, super::Failure> {
    let local = |error: io::Error| super::Failure::Local(format!("{}: {error}", check.program.display()));
    let address = call.address;
    let mut child = Command::new(&check.program)
        .args(&check.arguments)
        .current_dir("/")
        .env_clear()
        .env("PATH", PATH)
        .env("FULCRUM_SERVICE", &*call.target.member.service)
        .env("FULCRUM_BACKEND", &*call.target.name)
        .env("FULCRUM_ADDRESS", address.ip().to_string())
        .env("FULCRUM_PORT", address.port().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map(Group)
        .map_err(local)?;
    let mut stderr = child.0.stderr.take();
    let mut said = Vec::new();
    let ended = async {
        tokio::select! {
            biased;
            () = listen(&mut stderr, &mut said) => child.0.wait().await,
            status = child.0.wait() => status,
        }
    };
    let status = call.deadline.bound(Phase::Running, ended).await?.map_err(local)?;
    match status.code() {
        Some(0) => return Ok(Answer::Exited),
        Some(code @ 2..=255) if check.dynamic_weight => return Ok(Answer::Weighs(code as u16 - 2)),
        _ => {}
    }
    // What it said just before its end may still be in the pipe. A child that it left behind may keep that open, so this
    // ends in time whatever happens.
    let _ = call
        .deadline
        .bound(Phase::Running, listen(&mut stderr, &mut said))
        .await;
    Err(failure(status, &said).into())
}

/// A process with its group, which ends with it at the latest when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // It has an id until its end was seen, and until then nobody else can get that.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// Reads to the end, so that the command is never held up, and keeps the beginning.
async fn listen(stderr: &mut Option<ChildStderr>, said: &mut Vec<u8>) {
    let Some(pipe) = stderr else { return };
    let mut part = [0; 512];
    while let Ok(length @ 1..) = pipe.read(&mut part).await {
        let room = MAX_SAID.saturating_sub(said.len());
        said.extend_from_slice(&part[..length.min(room)]);
    }
}

fn failure(status: ExitStatus, said: &[u8]) -> Failure {
    let Some(code) = status.code() else {
        let signal = status.signal().and_then(|number| Signal::try_from(number).ok());
        return Failure::Signal(signal.map_or("a signal".to_owned(), |signal| signal.to_string()));
    };
    let lines = said.split(|&byte| byte == b'\n').map(|line| quoted(line, MAX_REASON));
    match lines.into_iter().find(|line| !line.is_empty()) {
        Some(said) => Failure::Said { code, said },
        None => Failure::Code(code),
    }
}
