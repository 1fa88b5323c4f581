//! Long answers of the labs' server, for those who want to know that a connection lives and loses nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Of the stream's units, each of which begins with its number, in eight bytes, the highest first. What follows in it
/// is the same everywhere: its place in the unit, by the lowest byte.
const UNIT: u64 = 1024;

/// 64 KiB at a time.
const CHUNK: u64 = 64 * UNIT;

/// So many bytes, of which each can be told from its place.
#[derive(Debug)]
pub(super) struct Pattern {
    /// A chunk, but for the numbers.
    template: Vec<u8>,
    at: u64,
    end: u64,
}

impl Pattern {
    pub(super) fn new(length: u64) -> Self {
        Self {
            template: (0..CHUNK).map(|place| place as u8).collect(),
            at: 0,
            end: length,
        }
    }

    /// What comes next; chunks begin where units do.
    fn chunk(&self) -> Vec<u8> {
        let mut bytes = self.template.clone();
        for (number, unit) in (self.at / UNIT..).zip(bytes.chunks_mut(UNIT as usize)) {
            unit[..8].copy_from_slice(&number.to_be_bytes());
        }
        bytes.truncate((self.end - self.at).min(CHUNK) as usize);
        bytes
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let chunk = self.chunk();
        self.at += chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn every_byte_tells_its_place() {
        for length in [0, 1, 1024, 65_536, 65_537, 200_000] {
            let body = Pattern::new(length);
            assert_eq!(body.size_hint().exact(), Some(length));
            let bytes = body.collect().await.unwrap().to_bytes();
            assert_eq!(bytes.len() as u64, length);
            for (place, &byte) in bytes.iter().enumerate() {
                let expected = match place % 1024 {
                    digit @ 0..8 => (place as u64 / 1024).to_be_bytes()[digit],
                    other => other as u8,
                };
                assert_eq!(byte, expected, "at {place} of {length}");
            }
        }
    }
}
