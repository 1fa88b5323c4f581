//! Heads of requests.

use super::super::{Framing, HeadError, Known, RequestHead};
use super::{BOUNDS, request};

/// A request with these lines behind its Host.
fn with(lines: &str) -> Vec<u8> {
    format!("POST /form HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes()
}

#[test]
fn what_can_be_understood_in_two_ways_is_refused() {
    use HeadError::*;
    #[rustfmt::skip]
    let cases: &[(&str, HeadError)] = &[
        // Lengths.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", Ambiguous),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", Ambiguous),
        ("Content-Length: 5\r\nContent-Length: 6", Length),
        ("Content-Length: 5\r\nContent-Length: 5", Length),
        ("Content-Length: 5\r\nCONTENT-LENGTH: 5", Length),
        ("Content-Length: 5, 5", Length),
        ("Content-Length: 5,6", Length),
        ("Content-Length: +5", Length),
        ("Content-Length: -5", Length),
        ("Content-Length: 0x5", Length),
        ("Content-Length: 5 5", Length),
        ("Content-Length: 5;a", Length),
        ("Content-Length: 5.0", Length),
        ("Content-Length: 1e1", Length),
        ("Content-Length: 1_0", Length),
        ("Content-Length: \"5\"", Length),
        ("Content-Length: \u{665}", Length),
        ("Content-Length:", Length),
        ("Content-Length: 18446744073709551616", Length),
        // Codings.
        ("Transfer-Encoding: gzip", Coding),
        ("Transfer-Encoding: identity", Coding),
        ("Transfer-Encoding: gzip, chunked", Coding),
        ("Transfer-Encoding: chunked, gzip", Coding),
        ("Transfer-Encoding: chunked, chunked", Coding),
        ("Transfer-Encoding: chunked, identity", Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Coding),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", Coding),
        ("Transfer-Encoding: xchunked", Coding),
        ("Transfer-Encoding: chunkedx", Coding),
        ("Transfer-Encoding: chunk", Coding),
        ("Transfer-Encoding: chunked;q=1", Coding),
        ("Transfer-Encoding: chunked,", Coding),
        ("Transfer-Encoding: ,chunked", Coding),
        ("Transfer-Encoding: \"chunked\"", Coding),
        ("Transfer-Encoding: 'chunked'", Coding),
        ("Transfer-Encoding: chu\u{212a}ed", Coding),
        ("Transfer-Encoding:", Coding),
        ("Transfer-Encoding: chunked\x0b", FieldValue),
        ("Transfer-Encoding: \x0cchunked", FieldValue),
        ("Transfer-Encoding: chunked\0", FieldValue),
        // Names.
        ("Transfer-Encoding : chunked", FieldName),
        ("Transfer-Encoding\t: chunked", FieldName),
        ("Transfer Encoding: chunked", FieldName),
        ("Transfer-Encoding\x0b: chunked", FieldName),
        ("Transfer-Encoding\0: chunked", FieldName),
        ("Transfer_Encoding: chunked", FieldName),
        ("content_length: 5", FieldName),
        ("X_Forwarded-For: 192.0.2.1", FieldName),
        (": nameless", FieldName),
        ("no colon", FieldName),
        ("\u{e9}: x", FieldName),
        ("a(b): x", FieldName),
        // Lines.
        (" folded: x", Folding),
        ("X: a\r\n folded", Folding),
        ("X: a\r\n\tfolded", Folding),
        ("Transfer-Encoding:\r\n chunked", Folding),
        ("X: a\nTransfer-Encoding: chunked", LineEnd),
        ("X: a\n\rTransfer-Encoding: chunked", LineEnd),
        ("X: a\rTransfer-Encoding: chunked", LineEnd),
        ("X: a\r\r", LineEnd),
        ("\rX: a", FieldName),
        ("X: \x01", FieldValue),
        ("X: \x08", FieldValue),
        ("X: \x7f", FieldValue),
        ("X: a\0b", FieldValue),
        // What the next one would no longer see.
        ("Connection: close, content-length\r\nContent-Length: 5", Nominated),
        ("Connection: host", Nominated),
        ("Connection: Cookie", Nominated),
        ("Connection: x-forwarded-for", Nominated),
        ("Connection: Forwarded", Nominated),
        ("Connection: connection", Nominated),
        ("Connection: close\r\nConnection: expect", Nominated),
        // What would be understood by the next one alone.
        ("Expect: 200-ok", Expectation),
        ("Expect: 100-continue, x", Expectation),
        ("Expect: 100-continue\r\nExpect: x", Expectation),
        ("Host: a", Host),
        ("host: b", Host),
    ];
    for (lines, error) in cases {
        assert_eq!(
            request(&with(lines)).map(|head| head.framing),
            Err(*error),
            "{}",
            lines.escape_debug()
        );
    }
}

#[test]
fn request_lines_and_targets_are_read_strictly() {
    use HeadError::*;
    #[rustfmt::skip]
    let cases: &[(&str, HeadError)] = &[
        ("", RequestLine),
        ("GET", RequestLine),
        ("GET /", RequestLine),
        ("GET / HTTP/1.1 ", RequestLine),
        ("GET  / HTTP/1.1", RequestLine),
        ("GET /  HTTP/1.1", RequestLine),
        ("GET\t/\tHTTP/1.1", RequestLine),
        (" GET / HTTP/1.1", RequestLine),
        ("GET / http/1.1", RequestLine),
        ("GET / HTTP/1.10", RequestLine),
        ("GET / HTTP/11", RequestLine),
        ("GET / HTTP/1.x", RequestLine),
        ("GET / ICAP/1.0", RequestLine),
        ("GE(T / HTTP/1.1", RequestLine),
        ("GET\0 / HTTP/1.1", RequestLine),
        ("\u{16}\u{3}\u{1} / HTTP/1.1", RequestLine),
        ("GET / a HTTP/1.1", RequestLine),
        ("GET /\rX HTTP/1.1", Target),
        ("GET / HTTP/1.1\r", RequestLine),
        ("GET / HTTP/0.9", Version),
        ("GET / HTTP/1.2", Version),
        ("GET / HTTP/2.0", Version),
        ("PRI * HTTP/2.0", Version),
        ("GET /#fragment HTTP/1.1", Target),
        ("GET http://a/#fragment HTTP/1.1", Target),
        ("GET /\u{e9} HTTP/1.1", Target),
        ("GET /\x01 HTTP/1.1", Target),
        ("GET /\x7f HTTP/1.1", Target),
        ("GET a HTTP/1.1", Target),
        ("GET a:80 HTTP/1.1", Target),
        ("GET * HTTP/1.1", Target),
        ("OPTIONS ** HTTP/1.1", Target),
        ("GET ?x HTTP/1.1", Target),
        ("GET ftp://a/ HTTP/1.1", Target),
        ("GET http:/a/ HTTP/1.1", Target),
        ("GET http:///x HTTP/1.1", Target),
        ("GET http://a?x HTTP/1.1", Target),
        ("GET http://user@a/ HTTP/1.1", Target),
        ("GET http://user:password@a/ HTTP/1.1", Target),
        ("GET http://a\\@b/ HTTP/1.1", Target),
        ("GET http://b/ HTTP/1.1", Host),
        ("GET http://a:80/ HTTP/1.1", Host),
        ("GET http://a.b/ HTTP/1.1", Host),
    ];
    for (line, error) in cases {
        let bytes = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(
            request(bytes.as_bytes()).map(|head| head.path),
            Err(*error),
            "{}",
            line.escape_debug()
        );
    }
    for bytes in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "\nGET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
    ] {
        assert_eq!(
            RequestHead::default().read(bytes.as_bytes(), &BOUNDS),
            Err(LineEnd),
            "{bytes:?}"
        );
    }
}

