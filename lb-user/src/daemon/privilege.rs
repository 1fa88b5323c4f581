//! What the daemon may do: what it has to be allowed, and giving away the rest before it starts a thread.
//!
//! Root may do everything, and so may a fault in its programs. `fulcrum run` keeps [`KEPT`] alone, and [`FOR_SCRIPTS`]
//! while there is a `script-user`: from every set of capabilities(7), so that programs which it starts have no more. No
//! program gives it back (`no_new_privs`), and nobody gets its memory as a core dump, in which keys would be.
//!
//! The kernel keeps capabilities for each thread, and there is only one when [`confine`] is called. It keeps
//! [`FOR_THE_START`] until the start is over ([`Confined::settle`]); others give that away as they begin.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

use crate::config;

/// What every thread keeps, and what for.
const KEPT: [(Capability, &str); 5] = [
    (
        Capability::CAP_NET_ADMIN,
        "attach to interfaces, set addresses and neighbours",
    ),
    (
        Capability::CAP_PERFMON,
        "load programs that compute with packet pointers",
    ),
    (Capability::CAP_BPF, "load programs and maps"),
    (Capability::CAP_NET_RAW, "probe the way of a service, and speak VRRP"),
    (Capability::CAP_NET_BIND_SERVICE, "listen on ports below 1024"),
];

/// How many of [`KEPT`], from the first, it cannot do without.
const NEEDED: usize = 3;

/// What is kept besides while programs run as `script-user`, and what for.
const FOR_SCRIPTS: [(Capability, &str); 3] = [
    (Capability::CAP_SETUID, "run programs as script-user"),
    (Capability::CAP_SETGID, "run programs with its groups"),
    (Capability::CAP_KILL, "end them"),
];

/// Mounts a bpffs at a `pin-dir` of one's own, and is told whose maps packets meet.
const FOR_THE_START: Capability = Capability::CAP_SYS_ADMIN;

/// Longest wait for threads that have just begun.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names the capabilities that this thread lacks and every command needs, and what to do; `None` when it has all.
#[must_use]
pub fn missing() -> Option<String> {
    lacking(&KEPT[..NEEDED], &effective()?)
}

/// The same, of those that `script-user` needs.
pub(super) fn missing_for_scripts() -> Option<String> {
    lacking(&FOR_SCRIPTS, &effective()?)
}

fn effective() -> Option<CapsHashSet> {
    caps::read(None, CapSet::Effective).ok()
}

fn lacking(needed: &[(Capability, &str)], effective: &CapsHashSet) -> Option<String> {
    let lacking: Vec<String> = needed
        .iter()
        .filter(|(capability, _)| !effective.contains(capability))
        .map(|(capability, purpose)| format!("{capability} (to {purpose})"))
        .collect();
    if lacking.is_empty() {
        return None;
    }
    Some(format!(
        "missing {}; run as root, or give the process these capabilities",
        lacking.join(", ")
    ))
}

/// A process that has given away what it does not need.
#[derive(Clone, Debug)]
pub struct Confined {
    kept: CapsHashSet,
}

/// Gives away what a daemon with the configuration at `path` does not need. To be called before there is another thread;
/// each that comes calls [`Confined::begin`].
///
/// # Errors
/// When the kernel does not let it.
pub fn confine(path: &Path) -> Result<Confined> {
    // What is wrong with it is said by who reads it to run it.
    let scripts = config::load(path).is_ok_and(|parsed| parsed.config.node.script_user.is_some());
    let confined = Confined { kept: kept(scripts) };
    prctl::set_no_new_privs().context("cannot set no_new_privs")?;
    prctl::set_dumpable(false).context("cannot keep the memory out of core dumps")?;
    let mut first = confined.kept.clone();
    first.insert(FOR_THE_START);
    bound(&confined.kept)
        .and_then(|()| limit(&first))
        .context("cannot give capabilities away")?;
    Ok(confined)
}

fn kept(scripts: bool) -> CapsHashSet {
    let of_scripts = FOR_SCRIPTS.iter().filter(|_| scripts);
    KEPT.iter()
        .chain(of_scripts)
        .map(|(capability, _)| *capability)
        .collect()
}

