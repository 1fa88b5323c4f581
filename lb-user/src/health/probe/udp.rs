//! A datagram, and what comes back: an answer, or an ICMP error.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use tokio::net::UdpSocket;

use super::{Answer, Call, Failure, Phase};
use crate::model::UdpProbe;

/// Longest answer that is looked at, in bytes; of a longer one, this much.
const MAX_ANSWER: usize = 4_096;

pub(super) async fn probe(check: &UdpProbe, call: Call<'_>) -> Result<Answer, Failure> {
    let socket = open(call.address()).await?;
    socket.send(&check.payload).await.map_err(failure)?;
    let mut answer = [0; MAX_ANSWER];
    let length = match call.deadline.bound(Phase::Waiting, socket.recv(&mut answer)).await {
        Ok(received) => received.map_err(failure)?,
        Err(_late) if !check.expect_answer => return Ok(Answer::Silent),
        Err(late) => return Err(late),
    };
    let expect = &check.expect;
    if expect.is_empty() || answer[..length].windows(expect.len()).any(|part| part == expect) {
        Ok(Answer::Answered)
    } else {
        Err(Failure::Unexpected)
    }
}

/// A socket that hears nobody but `address`, and the ICMP errors about it.
pub(super) async fn open(address: SocketAddr) -> Result<UdpSocket, Failure> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    // As with TCP: the probe may have got the very port that it probes, and would hear itself.
    if socket.local_addr()? == address {
        return Err(unreachable());
    }
    Ok(socket)
}

pub(super) fn failure(error: io::Error) -> Failure {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => unreachable(),
        _ => error.into(),
    }
}

/// What the kernel calls a refused connection, though there is none.
fn unreachable() -> Failure {
    Failure::Unreachable {
        kind: io::ErrorKind::ConnectionRefused,
        text: "port unreachable",
    }
}
