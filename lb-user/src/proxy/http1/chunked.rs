//! Chunked bodies (RFC 9112 §7.1), scanned as they pass: what is forwarded as it came has been understood.

use super::Known;
use super::fields::{imitates, is_value};
use crate::model::proxy::is_token;

/// Longest extension of a chunk, in bytes. Nobody uses them.
const EXTENSION: u64 = 256;

/// Most bytes of trailers in all, which are the one part of a body that is kept.
const TRAILERS: usize = 8192;

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// A size that is no number, or larger than 2^60.
    #[error("malformed chunk size")]
    Size,
    /// An extension of a chunk that is malformed or too long.
    #[error("malformed chunk extension")]
    Extension,
    /// A line ends in anything but CR LF.
    #[error("bare CR or LF in a chunked body")]
    LineEnd,
    /// A field behind the last chunk that is malformed, or that must not stand there (RFC 9110 §6.5.1).
    #[error("malformed or forbidden trailer")]
    Trailer,
}

/// What comes next in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of framing.
    Framing(usize),
    /// So many bytes of data.
    Data(usize),
    /// Everything has been seen, and more is to come.
    More,
    /// The body ends here.
    End,
}

/// Where a scan stands.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    state: State,
    /// Bytes left of the chunk.
    left: u64,
    /// Digits seen of its size, bytes of its extension, or bytes of the line of trailers.
    seen: u64,
    /// Lines of trailers, for whom they matter: each with its end.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Before or within a line behind the last chunk.
    Trailer,
    TrailerLf,
    End,
}

impl Scanner {
    /// Looks at the start of `bytes`. What a step names has been understood; the next call is about what follows it.
    ///
    /// # Errors
    /// [`ChunkedError`]; nothing can follow it.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, ChunkedError> {
        match self.state {
            State::End => return Ok(Step::End),
            State::Data if !bytes.is_empty() => {
                let here = self.left.min(bytes.len() as u64);
                self.left -= here;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Step::Data(here as usize));
            }
            _ => {}
        }
        let mut seen = 0;
        for &byte in bytes {
            if matches!(self.state, State::Data | State::End) {
                break;
            }
            self.framing(byte)?;
            seen += 1;
        }
        Ok(if seen == 0 { Step::More } else { Step::Framing(seen) })
    }

    /// Is the body over?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::End
    }

    /// How much of `bytes` is of the body, framing and all. Less than all of them only where it ends.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, ChunkedError> {
        let mut at = 0;
        loop {
            match self.step(&bytes[at..])? {
                Step::Framing(length) | Step::Data(length) => at += length,
                Step::More | Step::End => return Ok(at),
            }
        }
    }

    /// The fields behind the last chunk, each line with its end, once the body is over.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn framing(&mut self, byte: u8) -> Result<(), ChunkedError> {
        self.state = match (self.state, byte) {
            (State::Size, b'\r' | b';') if self.seen == 0 => return Err(ChunkedError::Size),
            (State::Size, b'\r') => State::SizeLf,
            (State::Size, b';') => {
                self.seen = 0;
                State::Extension
            }
            (State::Size | State::Extension | State::Trailer, b'\n') => return Err(ChunkedError::LineEnd),
            (State::Size, digit) => {
                let digit = (digit as char).to_digit(16).ok_or(ChunkedError::Size)?;
                self.seen += 1;
                if self.seen > 15 {
                    return Err(ChunkedError::Size);
                }
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, byte) => {
                self.seen += 1;
                if self.seen > EXTENSION || !is_value(&[byte]) {
                    return Err(ChunkedError::Extension);
                }
                State::Extension
            }
            (State::SizeLf, b'\n') => {
                self.seen = 0;
                if self.left == 0 { State::Trailer } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::SizeLf | State::DataCr | State::DataLf, _) => return Err(ChunkedError::LineEnd),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, byte) => {
                self.seen += 1;
                if self.trailers.len() >= TRAILERS {
                    return Err(ChunkedError::Trailer);
                }
                self.trailers.push(byte);
                State::Trailer
            }
            (State::TrailerLf, b'\n') if self.seen == 0 => State::End,
            (State::TrailerLf, b'\n') => {
                let start = self.trailers.len() - self.seen as usize;
                if !is_trailer(&self.trailers[start..]) {
                    return Err(ChunkedError::Trailer);
                }
                self.trailers.extend_from_slice(b"\r\n");
                self.seen = 0;
                State::Trailer
            }
            (State::TrailerLf, _) => return Err(ChunkedError::LineEnd),
            (State::Data | State::End, _) => unreachable!("these are no framing"),
        };
        Ok(())
    }
}

/// May this line stand behind a body?
fn is_trailer(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else {
        return false;
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    is_token(name) && is_value(value) && may_trail(name)
}

/// May a field of this name stand behind a body (RFC 9110 §6.5.1)? Not one that says how long it is, whom it is for or whom
/// it comes from, or what the connection does: whoever takes trailers for fields of the head would believe it.
#[must_use]
pub fn may_trail(name: &[u8]) -> bool {
    let known = Known::of(name);
    let forbidden = known.is_hop_by_hop()
        || matches!(
            known,
            Known::ContentLength
                | Known::Cookie
                | Known::Expect
                | Known::Forwarded
                | Known::Host
                | Known::SetCookie
                | Known::Trailer
                | Known::XForwardedFor
                | Known::XForwardedHost
                | Known::XForwardedPort
                | Known::XForwardedProto
                | Known::XRealIp
        );
    !forbidden && !name.eq_ignore_ascii_case(b"authorization") && !imitates(name)
}