impl Confined {
    /// Gives away what the first thread alone keeps. What fails is seen by [`Self::settle`].
    pub fn begin(&self) {
        let _ = limit(&self.kept);
    }

    /// The start is over: no thread of this process may do more than is needed from now on.
    ///
    /// # Errors
    /// When one may.
    pub(super) async fn settle(&self) -> Result<()> {
        limit(&self.kept).context("cannot give capabilities away")?;
        let all = async {
            // Threads that this one has begun just now have not come to it yet.
            while let Some(thread) = self.beyond()? {
                tracing::debug!(thread, "a thread has yet to give capabilities away");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, all).await {
            Ok(done) => done,
            Err(_) => bail!("a thread of this process has kept capabilities that it shall not have"),
        }
    }

    /// A thread of this process that may do more.
    fn beyond(&self) -> Result<Option<String>> {
        let kept = self.kept.iter().fold(0, |mask, capability| mask | capability.bitmask());
        for thread in fs::read_dir("/proc/self/task").context("cannot list threads")? {
            let thread = thread.context("cannot list threads")?;
            let status = match fs::read_to_string(thread.path().join("status")) {
                Ok(status) => status,
                // It has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => continue,
                Err(error) => return Err(error).context("cannot look at a thread"),
            };
            if permitted(&status).is_none_or(|permitted| permitted & !kept != 0) {
                return Ok(Some(thread.file_name().to_string_lossy().into_owned()));
            }
        }
        Ok(None)
    }
}

/// The permitted set in /proc/PID/status.
fn permitted(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// What programs that this thread starts can have at most. Without `CAP_SETPCAP` it stays: with `no_new_privs` they have
/// no more than this thread all the same.
fn bound(kept: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    if !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        return Ok(());
    }
    for beyond in caps::read(None, CapSet::Bounding)?.difference(kept) {
        caps::drop(None, CapSet::Bounding, *beyond)?;
    }
    Ok(())
}

/// What this thread may do at most. A set that holds no more is left alone: under a manager that has seen to it, the call
/// may be forbidden. Ambient capabilities go with the inheritable ones.
fn limit(kept: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    let none = CapsHashSet::new();
    for (set, kept) in [
        (CapSet::Inheritable, &none),
        (CapSet::Effective, kept),
        (CapSet::Permitted, kept),
    ] {
        let now = caps::read(None, set)?;
        if !now.is_subset(kept) {
            caps::set(None, set, &now.intersection(kept).copied().collect())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = include_str!("../../../packaging/fulcrum.service");

    #[test]
    fn what_is_missing_is_named() {
        let mut all = caps::all();
        let missing = |set: &CapsHashSet| lacking(&KEPT[..NEEDED], set);
        assert_eq!(missing(&all), None);
        all.remove(&Capability::CAP_BPF);
        let text = missing(&all).unwrap();
        assert!(
            text.contains("CAP_BPF (to load programs and maps)") && !text.contains("CAP_NET_ADMIN"),
            "{text}"
        );
        assert!(missing(&CapsHashSet::new()).unwrap().contains("CAP_NET_ADMIN"));
    }

    #[test]
    fn the_unit_gives_what_is_kept_and_no_more() {
        let line = UNIT
            .lines()
            .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let given: CapsHashSet = line.unwrap().split(' ').map(|name| name.parse().unwrap()).collect();
        assert_eq!(given, kept(true));
        assert!(kept(false).is_subset(&given) && kept(false).len() == KEPT.len());
    }

    #[test]
    fn what_a_thread_may_do_is_read() {
        assert_eq!(
            permitted("Name:\tx\nCapPrm:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(permitted("Name:\tx\n"), None);
    }

    /// In a thread, since it keeps what it gives away to itself.
    #[test]
    fn a_thread_limits_itself_and_no_other() {
        let read =
            || [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable].map(|set| caps::read(None, set).unwrap());
        let before = read();
        let kept = kept(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                limit(&kept).unwrap();
                let [effective, permitted, inheritable] = read();
                assert!(effective.is_subset(&kept) && permitted.is_subset(&kept) && inheritable.is_empty());
                // Again, where there is nothing left to do.
                limit(&kept).unwrap();
            });
        });
        assert_eq!(read(), before);
    }
}
