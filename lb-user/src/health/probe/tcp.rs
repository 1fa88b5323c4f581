//! A TCP connection that is opened and reset: somebody listens, and the backend's kernel has room for one more.
//!
//! Nothing is said on the connection, so a server that greets first sees a client that left.

use super::link::connect;
use super::{Answer, Call, Failure};

pub(super) async fn probe(call: Call<'_>) -> Result<Answer, Failure> {
    connect(call).await?;
    Ok(Answer::Connected)
}