#[test]
fn hosts_are_names_or_addresses() {
    let read =
        |host: &str| request(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).map(|head| head.length);
    for host in [
        "a",
        "A.example",
        "a:80",
        "a:",
        "a:65535",
        "192.0.2.1",
        "192.0.2.1:8080",
        "[::1]",
        "[2001:db8::1]:443",
        "[::ffff:192.0.2.1]",
        "a_b",
        "xn--bcher-kva.example",
        "a.",
    ] {
        assert!(read(host).is_ok(), "{host}");
    }
    for host in [
        "",
        ":80",
        "a:b",
        "a:65536",
        "a:-1",
        "a:+1",
        "a:80:80",
        "a b",
        "a,b",
        "a/b",
        "user@a",
        "a?b",
        "a#b",
        "a\\b",
        "a%2fb",
        "a%",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[]",
        "[v1.x]",
        "[::g]",
        "[192.0.2.1]",
        "[fe80::1%eth0]",
        "x[::1]",
        "\u{e9}",
        "http://a",
        "a\"b",
        "<a>",
    ] {
        assert_eq!(read(host), Err(HeadError::Host), "{host}");
    }
    let none = request(b"GET / HTTP/1.1\r\nX: a\r\n\r\n");
    assert_eq!(none.map(|head| head.length), Err(HeadError::Host));
    let two = request(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
    assert_eq!(two.map(|head| head.length), Err(HeadError::Host));
}

#[test]
fn coding_is_nothing_of_http_1_0() {
    let coded = request(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(coded.map(|head| head.framing), Err(HeadError::Coding));
}

#[test]
fn too_much_is_told_apart() {
    let long = |bytes: String| {
        RequestHead::default()
            .read(bytes.as_bytes(), &BOUNDS)
            .map_err(HeadError::status)
    };
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 1));
    assert_eq!(long(target(BOUNDS.target)), Ok(true));
    assert_eq!(long(target(BOUNDS.target + 1)), Err(414));
    assert_eq!(
        long("G".repeat(BOUNDS.bytes)),
        Err(414),
        "no line within all that is taken"
    );
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!(long(fields(BOUNDS.fields - 1)), Ok(true));
    assert_eq!(long(fields(BOUNDS.fields)), Err(431));
    let head = |length: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(length - 32));
    assert_eq!(head(BOUNDS.bytes).len(), BOUNDS.bytes);
    assert_eq!(long(head(BOUNDS.bytes)), Ok(true));
    assert_eq!(long(head(BOUNDS.bytes + 1)), Err(431));
    // It is refused before it is whole, and nothing behind that matters.
    let mut unending = head(5000);
    unending.truncate(BOUNDS.bytes);
    assert_eq!(long(unending.clone()), Err(431));
    unending.push('\n');
    assert_eq!(long(unending), Err(431));
}

