//! Flows by the thousand: one datagram each, so many in a second.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lb_user::net::Namespace;

/// The first port of a client; it has those from there on.
const FIRST: u16 = 1_024;

/// Flows that one address has ports for.
const OF_EACH: u32 = 60_000;

/// Datagrams between two looks at the clock.
const AT_ONCE: u32 = 50;

/// Sends `flows` datagrams to an address, `rate` in a second, each from an address and port of its own.
///
/// # Panics
/// When one cannot be sent, or the addresses are too few.
pub fn knock(client: &Namespace, from: &[IpAddr], to: SocketAddr, flows: u32, rate: u32) {
    let begun = Instant::now();
    let sent = client.run_inside(|| {
        (0..flows).try_for_each(|number| {
            if number.is_multiple_of(AT_ONCE) {
                let due = begun + Duration::from_secs(1) * number / rate;
                sleep(due.saturating_duration_since(Instant::now()));
            }
            let port = FIRST + (number % OF_EACH) as u16;
            let socket = UdpSocket::bind((from[(number / OF_EACH) as usize], port))?;
            socket.send_to(b"knock", to).map(drop)
        })
    });
    sent.expect("a namespace").expect("a datagram");
}
