//! Bodies as they pass (RFC 9112 §6).

use super::{ChunkedError, Framing, Scanner};

/// What is left of a body.
#[derive(Clone, Debug)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Scanner>),
    /// All that comes until the connection ends.
    Close,
}

impl Body {
    /// A whole one.
    #[must_use]
    pub fn of(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::default()),
            Framing::Close => Self::Close,
        }
    }

    /// Has all of it passed? One that ends with its connection never says so.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(scanner) => scanner.is_over(),
            Self::Close => false,
        }
    }

    /// How much of `bytes` is of the body, as it came. Less than all of them only where it ends.
    ///
    /// # Errors
    /// When it is malformed.
    #[inline]
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, ChunkedError> {
        match self {
            Self::Length(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                Ok(here as usize)
            }
            Self::Chunked(scanner) => scanner.pass(bytes),
            Self::Close => Ok(bytes.len()),
        }
    }

    /// The data at the start of `bytes`: how many bytes of framing stand before it, and how many it has.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(usize, usize), ChunkedError> {
        use super::Step;
        let Self::Chunked(scanner) = self else {
            return Ok((0, self.pass(bytes)?));
        };
        let mut before = 0;
        loop {
            match scanner.step(&bytes[before..])? {
                Step::Framing(length) => before += length,
                Step::Data(length) => return Ok((before, length)),
                Step::More | Step::End => return Ok((before, 0)),
            }
        }
    }

    /// The fields behind it, each line with its end, once it is over.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        match self {
            Self::Chunked(scanner) => scanner.trailers(),
            Self::Length(_) | Self::Close => &[],
        }
    }
}
