//! Chunked bodies.

use super::super::{Body, ChunkedError, Framing, Scanner};

/// How long a body is, and its trailers; `None` while it goes on.
fn scan(bytes: &[u8]) -> Result<Option<(usize, Vec<u8>)>, ChunkedError> {
    let mut scanner = Scanner::default();
    let length = scanner.pass(bytes)?;
    assert!(scanner.is_over() || length == bytes.len());
    Ok(scanner.is_over().then(|| (length, scanner.trailers().to_vec())))
}

/// The data of a body, with its framing taken off.
fn data(bytes: &[u8]) -> Vec<u8> {
    let mut body = Body::of(Framing::Chunked);
    let (mut at, mut data) = (0, Vec::new());
    while !body.is_over() {
        let (skip, length) = body.data(&bytes[at..]).unwrap();
        data.extend_from_slice(&bytes[at + skip..at + skip + length]);
        at += skip + length;
    }
    data
}

#[test]
fn chunks_end_where_they_say() {
    let body = b"5\r\nhello\r\n00A;name=\"v;\"\r\n0123456789\r\n1;\r\n\n\r\n000\r\nX-Sum: 7\r\nY:\r\n\r\n";
    let next = [&body[..], b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(scan(&next), Ok(Some((body.len(), b"X-Sum: 7\r\nY:\r\n".to_vec()))));
    assert_eq!(data(body), b"hello0123456789\n");
    assert_eq!(scan(b"0\r\n\r\n"), Ok(Some((5, Vec::new()))));
    for end in 0..body.len() {
        assert_eq!(scan(&body[..end]), Ok(None), "{end}");
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    use ChunkedError::*;
    #[rustfmt::skip]
    let cases: &[(&str, ChunkedError)] = &[
        ("\r\n", Size),
        (";a\r\n", Size),
        ("g\r\n", Size),
        ("-1\r\n", Size),
        ("+1\r\n", Size),
        ("0x5\r\n", Size),
        ("5_0\r\n", Size),
        (" 5\r\n", Size),
        ("5 \r\n", Size),
        ("5\t;a\r\n", Size),
        ("5,5\r\n", Size),
        ("1000000000000000\r\n", Size),
        ("0000000000000005\r\n", Size),
        ("ffffffffffffffffffff5\r\n", Size),
        ("5\nhello", LineEnd),
        ("5\rhello", LineEnd),
        ("5\r\r\nhello", LineEnd),
        ("5;a\nhello", LineEnd),
        ("5;a\rhello", LineEnd),
        ("5;a=\0\r\n", Extension),
        ("5;a=\x7f\r\n", Extension),
        // Longer and shorter than its size.
        ("5\r\nhello!\r\n", LineEnd),
        ("5\r\nhell\r\n0\r\n\r\n", LineEnd),
        ("5\r\nhello\n", LineEnd),
        ("5\r\nhello\r0\r\n", LineEnd),
        ("5\r\nhello0\r\n\r\n", LineEnd),
        ("0\n\n", LineEnd),
        ("0\r\n\n", LineEnd),
        ("0\r\n\rGET", LineEnd),
        ("0\r\nX: a\n\r\n", LineEnd),
        ("0\r\nX: a\rY: b\r\n", LineEnd),
        ("0\r\nGET / HTTP/1.1\r\n", Trailer),
        ("0\r\nX : a\r\n", Trailer),
        ("0\r\n: a\r\n", Trailer),
        ("0\r\n X: a\r\n", Trailer),
        ("0\r\nX: \x01\r\n", Trailer),
        ("0\r\nTransfer-Encoding: chunked\r\n", Trailer),
        ("0\r\ncontent-length: 5\r\n", Trailer),
        ("0\r\ncontent_length: 5\r\n", Trailer),
        ("0\r\nHost: b\r\n", Trailer),
        ("0\r\nConnection: close\r\n", Trailer),
        ("0\r\nTrailer: x\r\n", Trailer),
        ("0\r\nCookie: a=b\r\n", Trailer),
        ("0\r\nSet-Cookie: a=b\r\n", Trailer),
        ("0\r\nAuthorization: Basic x\r\n", Trailer),
        ("0\r\nX-Forwarded-For: 192.0.2.1\r\n", Trailer),
        ("0\r\nForwarded: for=192.0.2.1\r\n", Trailer),
    ];
    for (bytes, error) in cases {
        assert_eq!(scan(bytes.as_bytes()), Err(*error), "{}", bytes.escape_debug());
    }
    let long = format!("5;{}", "x".repeat(300));
    assert_eq!(scan(long.as_bytes()), Err(Extension));
    let many = format!("0\r\n{}", "X: y\r\n".repeat(2000));
    assert_eq!(scan(many.as_bytes()), Err(Trailer));
}

#[test]
fn the_largest_chunk_is_no_surprise() {
    let mut scanner = Scanner::default();
    assert_eq!(scanner.pass(b"fffffffffffffff\r\n"), Ok(17));
    for _ in 0..3 {
        assert_eq!(scanner.pass(&[b'x'; 4096]), Ok(4096));
    }
    assert!(!scanner.is_over());
}

#[test]
fn lengths_are_kept_to() {
    let mut body = Body::of(Framing::Length(3));
    assert_eq!((body.pass(b"ab"), body.is_over()), (Ok(2), false));
    assert_eq!((body.pass(b"cdef"), body.is_over()), (Ok(1), true));
    assert_eq!(body.pass(b"def"), Ok(0));
    let mut body = Body::of(Framing::Close);
    assert_eq!((body.pass(b"abc"), body.is_over()), (Ok(3), false));
    assert!(Body::of(Framing::None).is_over());
}
