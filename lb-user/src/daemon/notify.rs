//! What the service manager is told (sd_notify(3)): that the daemon serves, reads its file again, still works, stops.
//!
//! `READY=1` is held back until the program is attached everywhere, the maps are as the file wants them and every backend
//! has been probed once; but not longer than [`PATIENCE`], since the daemon serves what it can by then, and restarting it
//! would help nobody. `STATUS=` says what is amiss. `WATCHDOG=1` is sent for answers of the reconciler alone: when the loop
//! that keeps the maps right stands still, the manager hears nothing, and starts the daemon anew.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::control::Handle;
use crate::model::count;
use crate::model::status::Pulse;

/// Longest wait for a node that is as it should be before it is called ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two questions before that.
const SOON: Duration = Duration::from_millis(100);

/// Between two questions afterwards, at most: bounds how old `STATUS=` is.
const LATER: Duration = Duration::from_secs(10);

/// How often the file has been read. While more reads have begun than ended, one is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) begun: u64,
    pub(super) ended: u64,
}

/// The service manager.
#[derive(Debug)]
pub(super) struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// It expects to hear from the daemon this often.
    watchdog: Option<Duration>,
    /// It has been told that the daemon serves.
    ready: AtomicBool,
}

impl Manager {
    /// The one that has started this process, by its environment; `None` where nobody listens.
    pub(super) fn from_environment() -> Option<Self> {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        let variable = |name| env::var(name).ok()?.parse::<u64>().ok();
        let for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let period = variable("WATCHDOG_USEC").filter(|period| for_us && *period > 0);
        match Self::new(&address, period.map(Duration::from_micros)) {
            Ok(manager) => Some(manager),
            Err(error) => {
                tracing::warn!(%error, path = ?address, "NOTIFY_SOCKET cannot be used, so the service manager hears nothing");
                None
            }
        }
    }

    /// At a path, or with `@` first, at an abstract address (unix(7)).
    fn new(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read shall not keep the daemon from working.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address,
            watchdog,
            ready: AtomicBool::new(false),
        })
    }

    /// Not connected beforehand: the manager may make its socket anew.
    fn say(&self, what: &str) {
        if let Err(error) = self.socket.send_to_addr(what.as_bytes(), &self.address) {
            tracing::debug!(%error, what, "the service manager does not listen");
        }
    }

    /// The file is about to be read. Before the daemon serves that is part of the start.
    pub(super) fn reloading(&self) {
        if !self.ready.load(Ordering::Relaxed) {
            return;
        }
        // The manager tells by this time whether it is the reload that it has asked for.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let now = now.unwrap_or_default().as_micros();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// Another process is the daemon from now on.
    pub(super) fn succeeded(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
    }

    /// The daemon ends.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=Stopping; packets keep flowing");
    }

    fn period(&self) -> Duration {
        if !self.ready.load(Ordering::Relaxed) {
            return SOON;
        }
        // Thrice as often as it has to be: one that is late is no reason to be killed.
        self.watchdog.map_or(LATER, |period| (period / 3).min(LATER))
    }
}

/// Tells `manager` how the node is, until the reconciler has gone.
pub(super) async fn run(manager: Arc<Manager>, node: Handle, mut reads: watch::Receiver<Reads>) {
    let patience = Instant::now() + PATIENCE;
    // Of the reads that have ended, those that the manager has heard of; and what it was told last.
    let (mut heard, mut said) = (0, String::new());
    loop {
        tokio::select! {
            () = sleep(manager.period()) => {}
            changed = reads.changed() => if changed.is_err() {
                return;
            },
        }
        let before = *reads.borrow_and_update();
        if before.begun > before.ended {
            continue;
        }
        // What a read has brought is in the maps when this is answered.
        let Ok(pulse) = node.pulse().await else { return };
        if *reads.borrow() != before {
            continue;
        }
        let mut message = String::new();
        let ready = manager.ready.load(Ordering::Relaxed);
        let serves = ready || is_ready(&pulse) || Instant::now() >= patience;
        if serves && (!ready || heard != before.ended) {
            message += "READY=1\n";
        }
        heard = before.ended;
        if serves && manager.watchdog.is_some() {
            message += "WATCHDOG=1\n";
        }
        let status = status(&pulse);
        if status != said {
            message += &format!("STATUS={status}\n");
            said = status;
        }
        manager.ready.store(serves, Ordering::Relaxed);
        if !message.is_empty() {
            manager.say(message.trim_end());
        }
    }
}

/// Is everything as it should be?
fn is_ready(pulse: &Pulse) -> bool {
    pulse.settled && pulse.unattached.is_empty() && pulse.fault.is_none()
}

/// One line for `systemctl status`: what there is, then what is amiss.
fn status(pulse: &Pulse) -> String {
    let mut text = format!(
        "{}, {}",
        count(pulse.services, "service"),
        count(pulse.backends, "backend")
    );
    if pulse.down > 0 {
        text += &format!(", {} down", pulse.down);
    }
    if !pulse.settled {
        text += "; not all backends have been probed yet";
    }
    if pulse.draining {
        text += "; the node drains";
    }
    if !pulse.unattached.is_empty() {
        text += &format!("; not attached to {}", pulse.unattached.join(", "));
    }
    if pulse.refused {
        text += "; the file was refused, an older one runs";
    }
    if let Some(fault) = &pulse.fault {
        text += &format!("; the kernel is not as the file wants it: {fault}");
    }
    // A line is all that the protocol has room for.
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests;
