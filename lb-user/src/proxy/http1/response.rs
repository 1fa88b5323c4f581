//! Heads of responses (RFC 9112 §4).

use super::fields::{self, Connection, Fields, Lines, Span};
use super::{Bounds, Framing, HeadError};

/// A response's head: where things stand in its bytes.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Its lines.
    pub fields: Fields,
    /// Bytes in all, the empty line included.
    pub length: usize,
    /// 100 to 999.
    pub status: u16,
    /// For people; may be empty.
    pub reason: Span,
    /// HTTP/1.1, and not 1.0?
    pub is_1_1: bool,
    /// What `connection` says.
    pub connection: Connection,
    /// Of its body, as far as its fields say it.
    pub framing: Framing,
    lines: Lines,
}

impl ResponseHead {
    /// Reads the head at the start of `bytes`; `false` as long as it is not whole. Until it is, `bytes` grow and stay.
    /// `to_head`: it answers HEAD, and has no body whatever its fields say.
    ///
    /// # Errors
    /// When it can be nothing that is taken, as soon as that is seen.
    pub fn read(&mut self, bytes: &[u8], bounds: &Bounds, to_head: bool) -> Result<bool, HeadError> {
        let seen = &bytes[..bytes.len().min(bounds.bytes)];
        while let Some(line) = self.lines.next(seen)? {
            if line.start == 0 {
                self.fields.clear();
                self.status_line(line.of(seen))?;
            } else if line.is_empty() {
                self.lines = Lines::default();
                self.length = line.end as usize + 2;
                self.finish(&seen[..self.length], to_head)?;
                return Ok(true);
            } else {
                self.fields.push(seen, line, bounds.fields)?;
            }
        }
        if seen.len() < bounds.bytes {
            Ok(false)
        } else {
            Err(HeadError::TooLarge)
        }
    }

    /// What the lines come to, now that all are there.
    fn finish(&mut self, head: &[u8], to_head: bool) -> Result<(), HeadError> {
        self.connection = self.fields.connection(head)?;
        let framing = self.fields.framing(head, self.is_1_1)?;
        let without = to_head || self.status < 200 || matches!(self.status, 204 | 304);
        self.framing = match framing {
            _ if without => Framing::None,
            Some(framing) => framing,
            None => Framing::Close,
        };
        Ok(())
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), HeadError> {
        self.is_1_1 = match line.get(..9) {
            Some(b"HTTP/1.1 ") => true,
            Some(b"HTTP/1.0 ") => false,
            _ => return Err(HeadError::StatusLine),
        };
        let (status, reason) = match &line[9..] {
            [a, b, c] => ([*a, *b, *c], line.len()),
            [a, b, c, b' ', ..] => ([*a, *b, *c], 13),
            _ => return Err(HeadError::StatusLine),
        };
        let status = fields::number(&status).ok_or(HeadError::StatusLine)?;
        if status < 100 || !fields::is_value(&line[reason..]) {
            return Err(HeadError::StatusLine);
        }
        self.status = status as u16;
        self.reason = Span::new(reason, line.len());
        Ok(())
    }

    /// Is it one before the last (RFC 9110 §15.2)?
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Does the connection stay after this response (RFC 9112 §9.3)?
    #[must_use]
    pub fn keeps_connection(&self) -> bool {
        let kept = !self.connection.close && (self.is_1_1 || self.connection.keep_alive);
        kept && self.framing != Framing::Close && self.status != 101
    }
}
