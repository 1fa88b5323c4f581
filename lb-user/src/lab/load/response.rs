//! Answers of HTTP/1.1 (RFC 9112), as far as they have to be understood to be counted, and to find where they end.

use memchr::{memchr, memmem};

use super::connect::Failure;
use super::outcome::Answer;

const NOT_HTTP: Failure = Failure::Borrowed("not an answer of HTTP/1.1");

/// What precedes a body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lab) struct Head {
    /// In bytes, the empty line included.
    pub(in crate::lab) length: usize,
    pub(in crate::lab) body: Body,
    /// Whether the server keeps the connection open.
    pub(in crate::lab) keep: bool,
}

/// How a body ends, and what of it is still to come.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lab) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunks),
    UntilClosed,
}

/// Where in a chunked body (RFC 9112 §7.1) the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Chunks {
    /// In a line with a size, of which so much was read; extensions count for nothing.
    Size {
        size: u64,
        digits: bool,
    },
    Extension(u64),
    /// Before so many bytes and the end of their line.
    Data(u64),
    /// In a line behind the last chunk, which is empty so far or not.
    Trailer {
        empty: bool,
    },
    Complete,
}

/// Reads a head to `answer`; none when it is not there as a whole.
pub(in crate::lab) fn head(bytes: &[u8], answer: &mut Answer) -> Result<Option<Head>, Failure> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut rest = &bytes[..end + 2];
    let status = line(&mut rest).ok_or(NOT_HTTP)?;
    let (version, code) = status.split_at_checked(9).ok_or(NOT_HTTP)?;
    let code = code.get(..3).and_then(|code| std::str::from_utf8(code).ok());
    answer.status = code.and_then(|code| code.parse().ok()).ok_or(NOT_HTTP)?;
    answer.server.clear();
    answer.saw = None;
    let mut keep = match version {
        b"HTTP/1.1 " => true,
        b"HTTP/1.0 " => false,
        _ => return Err(NOT_HTTP),
    };
    let mut body = Body::UntilClosed;
    while let Some(field) = line(&mut rest) {
        let colon = memchr(b':', field).ok_or(NOT_HTTP)?;
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            10 if is("connection") => keep = (keep || holds(value, "keep-alive")) && !holds(value, "close"),
            11 if is("x-served-by") => answer
                .server
                .push_str(std::str::from_utf8(value).map_err(|_| NOT_HTTP)?),
            12 if is("x-saw-client") => answer.saw = std::str::from_utf8(value).ok().and_then(|ip| ip.parse().ok()),
            14 if is("content-length") && !matches!(body, Body::Chunked(_)) => {
                let length = std::str::from_utf8(value).ok().and_then(|length| length.parse().ok());
                body = Body::Length(length.ok_or(NOT_HTTP)?);
            }
            17 if is("transfer-encoding") && holds(value, "chunked") => {
                body = Body::Chunked(Chunks::Size { size: 0, digits: false });
            }
            _ => {}
        }
    }
    if matches!(answer.status, 100..200 | 204 | 304) {
        body = Body::Length(0);
    }
    Ok(Some(Head {
        length: end + 4,
        keep: keep && body != Body::UntilClosed,
        body,
    }))
}

