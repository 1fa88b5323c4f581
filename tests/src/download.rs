//! A long answer of the labs' server, read slowly by curl: what happens meanwhile happens in its middle.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lb_user::net::Namespace;

use crate::node::DEADLINE;
use crate::segment::Process;

/// 64 KiB at most, then this pause, until there is no reason to be slow: 3 MB/s, so that 200 MB last for a minute at least.
const PAUSE: Duration = Duration::from_millis(20);

/// More than what is under way at any moment: curl's buffers, a pipe of 64 KiB, and the client's receive buffer, which
/// [`Download::BOUNDS`] keeps at 256 KiB.
const UNDER_WAY: u64 = 1 << 20;

/// A download. The client is killed on drop.
pub struct Download {
    name: &'static str,
    curl: Process,
    shared: Arc<Shared>,
    reader: JoinHandle<Result<u64, String>>,
    length: u64,
}

#[derive(Default)]
struct Shared {
    read: AtomicU64,
    hurry: AtomicBool,
}

impl Download {
    /// The sysctl of the client's namespace that bounds how much of a download is under way.
    pub const BOUNDS: (&str, &str) = ("ipv4/tcp_rmem", "4096 131072 262144");

    /// Begins to fetch `length` bytes from `server`, from a port of the client's.
    ///
    /// # Panics
    /// When curl cannot be started.
    #[must_use]
    pub fn start(name: &'static str, client: &Namespace, port: u16, server: SocketAddr, length: u64) -> Self {
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--no-buffer", "-m", "600", "--local-port", &port.to_string()])
            .arg(format!("http://{server}/bytes/{length}"));
        let mut curl = Process::start(client, &mut command);
        let mut output = curl.take_output();
        let shared = Arc::new(Shared::default());
        let reader = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let (mut at, mut buffer) = (0, vec![0; 1 << 16]);
                loop {
                    let count = output.read(&mut buffer).map_err(|e| e.to_string())?;
                    if count == 0 {
                        return Ok(at);
                    }
                    if let Some(place) = wrong(&buffer[..count], at) {
                        return Err(format!("what begins at {place} is not what was sent"));
                    }
                    at += count as u64;
                    shared.read.store(at, Ordering::Relaxed);
                    if !shared.hurry.load(Ordering::Relaxed) {
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        });
        Self {
            name,
            curl,
            shared,
            reader,
            length,
        }
    }

    /// Waits until everything that was under way has been read, and more: so packets still come.
    ///
    /// # Panics
    /// When none do, or when it comes to its end: then nothing happens in its middle any more.
    pub async fn goes_on(&self, what: &str) {
        let Self { name, length, .. } = self;
        let begun = self.shared.read.load(Ordering::Relaxed);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let read = self.shared.read.load(Ordering::Relaxed);
            assert!(
                read + UNDER_WAY < *length,
                "{name} is over: it was to last longer than {what}"
            );
            if read > begun + UNDER_WAY {
                return;
            }
            assert!(!self.reader.is_finished(), "{name} breaks off at {read}: {what}");
            assert!(Instant::now() < deadline, "{name} stands still at {read}: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads the rest at full speed. Every byte has to come, each in its place.
    ///
    /// # Panics
    /// When that is not so.
    pub fn finish(mut self) {
        self.shared.hurry.store(true, Ordering::Relaxed);
        let read = self.reader.join().expect("no panic");
        let status = self.curl.child.wait().expect("curl");
        assert_eq!((read, status.code()), (Ok(self.length), Some(0)), "{}", self.name);
    }
}

/// Where the first of the units of 1 KiB begins that is not as `fulcrum lab serve` sends it: each begins with its number.
fn wrong(mut bytes: &[u8], mut at: u64) -> Option<u64> {
    let mut unit: [u8; 1024] = std::array::from_fn(|place| place as u8);
    while !bytes.is_empty() {
        unit[..8].copy_from_slice(&(at / 1024).to_be_bytes());
        let expected = &unit[(at % 1024) as usize..];
        let (part, rest) = bytes.split_at(bytes.len().min(expected.len()));
        if *part != expected[..part.len()] {
            return Some(at);
        }
        (bytes, at) = (rest, at + part.len() as u64);
    }
    None
}
