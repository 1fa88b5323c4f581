//! A datagram, and what comes back: an answer, or an ICMP error.

use super::link::Datagrams;
use super::{Answer, Call, Failure, Phase};
use crate::model::UdpProbe;

/// Longest answer that is looked at, in bytes; of a longer one, this much.
const MAX_ANSWER: usize = 4_096;

pub(super) async fn probe(check: &UdpProbe, call: Call<'_>) -> Result<Answer, Failure> {
    let mut datagrams = Datagrams::open(call).await?;
    datagrams.send(&check.payload).await?;
    let mut answer = [0; MAX_ANSWER];
    let answered = call
        .deadline
        .bound(Phase::Waiting, datagrams.receive(&mut answer))
        .await;
    let length = match answered {
        Ok(received) => received?,
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
