//! Heads of requests (RFC 9112 §3).

use super::fields::{self, Connection, Fields, Known, Span};
use super::{Bounds, Framing, HeadError};
use crate::model::proxy::is_token;

/// A request's head: where things stand in its bytes.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Its lines.
    pub fields: Fields,
    /// Bytes in all, the empty line included.
    pub length: usize,
    /// RFC 9110 §9; letters matter.
    pub method: Span,
    /// What follows the method.
    pub target: Span,
    /// Path and query of the target: the target without scheme and host. `*` for a server as a whole.
    pub path: Span,
    /// Whom the client named, by `host` or by the target; port included. Empty in HTTP/1.0 only.
    pub host: Span,
    /// HTTP/1.1, and not 1.0?
    pub is_1_1: bool,
    /// What `connection` says.
    pub connection: Connection,
    /// Of its body.
    pub framing: Framing,
    /// The client waits for 100 (Continue) before it sends the body.
    pub expects_continue: bool,
    /// Where a search for the head's end goes on.
    searched: usize,
}

impl Default for Framing {
    fn default() -> Self {
        Self::None
    }
}

impl RequestHead {
    /// Reads the head at the start of `bytes`; `false` as long as it is not whole. Until it is, `bytes` grow and stay.
    ///
    /// # Errors
    /// When it can be nothing that is taken, as soon as that is seen.
    pub fn read(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<bool, HeadError> {
        let end = match fields::end(bytes, &mut self.searched)? {
            Some(end) if end <= bounds.bytes => end,
            None if bytes.len() < bounds.bytes => return Ok(false),
            // Which of both it is has to be known for the answer.
            _ if memchr::memchr(b'\n', bytes).is_none_or(|line| line > bounds.target + 64) => {
                return Err(HeadError::TargetTooLong);
            }
            _ => return Err(HeadError::TooLarge),
        };
        self.searched = 0;
        self.length = end;
        self.parse(&bytes[..end], bounds)?;
        Ok(true)
    }

    fn parse(&mut self, head: &[u8], bounds: &Bounds) -> Result<(), HeadError> {
        let line = fields::line(head, 0)?;
        self.request_line(line, bounds)?;
        self.fields.read(head, line.len() + 2, bounds.fields)?;
        self.host(head)?;
        self.connection = self.fields.connection(head)?;
        let framing = self.fields.framing(head, self.is_1_1)?;
        self.framing = framing.unwrap_or(Framing::None);
        self.expects_continue = match self.fields.find(Known::Expect) {
            None => false,
            Some(field) if field.value.of(head).eq_ignore_ascii_case(b"100-continue") => self.is_1_1,
            Some(_) => return Err(HeadError::Expectation),
        };
        Ok(())
    }

    fn request_line(&mut self, line: &[u8], bounds: &Bounds) -> Result<(), HeadError> {
        let method = memchr::memchr(b' ', line).ok_or(HeadError::RequestLine)?;
        if !is_token(&line[..method]) {
            return Err(HeadError::RequestLine);
        }
        self.method = Span::new(0, method);
        let rest = &line[method + 1..];
        let target = memchr::memchr(b' ', rest).ok_or(HeadError::RequestLine)?;
        let (start, end) = (method + 1, method + 1 + target);
        self.is_1_1 = match &line[end + 1..] {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(HeadError::Version);
            }
            _ => return Err(HeadError::RequestLine),
        };
        if target > bounds.target {
            return Err(HeadError::TargetTooLong);
        }
        // A fragment is the client's own (RFC 9110 §4.2.5).
        let visible = |&byte: &u8| byte.is_ascii_graphic() && byte != b'#';
        if target == 0 || !line[start..end].iter().all(visible) {
            return Err(HeadError::Target);
        }
        self.target = Span::new(start, end);
        Ok(())
    }

    /// Path and host, which the target may name, too (RFC 9112 §3.2.2).
    fn host(&mut self, head: &[u8]) -> Result<(), HeadError> {
        let mut named = self.fields.all().iter().filter(|field| field.known == Known::Host);
        let field = match (named.next(), named.next()) {
            (Some(field), None) => Some(field.value),
            (None, _) => None,
            (Some(_), Some(_)) => return Err(HeadError::Host),
        };
        if field.is_none() && self.is_1_1 {
            return Err(HeadError::Host);
        }
        if field.is_some_and(|host| !is_host(host.of(head))) {
            return Err(HeadError::Host);
        }
        let target = self.target.of(head);
        self.host = field.unwrap_or_default();
        if target[0] == b'/' {
            self.path = self.target;
            return Ok(());
        }
        let method = self.method.of(head);
        if method == b"CONNECT" {
            // The target is an authority, and nobody is connected.
            self.path = self.target;
            return Ok(());
        }
        if target == b"*" && method == b"OPTIONS" {
            self.path = self.target;
            return Ok(());
        }
        let (start, end) = (self.target.start as usize, self.target.end as usize);
        let scheme = match target {
            _ if starts_with(target, b"http://") => 7,
            _ if starts_with(target, b"https://") => 8,
            _ => return Err(HeadError::Target),
        };
        let rest = &target[scheme..];
        let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let authority = &rest[..length];
        if !is_host(authority) || authority.is_empty() {
            return Err(HeadError::Target);
        }
        if field.is_some_and(|host| !host.of(head).eq_ignore_ascii_case(authority)) {
            return Err(HeadError::Host);
        }
        if rest.get(length) == Some(&b'?') {
            // A path that is empty cannot be written in its place without a copy, and nobody sends this.
            return Err(HeadError::Target);
        }
        self.host = Span::new(start + scheme, start + scheme + length);
        self.path = Span::new(start + scheme + length, end);
        Ok(())
    }

    /// The path without the query.
    #[must_use]
    pub fn path_alone<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        let path = self.path.of(head);
        &path[..memchr::memchr(b'?', path).unwrap_or(path.len())]
    }

    /// Does the connection stay after this request (RFC 9112 §9.3)?
    #[must_use]
    pub const fn keeps_connection(&self) -> bool {
        !self.connection.close && (self.is_1_1 || self.connection.keep_alive)
    }

    /// Does the client want to go on in another protocol (RFC 9110 §7.8)? Not to HTTP/2, which is had otherwise.
    #[must_use]
    pub fn wants_upgrade(&self, head: &[u8]) -> bool {
        let wanted = self.is_1_1 && self.connection.upgrade;
        wanted
            && self
                .fields
                .find(Known::Upgrade)
                .is_some_and(|field| !fields::list(field.value.of(head)).any(|p| p.eq_ignore_ascii_case(b"h2c")))
    }
}

fn starts_with(target: &[u8], scheme: &[u8]) -> bool {
    target
        .get(..scheme.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Is this a host with or without a port (RFC 3986 §3.2.2), or nothing? User and password are not: nobody shall see them.
fn is_host(text: &[u8]) -> bool {
    let is_port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let (name, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else {
                return false;
            };
            let inside = &rest[..end];
            if inside.is_empty() || !inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) {
                return false;
            }
            return match &rest[end + 1..] {
                [] => true,
                [b':', port @ ..] => is_port(port),
                _ => false,
            };
        }
        _ => match memchr::memchr(b':', text) {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &b""[..]),
        },
    };
    // Unreserved, sub-delims and escapes.
    let of_name = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
            )
    };
    (!name.is_empty() || text.is_empty()) && name.iter().all(of_name) && is_port(port)
}
