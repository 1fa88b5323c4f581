//! The daemon, as a process that is looked at from outside.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_common::backend::{MacFlags, Member};
use lb_common::limits::MEMBERS;
use lb_user::api::Client;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::world::World;
use crate::node::Daemon;
use crate::pinned::Pinned;

/// Longest wait for a daemon to be ready, and for a change to reach the maps.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon that is ready.
pub(super) struct Running {
    daemon: Daemon,
    client: Client,
    clock: ClockId,
    backends: Backends,
    /// Of the backend whose weight changes.
    id: u32,
    /// From the start of the process until it has said `READY=1` and every backend may serve.
    pub(super) ready_after: Duration,
}

/// In MB.
pub(super) struct Memory {
    /// Pages that are the process's alone, and backed by nothing.
    pub(super) anonymous: f64,
    /// Those, and the pages of maps and of the program's text that it has touched.
    pub(super) resident: f64,
    /// The highest that `resident` has been.
    pub(super) peak: f64,
}

impl Running {
    /// Starts it, and waits until it says that it is ready: attached, maps written, every backend probed.
    pub(super) async fn start(world: &World) -> Result<Self> {
        let node = &world.node;
        let place = node.path("notify");
        let _ = fs::remove_file(&place);
        let manager = UnixDatagram::bind(&place)?;
        manager.set_read_timeout(Some(PATIENCE))?;
        let config = node.path("fulcrum.toml");
        let mut command = node.command(&["run", "-c", &config.to_string_lossy()]);
        command.env("NOTIFY_SOCKET", &place);
        let began = Instant::now();
        let daemon = node.spawn(&mut command);
        let mut message = [0; 4096];
        loop {
            let length = manager
                .recv(&mut message)
                .with_context(|| format!("it does not become ready:\n{}", node.log()))?;
            if String::from_utf8_lossy(&message[..length])
                .lines()
                .any(|line| line == "READY=1")
            {
                break;
            }
        }
        let backends = Backends::pinned(&node.path("bpf"))?;
        backends.wait_for(world.backends)?;
        let ready_after = began.elapsed();
        let clock = clock_getcpuclockid(Pid::from_raw(daemon.pid().cast_signed()))?;
        let id = backends.find(World::first_backend())?;
        let running = Self {
            daemon,
            client: node.client(),
            clock,
            backends,
            id,
            ready_after,
        };
        running.expect_whole().await?;
        Ok(running)
    }

    /// Everything serves, and nothing was refused.
    pub(super) async fn expect_whole(&self) -> Result<()> {
        let status = self.client.status().await?;
        let refused = status.fault.or(status.refused_reload);
        ensure!(refused.is_none(), "the node is not as it should be: {refused:?}");
        let backends = status.services.iter().flat_map(|s| &s.backends);
        let idle = backends.filter(|backend| backend.slots == 0).count();
        ensure!(idle == 0, "{idle} backends do not serve");
        Ok(())
    }

    /// Ends it; the program and its maps stay.
    pub(super) fn stop(self) -> Result<()> {
        let code = self.daemon.end(Signal::SIGTERM);
        ensure!(code == Some(0), "it ended with {code:?}");
        Ok(())
    }

    /// What all its threads have had of the processors, those that have ended included. What the kernel does for it
    /// counts, and in these namespaces the backends' side of a connection with it: a veth hands packets over in the
    /// sender's time.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock)?.into())
    }

    /// Asks for a reload, and waits until the maps have it.
    pub(super) async fn reload(&self) -> Result<()> {
        let reloaded = self.client.reload().await?;
        ensure!(reloaded.fault.is_none(), "it was not taken: {:?}", reloaded.fault);
        Ok(())
    }

    pub(super) fn expect_weight(&self, weight: u16) -> Result<()> {
        let found = self.backends.0.get(self.id).weight;
        ensure!(found == weight, "the maps have weight {found}, not {weight}");
        Ok(())
    }

    /// Looks at the map, again and again, until it has this weight.
    pub(super) fn wait_for_weight(&self, weight: u16) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.expect_weight(weight).is_err() {
            ensure!(Instant::now() < deadline, "the maps do not get weight {weight}");
            std::thread::yield_now();
        }
        Ok(())
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        let file = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.daemon.pid()));
        let (rollup, status) = (file("smaps_rollup")?, file("status")?);
        Ok(Memory {
            anonymous: megabytes(&rollup, "Anonymous:")?,
            resident: megabytes(&rollup, "Rss:")?,
            peak: megabytes(&status, "VmHWM:")?,
        })
    }
}

/// `BACKENDS`, as the kernel has it.
struct Backends(Pinned<Member>);

impl Backends {
    fn pinned(pins: &Path) -> Result<Self> {
        Pinned::open(pins, "BACKENDS", MEMBERS).map(Self)
    }

    /// Looks, again and again, until so many are alive and their next hops known.
    fn wait_for(&self, backends: u32) -> Result<()> {
        const BOTH: u16 = MacFlags::ALIVE | MacFlags::RESOLVED;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let serving = self
                .0
                .all()
                .filter(|(_, member)| member.next_hop.flags() & BOTH == BOTH)
                .count();
            if serving >= backends as usize {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{serving} of {backends} backends serve");
            std::thread::yield_now();
        }
    }

    /// The id of a backend.
    fn find(&self, address: SocketAddr) -> Result<u32> {
        let is_it = |member: &Member| (member.address.to_ip(), member.port.host()) == (address.ip(), address.port());
        let found = self.0.all().find(|(_, member)| is_it(member));
        found
            .map(|(id, _)| id)
            .with_context(|| format!("BACKENDS has no {address}"))
    }
}

/// A line of a file of /proc that counts in kB.
fn megabytes(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: f64 = kilobytes.with_context(|| format!("no {name}"))?.trim().parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}
