//! A TCP connection that is opened and reset: somebody listens, and the backend's kernel has room for one more.
//!
//! Nothing is said on the connection, so a server that greets first sees a client that left.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{Answer, Call, Deadline, Failure, Phase};

pub(super) async fn probe(call: Call<'_>) -> Result<Answer, Failure> {
    connect(call.address(), call.deadline).await?;
    Ok(Answer::Connected)
}

/// A connection that is reset when dropped.
pub(super) async fn connect(address: SocketAddr, deadline: Deadline) -> Result<TcpStream, Failure> {
    let stream = deadline.bound(Phase::Connecting, TcpStream::connect(address)).await??;
    stream.set_zero_linger()?;
    // A port of this node that is free and in the ephemeral range can be given to the probe itself, which then meets
    // itself (RFC 9293 §3.5, simultaneous open). Nobody listens there.
    if stream.local_addr()? == address {
        return Err(Failure::Refused);
    }
    Ok(stream)
}
