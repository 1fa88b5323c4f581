//! Against real sockets on loopback.

mod datagrams;
mod http;
mod script;
mod tls;

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::model::{HealthCheck, HttpProbe, MemberKey, ProbeCounts, Via};
use crate::process::Programs;

pub(super) const LONG: Duration = Duration::from_secs(30);
pub(super) const SHORT: Duration = Duration::from_millis(100);

/// Enough for all that comes before what is waited for in vain, also where the machine has much else to do.
pub(super) const MEDIUM: Duration = Duration::from_secs(10);

fn http(path: &str) -> HealthKind {
    let path = path.to_owned();
    HealthKind::Http(Arc::new(HttpProbe {
        path,
        ..HttpProbe::default()
    }))
}

/// Probes a backend as the driver would.
pub(super) async fn probe(kind: &HealthKind, address: SocketAddr, timeout: Duration) -> Result<Success, Failure> {
    probe_and_count(kind, address, timeout).await.0
}

/// The same, and what the probe has noted.
async fn probe_and_count(
    kind: &HealthKind,
    address: SocketAddr,
    timeout: Duration,
) -> (Result<Success, Failure>, ProbeCounts) {
    let target = target(kind, address, timeout);
    let probes = Probes::default();
    let result = super::probe(&target, &probes, &Means::new(Net::here().unwrap(), Programs::default())).await;
    (result, probes.counts())
}

fn target(kind: &HealthKind, address: SocketAddr, timeout: Duration) -> Target {
    Target {
        member: MemberKey {
            service: "web".into(),
            backend: address,
        },
        name: "web1".into(),
        check: HealthCheck {
            via: Via::Address,
            kind: kind.clone(),
            interval: timeout,
            timeout,
            rise: NonZeroU32::MIN,
            fall: NonZeroU32::MIN,
            slow_start: None,
            quorum: NonZeroU32::MIN,
        },
        path: None,
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that answers one connection with `response`, and returns what it was asked and how the connection ended.
async fn served(response: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<(String, io::Result<usize>)>) {
    let (listener, address) = listener().await;
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut request).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let _ = stream.write_all(response).await;
        // No shutdown yet: a probe must not wait for the end of a connection that it has no more use for.
        let end = stream.read(&mut [0]).await;
        (String::from_utf8(request).unwrap(), end)
    });
    (address, task)
}

#[tokio::test]
async fn tcp_connects_and_resets() {
    let (listener, address) = listener().await;
    let success = probe(&HealthKind::Tcp, address, LONG).await.unwrap();
    assert_eq!(success.answer, Answer::Connected);
    let (mut stream, _) = listener.accept().await.unwrap();
    let end = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset, "no TIME_WAIT on the prober");
}

#[tokio::test]
async fn both_kinds_say_when_nobody_listens() {
    // Held, so that nobody else listens there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    for kind in [HealthKind::Tcp, http("/")] {
        let failure = probe(&kind, address, LONG).await.unwrap_err();
        assert_eq!(
            (&failure, failure.to_string()),
            (&Failure::Refused, "connection refused".to_owned())
        );
    }
}

#[tokio::test]
async fn a_full_accept_queue_is_a_time_out() {
    // Loopback has no black hole without privileges, but a listener whose queue is full drops SYNs.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut kept = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        kept.push(stream);
        assert!(kept.len() < 100, "the queue never fills");
    }
    let failure = probe(&HealthKind::Tcp, address, SHORT).await.unwrap_err();
    assert_eq!(failure.to_string(), "timed out after 100ms while connecting");
}

#[tokio::test]
async fn what_this_node_lacks_is_not_the_backends_fault() {
    let failure = probe(&http("/a b"), "127.0.0.1:9".parse().unwrap(), LONG)
        .await
        .unwrap_err();
    assert_eq!(
        failure.to_string(),
        "this node could not probe: \"/a b\" is no request target"
    );
    use nix::errno::Errno;
    for errno in [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::EADDRNOTAVAIL,
        Errno::ENOBUFS,
        Errno::EPERM,
    ] {
        let failure = Failure::from(io::Error::from_raw_os_error(errno as i32));
        assert!(matches!(failure, Failure::Local(_)), "{errno}");
    }
    for errno in [
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::ECONNRESET,
        Errno::ETIMEDOUT,
    ] {
        let failure = Failure::from(io::Error::from_raw_os_error(errno as i32));
        assert!(matches!(failure, Failure::Unreachable { .. }), "{errno}");
    }
}

/// A next hop that is not there is the backend's, one that is being looked for is nobody's. Nothing is opened for either.
#[tokio::test]
async fn without_a_next_hop_nothing_is_sent() {
    use crate::model::{NextHopState, ServicePath};
    let mut target = target(&HealthKind::Tcp, "10.0.0.6:80".parse().unwrap(), LONG);
    for (next_hop, expected) in [
        (
            NextHopState::Unresolved("no answer".to_owned()),
            Failure::NoWay("no answer".to_owned()),
        ),
        (
            NextHopState::Pending("asked".to_owned()),
            Failure::Local("asked".to_owned()),
        ),
    ] {
        target.path = Some(ServicePath {
            vips: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            tunnel: None,
            next_hop,
            not_sources: Arc::default(),
        });
        let means = Means::new(Net::here().unwrap(), Programs::default());
        let failure = super::probe(&target, &Probes::default(), &means).await.unwrap_err();
        assert_eq!(failure, expected);
    }
}

#[test]
fn successes_in_words() {
    let took = Duration::from_micros(1_249);
    let words = |answer| Success { answer, took }.to_string();
    assert_eq!(words(Answer::Connected), "connected in 1.2 ms");
    assert_eq!(words(Answer::Status(200)), "status 200 in 1.2 ms");
    assert_eq!(words(Answer::NotProbed), "not probed");
}
