//! A process on one processor, looked at from outside.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Which processor something runs on.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Core(CpuSet);

impl Core {
    /// The first two that this process may run on: one for proxies, one for everybody else.
    pub(in crate::bench) fn two() -> Result<(Self, Self)> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
        let mut next = || {
            let mut set = CpuSet::new();
            let cpu = cores
                .next()
                .context("the bench needs two processors: one for the proxy, one for all others")?;
            set.set(cpu)?;
            anyhow::Ok(Self(set))
        };
        Ok((next()?, next()?))
    }

    /// Puts the calling thread on it.
    pub(in crate::bench) fn take(self) -> nix::Result<()> {
        sched_setaffinity(Pid::from_raw(0), &self.0)
    }

    /// Makes the processes of `command` run on it, and end when the thread does that starts them.
    pub(in crate::bench) fn confine(self, command: &mut Command) -> &mut Command {
        // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor locks.
        unsafe {
            command.pre_exec(move || {
                self.take()?;
                // Not SIGKILL: nginx is to take its worker with it.
                Ok(set_pdeathsig(Signal::SIGTERM)?)
            })
        }
    }
}

/// A process that is ended on drop, with its log.
#[derive(Debug)]
pub(in crate::bench) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it prints goes to `log`.
    pub(in crate::bench) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child, log })
    }

    /// The end of what it has printed.
    pub(in crate::bench) fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// An error when it has ended.
    pub(in crate::bench) fn expect_alive(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "it has ended:\n{}", self.log());
        Ok(())
    }

    /// The process and those that it has started.
    fn all(&self) -> Result<Vec<u32>> {
        let mut all = vec![self.child.id()];
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id()))?;
        for child in children.split_whitespace() {
            all.push(child.parse()?);
        }
        Ok(all)
    }

    /// What all their threads have had of the processors, to the nanosecond, those that have ended included. What the
    /// kernel does for them counts.
    pub(in crate::bench) fn processor_time(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for pid in self.all()? {
            let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?;
            sum += Duration::from(clock_gettime(clock)?);
        }
        Ok(sum)
    }

    /// Memory that they have written and share with nobody, in bytes. What they have only read is that of files, and private just as long
    /// as nobody else runs the same program.
    pub(in crate::bench) fn private_memory(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in self.all()? {
            sum += private(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?)?;
        }
        Ok(sum)
    }
}

/// Of a `smaps_rollup`, in bytes.
fn private(rollup: &str) -> Result<u64> {
    const NAME: &str = "Private_Dirty:";
    let line = rollup.lines().find_map(|line| line.strip_prefix(NAME));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(1024 * kilobytes.with_context(|| format!("no {NAME}"))?.trim().parse::<u64>()?)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_what_was_written() {
        let text = "Rss:     9000 kB\nPrivate_Clean:        4 kB\nPrivate_Dirty:      100 kB\nPrivate_Hugetlb: 0 kB\n";
        assert_eq!(private(text).unwrap(), 100 * 1024);
        assert!(private("Rss: 1 kB\n").is_err());
    }
}
