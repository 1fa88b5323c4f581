//! Processes of a lab: started so that they outlive a Ctrl-C meant for `lab up`, and ended without ever hitting a
//! stranger that got the same process id.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::libc;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::process::Child;
use tokio::time::timeout;

use super::host::Host;
use super::state::Lab;
use crate::net::Namespace;

/// Names a process beyond its end: ids are used again, but not with the same start time.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    /// Unique within the lab.
    pub(super) name: String,
    pub(super) pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks from boot to the process's start.
    pub(super) started: u64,
}

impl Record {
    pub(super) fn of(name: &str, pid: i32) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            pid,
            started: started(pid)?,
        })
    }

    /// The process, if it still lives.
    pub(super) fn living(&self) -> Option<Process> {
        // First the handle, then the look: what it refers to cannot change afterwards.
        let process = Process::open(self.pid).ok()?;
        (started(self.pid).ok()? == self.started && !process.ended()).then_some(process)
    }
}

fn started(pid: i32) -> io::Result<u64> {
    field(pid, 22)
}

/// A number of /proc/PID/stat, where fields are counted from 1; those before the fourth are no numbers.
fn field<T: std::str::FromStr>(pid: i32, number: usize) -> io::Result<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; field 3 follows it.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    fields
        .and_then(|fields| fields.split_whitespace().nth(number - 3)?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as expected")))
}

/// A process, by a handle that never refers to another one.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    handle: OwnedFd,
}

impl Process {
    pub(super) fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(nix::errno::Errno::result(fd)?).map_err(io::Error::other)?;
        // SAFETY: the kernel just made this descriptor, for us alone.
        let handle = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { pid, handle })
    }

    /// Has it ended? Also true while its parent hasn't noticed yet.
    pub(super) fn ended(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.handle.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one element, which lives through the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
    }

    pub(super) fn signal(&self, signal: Signal) {
        // SAFETY: no signal information is passed. It fails only when the process has ended.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.handle.as_raw_fd(),
                signal as i32,
                0,
                0,
            )
        };
    }

    /// Waits for its end; false when `patience` ran out.
    pub(super) async fn wait(&self, patience: Duration) -> bool {
        let Ok(own) = self.handle.try_clone() else {
            return self.ended();
        };
        // SAFETY: the descriptor is owned by what is registered, and so stays open and the same as long.
        let Ok(handle) = (unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }) else {
            return self.ended();
        };
        timeout(patience, handle.readable()).await.is_ok()
    }
}

/// Every process inside `namespace`, except this one.
pub(super) fn inside(namespace: &Namespace) -> io::Result<Vec<Process>> {
    let id = namespace.id()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == std::process::id().cast_signed() {
            continue;
        }
        let is_inside = || fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|file| (file.dev(), file.ino()) == id);
        // Look, take the handle, look again: the second look is at what the handle refers to.
        if is_inside()
            && let Ok(process) = Process::open(pid)
            && is_inside()
            && !process.ended()
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// Those of `processes` that a recorded process has started, or its children, and itself.
pub(super) fn of(record: &Record, processes: Vec<Process>) -> Vec<Process> {
    // Each process of a lab is started in a session of its own.
    let belongs = |process: &Process| field::<i32>(process.pid, 6).is_ok_and(|session| session == record.pid);
    processes.into_iter().filter(belongs).collect()
}

/// Starts `program` on a host of `lab`, and records it. What it prints goes to its log.
pub(super) fn start(
    lab: &Lab,
    name: &str,
    host: Option<&Host>,
    program: &Path,
    args: &[impl AsRef<OsStr>],
) -> anyhow::Result<Child> {
    let log = open_log(lab, name)?;
    start_with(lab, name, host, program, args, log.into())
}

/// The same for one whose output is for somebody else.
pub(super) fn start_with(
    lab: &Lab,
    name: &str,
    host: Option<&Host>,
    program: &Path,
    args: &[impl AsRef<OsStr>],
    stdout: Stdio,
) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(open_log(lab, name)?)
        .current_dir("/");
    detach(&mut command);
    if let Some(host) = host {
        host.confine(&mut command)?;
    }
    let child = tokio::process::Command::from(command)
        .spawn()
        .with_context(|| format!("starting {name} ({})", program.display()))?;
    let pid = child.id().context("it ended at once")?;
    // Until this is written, `down` finds it by the namespace that it is in.
    lab.record(&Record::of(name, pid.cast_signed())?)?;
    Ok(child)
}

fn open_log(lab: &Lab, name: &str) -> anyhow::Result<File> {
    let log = lab.log(name);
    let opened = File::options().create(true).append(true).open(&log);
    opened.with_context(|| format!("opening {}", log.display()))
}

/// Gives a child a session of its own: a Ctrl-C in the terminal, or its closing, is for `lab up`, which ends its
/// children in order.
pub(super) fn detach(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
    unsafe { command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?)) }
}

/// Waits for the line by which a child says that it serves, and returns what follows `ready`.
pub(super) async fn ready(child: &mut Child, patience: Duration) -> anyhow::Result<String> {
    let stdout = child.stdout.take().context("its output was not asked for")?;
    let mut line = String::new();
    match timeout(patience, BufReader::new(stdout).read_line(&mut line)).await {
        Err(_) => bail!("it was not ready within {patience:?}"),
        Ok(read) => read.context("reading its output")?,
    };
    match line.trim_end().strip_prefix("ready") {
        Some(rest) => Ok(rest.trim_start().to_owned()),
        None if line.is_empty() => bail!("it ended at once"),
        None => bail!("it said {line:?} instead of \"ready\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_process_id_is_a_stranger() {
        let own = Record::of("test", std::process::id().cast_signed()).unwrap();
        assert!(own.living().is_some());
        let earlier = Record {
            started: own.started - 1,
            ..own
        };
        assert!(earlier.living().is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_seen() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let record = Record::of("cat", child.id().cast_signed()).unwrap();
        let process = record.living().unwrap();
        assert!(!process.ended());
        process.signal(Signal::SIGKILL);
        assert!(process.wait(Duration::from_secs(10)).await);
        assert!(record.living().is_none(), "a zombie has ended");
        child.wait().unwrap();
        assert!(process.ended());
    }
}
