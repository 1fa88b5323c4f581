//! SYNs from sources that nobody has, at a bounded rate, within a test's namespaces.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lb_user::net::Namespace;
use nix::libc;

use crate::packet::{self, SYN};

/// So many, and then this pause: 10,000 per second at most.
const BURST: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A flood, until it is dropped. Its sources are in 10.66.0.0/16 or fd66::/64, which no host of a segment has a route to.
pub struct Flood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    ended: AtomicBool,
}

impl Flood {
    /// Begins to send to `to` from a host.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn start(host: &Namespace, to: SocketAddr) -> Self {
        let socket = host.run_inside(|| raw(to.ip()));
        let socket = socket.expect("a namespace").expect("a raw socket");
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || run(&socket, to, &shared)
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// SYNs that have been sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the flood has ended early");
        }
    }
}

/// A socket of the calling thread's namespace that takes packets with their IP header, from whatever source. As a `UdpSocket`,
/// which can send to an address.
///
/// # Errors
/// When the kernel refuses.
pub fn raw(to: IpAddr) -> io::Result<UdpSocket> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a call without pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for nobody else.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert!(owned.as_raw_fd() == fd);
    Ok(owned.into())
}

fn run(socket: &UdpSocket, to: SocketAddr, shared: &Shared) {
    // A source that comes again would make its flow look alive.
    let mut number = 0_u32;
    while !shared.ended.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            number += 1;
            // An odd factor: each of 2^31 comes once.
            let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_le_bytes();
            let source = if to.is_ipv4() {
                [10, 66, a, b].into()
            } else {
                Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, a.into(), b.into()).into()
            };
            let from = SocketAddr::new(source, u16::from_le_bytes([c, d]) | 0x8000);
            let packet = packet::tcp(from, to, SYN, b"");
            // A full queue is no reason to end.
            if socket.send_to(&packet, (to.ip(), 0)).is_ok() {
                shared.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(PAUSE);
    }
}
