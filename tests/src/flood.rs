//! SYNs from sources that nobody has, at a bounded rate, within a test's namespaces.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lb_common::csum;
use lb_user::net::Namespace;
use nix::libc;

/// So many, and then this pause: 10,000 per second at most.
const BURST: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A flood, until it is dropped. Its sources are in 10.66.0.0/16, which no host of a segment has a route to.
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
    pub fn start(host: &Namespace, to: SocketAddrV4) -> Self {
        let socket = host.run_inside(raw).expect("a namespace").expect("a raw socket");
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

/// A socket that takes packets with their IPv4 header. As a `UdpSocket`, which can send to an address.
fn raw() -> io::Result<UdpSocket> {
    // SAFETY: a call without pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for nobody else.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert!(owned.as_raw_fd() == fd);
    Ok(owned.into())
}

fn run(socket: &UdpSocket, to: SocketAddrV4, shared: &Shared) {
    // Sources and sequence numbers of a flow that comes again would make it look alive.
    let mut number = 0_u32;
    while !shared.ended.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            number += 1;
            // An odd factor: each of 2^31 comes once.
            let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_le_bytes();
            let from = SocketAddrV4::new([10, 66, a, b].into(), u16::from_le_bytes([c, d]) | 0x8000);
            let packet = syn(from, to, number);
            // A full queue is no reason to end.
            if socket.send_to(&packet, (*to.ip(), 0)).is_ok() {
                shared.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(PAUSE);
    }
}

/// A SYN without options. The kernel fills in the IPv4 checksum.
fn syn(from: SocketAddrV4, to: SocketAddrV4, sequence: u32) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    packet[20..22].copy_from_slice(&from.port().to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..28].copy_from_slice(&sequence.to_be_bytes());
    packet[32..36].copy_from_slice(&[0x50, 0x02, 0xff, 0xff]);
    let sum = checksum(*from.ip(), *to.ip(), &packet[20..]);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The TCP checksum (RFC 9293 §3.1).
fn checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8]) -> u16 {
    let (from, to, length) = (from.octets(), to.octets(), segment.len() as u16);
    let pseudo = [&from[..], &to, &[0, 6], &length.to_be_bytes()].concat();
    let words = pseudo.chunks(2).chain(segment.chunks(2));
    csum::fold(
        words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum(),
    )
}
