//! The fields of a head: where they stand in its bytes, and which of them matter to a proxy.

use super::HeadError;
use crate::model::proxy::is_token_byte;

/// Fields that the proxy knows, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Any other one.
    Other,
    /// RFC 9110 §7.6.1
    Connection,
    /// RFC 9110 §8.6
    ContentLength,
    /// RFC 9110 §8.7
    ContentLocation,
    /// RFC 6265 §5.4
    Cookie,
    /// RFC 9110 §10.1.1
    Expect,
    /// RFC 7239
    Forwarded,
    /// RFC 9110 §7.2
    Host,
    /// RFC 7540 §3.2.1: of an upgrade to HTTP/2 that nobody does any more.
    Http2Settings,
    /// RFC 2068 §19.7.1
    KeepAlive,
    /// RFC 9110 §10.2.2
    Location,
    /// Of clients that take this for a proxy of theirs.
    ProxyConnection,
    /// RFC 9110 §10.1.3
    Referer,
    /// RFC 6265 §4.1
    SetCookie,
    /// RFC 9110 §10.1.4
    Te,
    /// RFC 9110 §6.6.2
    Trailer,
    /// RFC 9112 §6.1
    TransferEncoding,
    /// RFC 9110 §7.8
    Upgrade,
    /// RFC 9110 §10.1.5
    UserAgent,
    /// As Apache's backends report their idle slots.
    XHeartbeat,
    /// As those of [`Forwarded`](crate::model::proxy::Forwarded).
    XForwardedFor,
    /// As above.
    XForwardedHost,
    /// As above.
    XForwardedPort,
    /// As above.
    XForwardedProto,
    /// As above.
    XRealIp,
}

impl Known {
    /// Of a field's name, in whatever case.
    #[inline]
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("cookie") => Self::Cookie,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("referer") => Self::Referer,
            7 if is("trailer") => Self::Trailer,
            8 if is("location") => Self::Location,
            9 if is("forwarded") => Self::Forwarded,
            9 if is("x-real-ip") => Self::XRealIp,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            10 if is("user-agent") => Self::UserAgent,
            10 if is("set-cookie") => Self::SetCookie,
            11 if is("x-heartbeat") => Self::XHeartbeat,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::Http2Settings,
            15 if is("x-forwarded-for") => Self::XForwardedFor,
            16 if is("x-forwarded-host") => Self::XForwardedHost,
            16 if is("x-forwarded-port") => Self::XForwardedPort,
            16 if is("content-location") => Self::ContentLocation,
            16 if is("proxy-connection") => Self::ProxyConnection,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is("x-forwarded-proto") => Self::XForwardedProto,
            _ => Self::Other,
        }
    }

    /// Is it about the connection and not about the message (RFC 9110 §7.6.1)? Such fields go no further.
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

/// Bytes of a head, from one place to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub start: u32,
    /// Behind the last.
    pub end: u32,
}

impl Span {
    pub(super) const fn new(start: usize, end: usize) -> Self {
        // A head is bounded long before.
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// These bytes of `head`.
    #[inline]
    #[must_use]
    pub fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    /// None?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A line of a head.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Which one it is.
    pub known: Known,
    /// `connection` names it: it goes no further.
    pub nominated: bool,
    /// The whole line, its end included.
    pub line: Span,
    /// Its name, in the case that it came in.
    pub name: Span,
    /// Its value, without blanks around it.
    pub value: Span,
}

/// All lines of a head but the first.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// Each in its order.
    #[must_use]
    pub fn all(&self) -> &[Field] {
        &self.0
    }

    /// The first of a kind.
    #[must_use]
    pub fn find(&self, known: Known) -> Option<&Field> {
        self.0.iter().find(|field| field.known == known)
    }

