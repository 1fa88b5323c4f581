//! Heads of requests (RFC 9112 §3).

use std::net::Ipv6Addr;

use super::fields::{self, Connection, Fields, Known, Lines, Span};
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
    lines: Lines,
}

impl RequestHead {
    /// Reads the head at the start of `bytes`; `false` as long as it is not whole. Until it is, `bytes` grow and stay.
    ///
    /// # Errors
    /// When it can be nothing that is taken, as soon as that is seen.
    pub fn read(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<bool, HeadError> {
        // Whatever comes in the same piece behind what is looked at does not change the verdict.
        let seen = &bytes[..bytes.len().min(bounds.bytes)];
        while let Some(line) = self.lines.next(seen)? {
            if line.start == 0 {
                self.fields.clear();
                self.request_line(line.of(seen), bounds)?;
            } else if line.is_empty() {
                self.lines = Lines::default();
                self.length = line.end as usize + 2;
                self.finish(&seen[..self.length])?;
                return Ok(true);
            } else {
                self.fields.push(seen, line, bounds.fields)?;
            }
        }
        match seen.len() < bounds.bytes {
            true => Ok(false),
            // Which of both it is has to be known for the answer.
            false if !seen.contains(&b'\n') => Err(HeadError::TargetTooLong),
            false => Err(HeadError::TooLarge),
        }
    }

    /// What the lines come to, now that all are there.
    fn finish(&mut self, head: &[u8]) -> Result<(), HeadError> {
        self.host(head)?;
        self.connection = self.fields.connection(head)?;
        let framing = self.fields.framing(head, self.is_1_1)?;
        self.framing = framing.unwrap_or(Framing::None);
        self.expects_continue = false;
        for field in self.fields.all().iter().filter(|field| field.known == Known::Expect) {
            if !field.value.of(head).eq_ignore_ascii_case(b"100-continue") {
                return Err(HeadError::Expectation);
            }
            // HTTP/1.0 has no such thing (RFC 9110 §10.1.1).
            self.expects_continue = self.is_1_1;
        }
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
        let length = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'))
            .unwrap_or(rest.len());
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

    /// Does the client want to go on in another protocol (RFC 9110 §7.8)? Not to HTTP/2, which is had otherwise: requests
    /// in it would pass unseen.
    #[must_use]
    pub fn wants_upgrade(&self, head: &[u8]) -> bool {
        if !self.is_1_1 || !self.connection.upgrade {
            return false;
        }
        let is_http = |protocol: &[u8]| starts_with(protocol, b"h2c") || starts_with(protocol, b"http");
        let mut wanted = false;
        for field in self.fields.all().iter().filter(|field| field.known == Known::Upgrade) {
            wanted = true;
            if fields::list(field.value.of(head)).any(is_http) {
                return false;
            }
        }
        wanted
    }
}

fn starts_with(target: &[u8], scheme: &[u8]) -> bool {
    target
        .get(..scheme.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Is this a host with or without a port (RFC 3986 §3.2.2)? User and password are not: nobody shall see them. Neither are
/// escapes, which no name has.
fn is_host(text: &[u8]) -> bool {
    let end = match text.first() {
        Some(b'[') => memchr::memchr(b']', text).map_or(0, |end| end + 1),
        _ => memchr::memchr(b':', text).unwrap_or(text.len()),
    };
    let (name, port) = text.split_at(end);
    let is_port = |port: &[u8]| port.is_empty() || fields::number(port).is_some_and(|port| port <= 65_535);
    // Unreserved and sub-delims, but for the comma: what joins two lines shall not pass for one name.
    let of_name = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
            )
    };
    let is_name = match name {
        [b'[', inside @ .., b']'] => str::from_utf8(inside).is_ok_and(|inside| inside.parse::<Ipv6Addr>().is_ok()),
        _ => !name.is_empty() && name.iter().all(of_name),
    };
    is_name && (port.is_empty() || port[0] == b':' && is_port(&port[1..]))
}
