//! A question to a name server over UDP, and whether the answer is good (RFC 1035 §4.1).
//!
//! Only what answers the question counts: a message with another id or another question is passed over, since anybody
//! can send one.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use super::link::Datagrams;
use super::{Answer, Call, Phase};
use crate::model::{DnsProbe, RecordType};

/// Longest answer that is read, in bytes; of a longer one, this much.
const MAX_ANSWER: usize = 4_096;

/// Bytes of a message's header, and of a question behind its name.
const HEADER: usize = 12;
const TYPE_AND_CLASS: usize = 4;

/// Bits of the third byte: an answer; recursion is desired.
const QR: u8 = 0x80;
const RD: u8 = 0x01;

/// Class `IN`.
const IN: u16 = 1;

/// Why a name server's answer is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// With another code than NOERROR.
    #[error("{}, wanted NOERROR", rcode(*.0))]
    Code(u8),
    /// Without a record of the type that was asked for.
    #[error("no {} record in the answer", .0.label())]
    NoRecord(RecordType),
    /// It breaks off, or is about something else.
    #[error("no answer to the question")]
    Stray,
}

fn rcode(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        9 => "NOTAUTH".to_owned(),
        _ => format!("code {code}"),
    }
}

pub(super) async fn probe(check: &DnsProbe, call: Call<'_>) -> Result<Answer, super::Failure> {
    let mut datagrams = Datagrams::open(call).await?;
    // Its keys are random.
    let id = RandomState::new().build_hasher().finish() as u16;
    let query = query(id, &check.name, check.record);
    datagrams.send(&query).await?;
    let mut answer = [0; MAX_ANSWER];
    let mut heard = false;
    loop {
        let answered = call
            .deadline
            .bound(Phase::Waiting, datagrams.receive(&mut answer))
            .await;
        let length = match answered {
            Ok(received) => received?,
            Err(_late) if heard => return Err(Failure::Stray.into()),
            Err(late) => return Err(late),
        };
        match judge(&answer[..length], &query, check) {
            Ok(()) => return Ok(Answer::Resolved),
            Err(Failure::Stray) => heard = true,
            Err(failure) => return Err(failure.into()),
        }
    }
}

fn query(id: u16, name: &str, record: RecordType) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(id.to_be_bytes());
    message.extend([RD, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend((record as u16).to_be_bytes());
    message.extend(IN.to_be_bytes());
    message
}

/// Is `answer` a good one to `query`?
fn judge(answer: &[u8], query: &[u8], check: &DnsProbe) -> Result<(), Failure> {
    let (header, rest) = answer.split_at_checked(HEADER).ok_or(Failure::Stray)?;
    if header[..2] != query[..2] || header[2] & QR == 0 {
        return Err(Failure::Stray);
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (questions, records, code) = (count(4), count(6), header[3] & 0x0f);
    // A server that does not understand, or does not want to, may leave the question out.
    if questions == 0 && code != 0 {
        return Err(Failure::Code(code));
    }
    let asked = &query[HEADER..];
    let (question, mut rest) = rest.split_at_checked(asked.len()).ok_or(Failure::Stray)?;
    let name = asked.len() - TYPE_AND_CLASS;
    if questions != 1 || !question[..name].eq_ignore_ascii_case(&asked[..name]) || question[name..] != asked[name..] {
        return Err(Failure::Stray);
    }
    if code != 0 {
        return Err(Failure::Code(code));
    }
    if !check.expect_record {
        return Ok(());
    }
    for _ in 0..records {
        let kind;
        (kind, rest) = record(rest).ok_or(Failure::NoRecord(check.record))?;
        if kind == check.record as u16 {
            return Ok(());
        }
    }
    Err(Failure::NoRecord(check.record))
}

/// The type of a record, and what comes behind it.
fn record(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let rest = after_name(bytes)?;
    let (fixed, rest) = rest.split_at_checked(10)?;
    let length = u16::from_be_bytes([fixed[8], fixed[9]]);
    let rest = rest.get(usize::from(length)..)?;
    Some((u16::from_be_bytes([fixed[0], fixed[1]]), rest))
}

/// What comes behind a name, which may end with a pointer into the message.
fn after_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, rest) = bytes.split_first()?;
        match length {
            0 => return Some(rest),
            1..=63 => bytes = rest.get(usize::from(length)..)?,
            0xc0.. => return rest.get(1..),
            64..0xc0 => return None,
        }
    }
}

#[cfg(test)]
mod tests;