#[test]
fn every_refusal_has_its_status() {
    for (bytes, status) in [
        (&b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"[..], 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ] {
        assert_eq!(
            request(bytes).map_err(HeadError::status).map(|head| head.length),
            Err(status)
        );
    }
}

#[test]
fn what_is_right_is_taken() {
    let bytes = b"get /a?b=c HTTP/1.1\r\nhOST:a.example:8080\r\nX-Empty:\r\nX-Blanks: \t a\tb \t\r\nX-Text: \xe9\xff\r\n\r\nbody";
    let head = request(bytes).unwrap();
    assert_eq!(head.method.of(bytes), b"get", "letters matter");
    assert_eq!(
        (head.path.of(bytes), head.path_alone(bytes)),
        (&b"/a?b=c"[..], &b"/a"[..])
    );
    assert_eq!(head.host.of(bytes), b"a.example:8080");
    assert_eq!(
        (head.length, head.framing, head.is_1_1),
        (bytes.len() - 4, Framing::None, true)
    );
    let values: Vec<_> = head.fields.all().iter().map(|field| field.value.of(bytes)).collect();
    assert_eq!(values, [&b"a.example:8080"[..], b"", b"a\tb", b"\xe9\xff"]);
    assert_eq!(head.fields.all()[1].line.of(bytes), b"X-Empty:\r\n");

    let bytes = b"GET / HTTP/1.0\r\n\r\n";
    let head = request(bytes).unwrap();
    assert!(!head.is_1_1 && head.host.is_empty() && !head.keeps_connection());
    assert!(
        request(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            .unwrap()
            .keeps_connection()
    );
    assert!(request(&with("X: y")).unwrap().keeps_connection());
    assert!(!request(&with("Connection: x, CLOSE")).unwrap().keeps_connection());

    let bytes = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(request(bytes).unwrap().path.of(bytes), b"*");
    for bytes in [
        &b"GET HTTP://A/x HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"GET https://A/x HTTP/1.0\r\n\r\n",
    ] {
        let head = request(bytes).unwrap();
        assert_eq!((head.host.of(bytes), head.path.of(bytes)), (&b"A"[..], &b"/x"[..]));
    }
    let bytes = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    assert_eq!(request(bytes).unwrap().path.of(bytes), b"a:443");
}

#[test]
fn bodies_have_one_length() {
    for (lines, framing) in [
        ("X: y", Framing::None),
        ("Content-Length: 0", Framing::None),
        ("Content-Length: 5", Framing::Length(5)),
        ("Content-Length:   005\t", Framing::Length(5)),
        ("Content-Length: 18446744073709551615", Framing::Length(u64::MAX)),
        ("transfer-encoding: Chunked", Framing::Chunked),
        ("Transfer-Encoding:\tchunked ", Framing::Chunked),
        // Naming it does not take it away.
        (
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
            Framing::Chunked,
        ),
    ] {
        let bytes = with(lines);
        let head = request(&bytes).unwrap_or_else(|error| panic!("{lines}: {error}"));
        assert_eq!(head.framing, framing, "{lines}");
        let lost = head.fields.all().iter().find(|field| field.nominated);
        assert!(lost.is_none(), "{lines}");
    }
}

#[test]
fn connection_names_what_goes_no_further() {
    let bytes = with("X-Own: 1\r\nConnection: keep-alive, x-OWN,, TE\r\nTE: trailers\r\nX-Other: 2");
    let head = request(&bytes).unwrap();
    let named: Vec<_> = head
        .fields
        .all()
        .iter()
        .filter(|field| field.nominated)
        .map(|field| field.name.of(&bytes))
        .collect();
    assert_eq!(named, [&b"X-Own"[..], b"TE"]);
    assert!(head.connection.keep_alive && !head.connection.close && !head.connection.upgrade);
}

#[test]
fn only_other_protocols_are_upgraded_to() {
    for (lines, wanted) in [
        ("Connection: Upgrade\r\nUpgrade: websocket", true),
        ("Connection: keep-alive, upgrade\r\nUpgrade: WebSocket, x/1", true),
        ("Upgrade: websocket", false),
        ("Connection: upgrade", false),
        ("Connection: upgrade\r\nUpgrade: h2c", false),
        ("Connection: upgrade\r\nUpgrade: websocket, H2C", false),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c", false),
        ("Connection: upgrade\r\nUpgrade: HTTP/2.0", false),
    ] {
        let bytes = with(lines);
        assert_eq!(request(&bytes).unwrap().wants_upgrade(&bytes), wanted, "{lines}");
    }
    let old = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert!(!request(old).unwrap().wants_upgrade(old));
}

#[test]
fn expectations_are_for_http_1_1() {
    assert!(
        request(&with("Expect: 100-Continue\r\nContent-Length: 1"))
            .unwrap()
            .expects_continue
    );
    let old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert!(!request(old).unwrap().expects_continue);
}

#[test]
fn a_head_is_read_anew() {
    let mut head = RequestHead::default();
    let first = with("Expect: 100-continue\r\nContent-Length: 1\r\nConnection: close");
    assert_eq!(head.read(&first, &BOUNDS), Ok(true));
    let second = b"GET / HTTP/1.0\r\n\r\n";
    assert_eq!(head.read(second, &BOUNDS), Ok(true));
    assert!(!head.expects_continue && !head.connection.close && head.framing == Framing::None);
    assert!(head.fields.find(Known::Expect).is_none() && head.host.is_empty());
}