    /// The value of the first field of this name, in whatever case.
    #[must_use]
    pub fn value<'h>(&self, head: &'h [u8], name: &str) -> Option<&'h [u8]> {
        let named = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(name.as_bytes());
        self.0.iter().find(named).map(|field| field.value.of(head))
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds the line at `line`, of `most` at most.
    #[inline]
    pub(super) fn push(&mut self, head: &[u8], line: Span, most: usize) -> Result<(), HeadError> {
        if self.0.len() == most {
            return Err(HeadError::TooLarge);
        }
        self.0.push(field(head, line)?);
        Ok(())
    }

    /// Marks what `connection` names, and says what else it wants.
    pub(super) fn connection(&mut self, head: &[u8]) -> Result<Connection, HeadError> {
        let mut said = Connection::default();
        for place in 0..self.0.len() {
            if self.0[place].known != Known::Connection {
                continue;
            }
            for option in list(self.0[place].value.of(head)) {
                match option {
                    b"" => {}
                    _ if option.eq_ignore_ascii_case(b"close") => said.close = true,
                    _ if option.eq_ignore_ascii_case(b"keep-alive") => said.keep_alive = true,
                    _ if option.eq_ignore_ascii_case(b"upgrade") => said.upgrade = true,
                    _ => self.nominate(head, option)?,
                }
            }
        }
        Ok(said)
    }

    fn nominate(&mut self, head: &[u8], name: &[u8]) -> Result<(), HeadError> {
        match Known::of(name) {
            // Whoever names these wants the next one to see another message than this one.
            Known::Connection
            | Known::ContentLength
            | Known::Cookie
            | Known::Expect
            | Known::Forwarded
            | Known::Host
            | Known::SetCookie
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedPort
            | Known::XForwardedProto
            | Known::XRealIp => Err(HeadError::Nominated),
            // Said by some, and true. But whoever writes the body says how it is written.
            Known::TransferEncoding => Ok(()),
            _ => {
                let named = self.0.iter_mut();
                for field in named.filter(|field| field.name.of(head).eq_ignore_ascii_case(name)) {
                    field.nominated = true;
                }
                Ok(())
            }
        }
    }

    /// The body's length by `content-length` and `transfer-encoding`; `None` where neither is.
    pub(super) fn framing(&self, head: &[u8], chunked_allowed: bool) -> Result<Option<super::Framing>, HeadError> {
        let mut length = None;
        let mut chunked = false;
        for field in &self.0 {
            match field.known {
                Known::ContentLength if length.is_some() => return Err(HeadError::Length),
                Known::ContentLength => length = Some(number(field.value.of(head)).ok_or(HeadError::Length)?),
                Known::TransferEncoding if chunked => return Err(HeadError::Coding),
                Known::TransferEncoding => {
                    if !chunked_allowed || !field.value.of(head).eq_ignore_ascii_case(b"chunked") {
                        return Err(HeadError::Coding);
                    }
                    chunked = true;
                }
                _ => {}
            }
        }
        match (chunked, length) {
            (true, Some(_)) => Err(HeadError::Ambiguous),
            (true, None) => Ok(Some(super::Framing::Chunked)),
            (false, Some(0)) => Ok(Some(super::Framing::None)),
            (false, Some(length)) => Ok(Some(super::Framing::Length(length))),
            (false, None) => Ok(None),
        }
    }
}

/// What `connection` says, besides names of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// It ends after this message.
    pub close: bool,
    /// It stays, in HTTP/1.0.
    pub keep_alive: bool,
    /// It becomes another one (RFC 9110 §7.8).
    pub upgrade: bool,
}

/// Goes through the lines of a head, each as soon as it is whole, and looks at each byte for a line's end once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// Where the line begins.
    start: usize,
    /// Up to where there is no end of it.
    searched: usize,
}

impl Lines {
    /// The next line, without its end; `None` while it is not whole.
    ///
    /// # Errors
    /// [`HeadError::LineEnd`] for an LF alone: it would end a line for some and not for others.
    #[inline]
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Option<Span>, HeadError> {
        let Some(found) = memchr::memchr(b'\n', &bytes[self.searched..]) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let end = self.searched + found;
        if end == self.start || bytes[end - 1] != b'\r' {
            return Err(HeadError::LineEnd);
        }
        let line = Span::new(self.start, end - 1);
        (self.start, self.searched) = (end + 1, end + 1);
        Ok(Some(line))
    }
}

/// Which bytes may stand in a name.
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        token[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    token
};

/// One field.
#[inline]
fn field(head: &[u8], at: Span) -> Result<Field, HeadError> {
    let line = at.of(head);
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(HeadError::Folding);
    }
    let colon = line.iter().position(|&byte| !TOKEN[usize::from(byte)]);
    let colon = colon
        .filter(|&colon| colon > 0 && line[colon] == b':')
        .ok_or(HeadError::FieldName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_value(value) {
        return Err(if value.contains(&b'\r') {
            HeadError::LineEnd
        } else {
            HeadError::FieldValue
        });
    }
    let before = value.iter().take_while(|byte| is_blank(**byte)).count();
    let after = value[before..].iter().rev().take_while(|byte| is_blank(**byte)).count();
    let known = Known::of(name);
    if known == Known::Other && imitates(name) {
        return Err(HeadError::FieldName);
    }
    let (start, end) = (at.start as usize, at.end as usize);
    Ok(Field {
        known,
        nominated: false,
        line: Span::new(start, end + 2),
        name: Span::new(start, start + colon),
        value: Span::new(start + colon + 1 + before, end - after),
    })
}

/// Is it one of [`Known`] for whoever takes `_` for `-`, as CGI and its kin do?
pub(super) fn imitates(name: &[u8]) -> bool {
    if !name.contains(&b'_') {
        return false;
    }
    let dashed: Vec<u8> = name
        .iter()
        .map(|&byte| if byte == b'_' { b'-' } else { byte })
        .collect();
    Known::of(&dashed) != Known::Other
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Are these bytes of a field's value (RFC 9110 §5.5), blanks around it included? No control bytes but the tab; bytes above
/// 127 are as they are.
#[must_use]
pub fn is_value(bytes: &[u8]) -> bool {
    // Without an early end this is done for many bytes at once.
    !bytes.iter().fold(false, |bad, &byte| {
        bad | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
    })
}

/// The elements of a list (RFC 9110 §5.6.1), without blanks around them.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits, and nothing else.
#[must_use]
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}
