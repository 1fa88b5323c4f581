//! Heads of responses. Those that say two things about their length are refused like requests: nginx does so, too, and
//! whoever believed one of both could be made to take a part of a body for the next answer.

use super::super::{Framing, HeadError, ResponseHead};
use super::{BOUNDS, response};

#[test]
fn what_is_no_response_is_refused() {
    use HeadError::*;
    #[rustfmt::skip]
    let cases: &[(&str, HeadError)] = &[
        ("", StatusLine),
        ("HTTP/1.1", StatusLine),
        ("HTTP/1.1 200OK", StatusLine),
        ("HTTP/1.1  200 OK", StatusLine),
        ("HTTP/1.1 20 OK", StatusLine),
        ("HTTP/1.1 2000 OK", StatusLine),
        ("HTTP/1.1 099 OK", StatusLine),
        ("HTTP/1.1 +20 OK", StatusLine),
        ("HTTP/1.1 200\tOK", StatusLine),
        ("HTTP/1.1 200 O\0K", StatusLine),
        ("HTTP/1.1 200 O\rK", StatusLine),
        ("HTTP/2.0 200 OK", StatusLine),
        ("HTTP/0.9 200 OK", StatusLine),
        ("http/1.1 200 OK", StatusLine),
        (" HTTP/1.1 200 OK", StatusLine),
        ("ICY 200 OK", StatusLine),
        ("<html>", StatusLine),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6", Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5", Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: x", Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", Ambiguous),
        ("HTTP/1.1 204 No\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", Ambiguous),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", Coding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity", Coding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", Coding),
        ("HTTP/1.1 200 OK\r\nX : y", FieldName),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b", Folding),
        ("HTTP/1.1 200 OK\r\nX: a\nb: c", LineEnd),
        ("HTTP/1.1 200 OK\r\nX: a\rb: c", LineEnd),
        ("HTTP/1.1 200 OK\r\nX: \x01", FieldValue),
        ("HTTP/1.1 200 OK\r\nConnection: set-cookie", Nominated),
    ];
    for (lines, error) in cases {
        let bytes = format!("{lines}\r\n\r\n");
        assert_eq!(
            response(bytes.as_bytes()).map(|head| head.status),
            Err(*error),
            "{}",
            lines.escape_debug()
        );
    }
    let endless = [b'x'; BOUNDS.bytes];
    assert_eq!(
        ResponseHead::default().read(&endless, &BOUNDS, false),
        Err(HeadError::TooLarge)
    );
}

#[test]
fn bodies_are_as_long_as_request_and_status_let_them_be() {
    #[rustfmt::skip]
    let cases: &[(&str, bool, Framing, bool)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 5", false, Framing::Length(5), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5", true, Framing::None, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0", false, Framing::None, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", false, Framing::Chunked, true),
        ("HTTP/1.1 200 OK\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked", false, Framing::Chunked, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", true, Framing::None, true),
        ("HTTP/1.1 200 OK", false, Framing::Close, false),
        ("HTTP/1.1 200 OK", true, Framing::None, true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5", false, Framing::None, true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5", false, Framing::None, true),
        ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked", false, Framing::None, true),
        ("HTTP/1.1 100 Continue", false, Framing::None, true),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade", false, Framing::None, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close", false, Framing::Length(5), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5", false, Framing::Length(5), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive", false, Framing::Length(5), true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive", false, Framing::Close, false),
    ];
    for (lines, to_head, framing, stays) in cases {
        let bytes = format!("{lines}\r\n\r\n");
        let mut head = ResponseHead::default();
        assert_eq!(head.read(bytes.as_bytes(), &BOUNDS, *to_head), Ok(true), "{lines}");
        assert_eq!((head.framing, head.keeps_connection()), (*framing, *stays), "{lines}");
    }
}

#[test]
fn reasons_are_for_people() {
    for (line, reason) in [
        ("HTTP/1.1 200", ""),
        ("HTTP/1.1 200 ", ""),
        ("HTTP/1.1 999 Very \u{e9} much", "Very \u{e9} much"),
        ("HTTP/1.0 404  two  blanks", " two  blanks"),
    ] {
        let bytes = format!("{line}\r\n\r\n");
        let head = response(bytes.as_bytes()).unwrap();
        assert_eq!(head.reason.of(bytes.as_bytes()), reason.as_bytes());
    }
    assert!(response(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap().is_interim());
    assert!(
        !response(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            .unwrap()
            .is_interim()
    );
}