/// Takes a line off, without its end.
fn line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = memchr(b'\n', rest)?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Is `word` in a list?
fn holds(list: &[u8], word: &str) -> bool {
    list.split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

impl Body {
    /// Goes through what has come; how much of it was of this body.
    pub(in crate::lab) fn take(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        match self {
            Self::Length(left) => {
                let used = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= used as u64;
                Ok(used)
            }
            Self::Chunked(chunks) => chunks.take(bytes),
            Self::UntilClosed => Ok(bytes.len()),
        }
    }

    pub(in crate::lab) fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Complete))
    }
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut at = 0;
        while *self != Self::Complete {
            let Some(&byte) = bytes.get(at) else { break };
            let mut used = 1;
            *self = match (*self, byte) {
                (Self::Size { size, digits: true }, b'\n') => Self::after_size(size),
                (Self::Size { size, digits: true }, b'\r' | b';' | b' ' | b'\t') => Self::Extension(size),
                (Self::Size { size, .. }, digit) => {
                    let digit = (digit as char).to_digit(16);
                    let size = digit.and_then(|digit| size.checked_mul(16)?.checked_add(digit.into()));
                    Self::Size {
                        size: size.ok_or("chunks that are none")?,
                        digits: true,
                    }
                }
                (Self::Extension(size), b'\n') => Self::after_size(size),
                (Self::Extension(size), _) => Self::Extension(size),
                (Self::Data(0), b'\n') => Self::Size { size: 0, digits: false },
                (Self::Data(0), b'\r') => Self::Data(0),
                (Self::Data(0), _) => return Err("chunks that are none".into()),
                (Self::Data(left), _) => {
                    used = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                    Self::Data(left - used as u64)
                }
                (Self::Trailer { empty: true }, b'\n') => Self::Complete,
                (Self::Trailer { .. }, b'\n') => Self::Trailer { empty: true },
                (Self::Trailer { empty }, byte) => Self::Trailer {
                    empty: empty && byte == b'\r',
                },
                (Self::Complete, _) => break,
            };
            at += used;
        }
        Ok(at)
    }

    fn after_size(size: u64) -> Self {
        if size == 0 {
            Self::Trailer { empty: true }
        } else {
            Self::Data(size)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Option<(Head, Answer)>, Failure> {
        let mut answer = Answer::default();
        Ok(head(text.as_bytes(), &mut answer)?.map(|head| (head, answer)))
    }

    #[test]
    fn heads_say_how_bodies_end() {
        let chunked = || Body::Chunked(Chunks::Size { size: 0, digits: false });
        for (text, body, keep) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Body::Length(5), true),
            (
                "HTTP/1.1 200\r\ncontent-length:5\r\nConnection: Close\r\n\r\n",
                Body::Length(5),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                chunked(),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                chunked(),
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Body::UntilClosed, false),
            ("HTTP/1.1 204 No Content\r\n\r\n", Body::Length(0), true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Body::Length(5), false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nconnection: keep-alive\r\n\r\n",
                Body::Length(5),
                true,
            ),
        ] {
            let (head, _) = read(text).unwrap().unwrap();
            assert_eq!((head.length, head.body, head.keep), (text.len(), body, keep), "{text}");
        }
    }

    #[test]
    fn heads_say_who_answered_and_whom_they_saw() {
        let text = "HTTP/1.1 503 No\r\nX-Served-By: web1\r\nx-saw-client: 2001:db8::1\r\nContent-Length: 0\r\n\r\n";
        let (_, answer) = read(text).unwrap().unwrap();
        assert_eq!((answer.status, &*answer.server), (503, "web1"));
        assert_eq!(answer.saw, Some("2001:db8::1".parse().unwrap()));
        for length in 0..text.len() {
            assert_eq!(read(&text[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "HTTP/2 200 OK\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 two OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(read(text), Err(NOT_HTTP), "{text:?}");
        }
        for text in ["x\r\n", "\r\n", "5\r\nhello world", "fffffffffffffffff\r\n"] {
            let mut body = Body::Chunked(Chunks::Size { size: 0, digits: false });
            assert!(body.take(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        /// However the network cuts it.
        #[test]
        fn chunks_end_where_they_do(sizes in prop::collection::vec(1usize..40, 0..6), cuts in prop::collection::vec(1usize..9, 1..9), trailer: bool) {
            let mut text: String = sizes.iter().map(|&size| format!("{size:x};a=\"b\"\r\n{}\r\n", "\n".repeat(size))).collect();
            text += if trailer { "0\r\nx-a: b\r\n\r\n" } else { "0\r\n\r\n" };
            let mut body = Body::Chunked(Chunks::Size { size: 0, digits: false });
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                prop_assert!(!body.is_complete());
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                prop_assert_eq!(body.take(piece).unwrap(), piece.len());
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(body.is_complete());
            prop_assert_eq!(body.take(b"HTTP/1.1").unwrap(), 0);
        }
    }
}
