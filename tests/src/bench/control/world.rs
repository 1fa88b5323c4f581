//! A machine with many services, and one namespace that is all their backends.
//!
//! ```text
//!   node ── eth0 10.9.0.1 ───── 10.9.0.11 ── outside: 10.128.0.0/9 is its own
//! ```
//!
//! The node reaches every backend through one router, so one neighbour is enough: a kernel keeps 1,024 of them unless
//! `net.ipv4.neigh.default.gc_thresh3` is raised, which belongs to the machine and not to a namespace.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_user::net::{LOOPBACK, Net};
use nix::sys::socket::{Shutdown, shutdown};

use super::{INTERVAL, Options};
use crate::node::Node;

/// Where backends are, and how many there can be.
const BACKENDS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 9);

/// Where VIPs are.
const VIPS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Port of every service and backend.
const PORT: u16 = 80;

/// Longest wait for as many probes as there are backends.
const PATIENCE: Duration = Duration::from_secs(120);

/// See the module.
pub(super) struct World {
    pub(super) node: Node,
    pub(super) probes: Probes,
    /// How many backends it has.
    pub(super) backends: u32,
    /// Of the file.
    text: String,
    /// The weight of the first backend of the first service.
    weight: u16,
}

impl World {
    pub(super) async fn new(options: &Options) -> Result<Self> {
        let node = Node::new().await;
        let net = Net::inside(&node.outside)?;
        net.set_up(LOOPBACK).await?;
        net.add_local(BACKENDS.0, BACKENDS.1).await?;
        let net = Net::inside(&node.namespace)?;
        let router = Ipv4Addr::new(10, 9, 0, 11);
        net.add_route(BACKENDS.0.into(), BACKENDS.1, router.into()).await?;
        let probes = Probes::answer(&node)?;
        let mut world = Self {
            backends: options.services * options.backends,
            text: node.head("eth0") + &services(options)?,
            node,
            probes,
            weight: 1,
        };
        world.change()?;
        world.write();
        Ok(world)
    }

    /// The backend whose weight changes.
    pub(super) fn first_backend() -> SocketAddr {
        address(BACKENDS.0, 1)
    }

    /// Another weight for one backend: the line of the file that changes with the next [`Self::write`].
    pub(super) fn change(&mut self) -> Result<u16> {
        let line = |weight: u16| format!("address = \"{}\"\nweight = {weight}\n", Self::first_backend());
        let (before, after) = (line(self.weight), line(self.weight % 100 + 1));
        ensure!(self.text.contains(&before), "the file lacks its first backend");
        self.text = self.text.replacen(&before, &after, 1);
        self.weight = self.weight % 100 + 1;
        Ok(self.weight)
    }

    /// Puts the file in place.
    pub(super) fn write(&self) {
        self.node.configure(&self.text);
    }

    /// Removes what an earlier daemon has left.
    pub(super) fn detach(&self) -> Result<()> {
        let output = self.node.run("detach");
        ensure!(
            output.status.success(),
            "detach failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// Host number `index` of a network, from 1.
fn address(network: Ipv4Addr, index: u32) -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::from(u32::from(network) + index), PORT).into()
}

fn services(options: &Options) -> Result<String> {
    let Options {
        services,
        backends,
        mode,
        ..
    } = options;
    let total = u64::from(*services) * u64::from(*backends);
    ensure!(
        total < 1 << (32 - u32::from(BACKENDS.1)) && *services < 1 << 16,
        "so many do not fit"
    );
    let mut text = String::new();
    for service in 0..*services {
        let vip = address(VIPS, service + 1);
        let _ = write!(
            text,
            "[[service]]\nname = \"s{service}\"\naddress = \"{vip}\"\nmode = \"{mode}\"\n[service.health]\nkind = \"tcp\"\n\
             interval = \"{}s\"\ntimeout = \"2s\"\n",
            INTERVAL.as_secs()
        );
        for backend in 0..*backends {
            let address = address(BACKENDS.0, service * backends + backend + 1);
            let _ = write!(text, "[[service.backend]]\naddress = \"{address}\"\nweight = 1\n");
        }
    }
    Ok(text)
}

/// Everybody who listens on the backends' addresses, and how often they have been probed.
pub(super) struct Probes {
    seen: Arc<(Mutex<u64>, Condvar)>,
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Probes {
    fn answer(node: &Node) -> Result<Self> {
        let listener = node
            .outside
            .run_inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))?
            .context("a listener for the backends")?;
        let seen = Arc::new((Mutex::new(0), Condvar::new()));
        let (accepting, counter) = (listener.try_clone()?, Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            for probe in accepting.incoming() {
                if probe.is_err() {
                    return;
                }
                *counter.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                counter.1.notify_all();
            }
        });
        Ok(Self {
            seen,
            listener,
            thread: Some(thread),
        })
    }

    /// Waits until so many more have come.
    pub(super) fn wait_for(&self, more: u64) -> Result<()> {
        let (count, changed) = &*self.seen;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = *count + more;
        let waited = changed.wait_timeout_while(count, PATIENCE, |count| *count < wanted);
        let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(*count >= wanted, "backends are not probed as often as they should be");
        Ok(())
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        self.thread.take().map(JoinHandle::join);
    }
}
