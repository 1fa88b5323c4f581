//! A VM from its start to its end: what it prints comes out at once, and its end is always a verdict.
//!
//! qemu emulates the processor (TCG), so neither KVM nor root is needed, and a minute in the VM is many outside. It is
//! killed when it passes its deadline, and by the kernel when this process ends, however it does.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::job::{self, Part};
use super::kernel::Kernel;
use crate::exec;

/// Room for the program's maps beside what the overlay takes.
const MEMORY: &str = "3G";

/// How much of the kernel's log is shown after a failure.
const LOG_LINES: usize = 30;

/// What time is in a VM.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    /// As outside. Two processors, since one would hide races.
    Wall,
    /// A nanosecond is an instruction, so that run times can be repeated whatever else this machine does. One processor,
    /// since several would take turns and count each other's.
    Instructions,
}

impl Clock {
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Wall => &["-accel", "tcg,thread=multi", "-smp", "2"],
            Self::Instructions => &["-accel", "tcg,thread=single", "-icount", "shift=0", "-smp", "1"],
        }
    }

    /// For the kernel's command line.
    const fn parameters(self) -> &'static str {
        match self {
            Self::Wall => "",
            // Debian's kernels fill every page that they give out with zeros: one instruction, `rep stosb`, which counts for
            // 4,096 here and is next to nothing on a real processor.
            Self::Instructions => " init_on_alloc=0",
        }
    }
}

/// A VM to be.
#[derive(Debug)]
pub(super) struct Guest<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) clock: Clock,
    /// Where its files are.
    pub(super) folder: PathBuf,
    pub(super) deadline: Duration,
}

impl Guest<'_> {
    /// Boots an initramfs, prints what its parts print behind the kernel's name, and judges its report.
    pub(super) fn run(&self, initramfs: &[u8], parts: &[Part]) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let file = |name| self.folder.join(name);
        // Another run's files stay until it has judged them.
        let lock = File::create(file("lock")).context("target/vm")?;
        lock.lock().context("waiting for another VM of this kernel")?;
        let (archive, log, report) = (file("initramfs"), file("console.log"), file("report"));
        fs::write(&archive, initramfs).with_context(|| archive.display().to_string())?;
        // Not another run's.
        for old in [&log, &report] {
            fs::write(old, "").with_context(|| old.display().to_string())?;
        }
        let ended = run(self.qemu(&archive, &log, &report), &self.kernel.series, self.deadline);
        let report = fs::read(&report).with_context(|| report.display().to_string())?;
        let verdict = ended.and_then(|()| job::judge(&String::from_utf8_lossy(&report), parts));
        verdict.map_err(|error| {
            let text = fs::read(&log).unwrap_or_default();
            let end = last_lines(&String::from_utf8_lossy(&text), LOG_LINES);
            error.context(format!("{}:\n{end}\nWhat failed", log.display()))
        })
    }

    /// The command. Its standard output is what the parts print.
    fn qemu(&self, archive: &Path, log: &Path, report: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(self.clock.options())
            .args(["-cpu", "max", "-m", MEMORY, "-kernel"])
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(archive)
            // A panic reboots at once, which ends qemu.
            .arg("-append")
            .arg(format!("console=ttyS0 loglevel=5 panic=-1{}", self.clock.parameters()))
            .args([
                "-virtfs",
                "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            ])
            .args(["-device", "virtio-rng-pci"])
            .args(["-serial", &file_backend(log), "-serial", "stdio"])
            .args(["-serial", &file_backend(report)])
            .stdin(Stdio::null());
        command
    }
}

/// A file as qemu's options take it, where a comma would end the name.
fn file_backend(path: &Path) -> String {
    format!("file:{}", path.to_string_lossy().replace(',', ",,"))
}

/// Runs the command to its end, or to the deadline, and prints its lines behind a name.
fn run(mut command: Command, name: &str, deadline: Duration) -> Result<()> {
    let end = Instant::now() + deadline;
    let mut child = exec::spawn(command.stdout(Stdio::piped()))?;
    let output = child.stdout.take().context("standard output is piped")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        // An error is that nobody listens any more.
        let _ = each_line(output, |line| sender.send(line).is_ok());
    });
    let mut ended = Ok(());
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => println!("{name} | {line}"),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                ended = Err(anyhow!("not at its end after {} s", deadline.as_secs()));
                break;
            }
        }
    }
    if ended.is_err() {
        child.kill().context("ending qemu")?;
    }
    let status = child.wait().context("waiting for qemu")?;
    let _ = reader.join();
    ended?;
    if !status.success() {
        return Err(anyhow!("{}: {status}", exec::shown(&command)));
    }
    Ok(())
}

/// Calls `each` with every line, without its end, as long as it returns true.
fn each_line(output: impl Read, mut each: impl FnMut(String) -> bool) -> std::io::Result<()> {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        if !each(text.trim_end_matches(['\r', '\n']).to_owned()) {
            break;
        }
        line.clear();
    }
    Ok(())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_guest_that_hangs_or_fails_is_an_error() {
        assert!(run(sh("echo one; printf two"), "test", Duration::from_secs(60)).is_ok());
        let error = run(sh("exec sleep 60"), "test", Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.to_string(), "not at its end after 0 s");
        let error = run(sh("exit 3"), "test", Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.to_string(), "sh -c 'exit 3': exit status: 3");
    }

    #[test]
    fn lines_come_without_what_the_terminal_added() {
        let mut lines = Vec::new();
        each_line(&b"one\r\n\r\ntwo\xff\r\nend"[..], |line| {
            lines.push(line);
            true
        })
        .unwrap();
        assert_eq!(lines, ["one", "", "two\u{fffd}", "end"]);
    }

    #[test]
    fn the_end_of_a_log_is_what_is_shown() {
        assert_eq!(last_lines("a\r\nb\r\nc\r\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }

    #[test]
    fn qemu_reads_commas_as_they_are_meant() {
        assert_eq!(file_backend(Path::new("/a,b/log")), "file:/a,,b/log");
    }
}
