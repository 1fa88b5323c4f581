//! What the kernel measures of programs: how long they have run, and how often.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

use super::LoadError;
use super::pins;

/// Of a program, since it was loaded, while somebody had it measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTime {
    /// All runs together. What the program hands a packet on to is in it.
    pub time: Duration,
    /// Packets.
    pub runs: u64,
}

/// Has the kernel measure all programs until this is dropped. Each packet then costs two readings of its clock more.
///
/// # Errors
/// When the kernel refuses: older than Linux 5.8, or privileges are missing.
pub fn measure_run_time() -> Result<OwnedFd, LoadError> {
    enable_stats(Stats::RunTime).map_err(failed)
}

/// Of the programs that are attached by the links pinned below `pin_dir`.
///
/// # Errors
/// When a pin cannot be read, or the kernel refuses.
pub fn run_time(pin_dir: &Path) -> Result<RunTime, LoadError> {
    let mut attached = Vec::new();
    for path in pins::entries(&pins::links_folder(pin_dir)).map_err(LoadError::from)? {
        let link = FdLink::from(PinnedLink::from_pin(&path).map_err(failed)?);
        attached.push(link.info().map_err(failed)?.program_id());
    }
    let mut sum = RunTime::default();
    for info in loaded_programs() {
        let info = info.map_err(failed)?;
        if attached.contains(&info.id()) {
            sum.time += info.run_time();
            sum.runs += info.run_count();
        }
    }
    Ok(sum)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> LoadError {
    LoadError::Program {
        verb: "measure",
        source: Box::new(error),
    }
}
