//! Requests, and what is made of responses.

use super::*;
use crate::model::{ExpectBody, Hidden, Pattern};

#[tokio::test]
async fn http_sends_a_well_formed_request_and_reads_the_head_only() {
    let (address, server) = served(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
    let success = probe(&http("/healthz?deep=1"), address, LONG).await.unwrap();
    assert_eq!(success.answer, Answer::Status(200));
    let (request, end) = server.await.unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        request.to_lowercase(),
        format!(
            "get /healthz?deep=1 http/1.1\r\nhost: {address}\r\nuser-agent: fulcrum/{version}\r\nconnection: close\r\n\r\n"
        )
    );
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn http_judges_the_answer() {
    let huge: &'static [u8] = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 40_000]].concat().leak();
    let many: &'static [u8] = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(500)]
        .concat()
        .leak();
    let cases: &[(&'static [u8], Result<Answer, &str>)] = &[
        (b"HTTP/1.1 200 OK\r\n\r\n", Ok(Answer::Status(200))),
        (b"HTTP/1.0 200 OK\r\n\r\n", Ok(Answer::Status(200))),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", Ok(Answer::Status(302))),
        (b"HTTP/1.1 399 Odd\r\n\r\n", Ok(Answer::Status(399))),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            Ok(Answer::Status(200)),
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Err("status 404, wanted 2xx or 3xx")),
        (b"HTTP/1.1 503 Busy\r\n\r\n", Err("status 503, wanted 2xx or 3xx")),
        (b"HTTP/1.1 999 What\r\n\r\n", Err("status 999, wanted 2xx or 3xx")),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Err("not HTTP")),
        (b"\x15\x03\x01\x00\x02\x02\x0a\x0d\x0a", Err("not HTTP")),
        (b"HTTP/2.0 200\r\n\r\n", Err("not HTTP")),
        (
            b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff",
            Err("not HTTP"),
        ),
        (huge, Err("response head too large")),
        (many, Err("response head too large")),
        (b"", Err("timed out after 100ms while waiting for the response")),
        (
            b"HTTP/1.1 200 OK\r\nX: ",
            Err("timed out after 100ms while waiting for the response"),
        ),
    ];
    for (response, expected) in cases {
        let shown = String::from_utf8_lossy(&response[..response.len().min(40)]);
        let timeout = if matches!(expected, Err(reason) if reason.starts_with("timed")) {
            SHORT
        } else {
            LONG
        };
        let (address, _server) = served(response).await;
        let result = probe(&http("/"), address, timeout).await;
        let result = result.map(|s| s.answer).map_err(|f| f.to_string());
        assert_eq!(result, expected.map_err(str::to_owned), "{shown:?}");
    }
}

#[tokio::test]
async fn http_tells_how_a_connection_ended_early() {
    for (half, expected) in [
        (true, "connection closed without a response"),
        (false, "connection reset"),
    ] {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.unwrap();
            if half {
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            } else {
                stream.set_zero_linger().unwrap();
            }
        });
        let failure = probe(&http("/"), address, LONG).await.unwrap_err();
        assert_eq!(failure.to_string(), expected);
        server.await.unwrap();
    }
}

fn asked(change: impl FnOnce(&mut HttpProbe)) -> HealthKind {
    let mut probe = HttpProbe::default();
    change(&mut probe);
    HealthKind::Http(Arc::new(probe))
}

#[tokio::test]
async fn http_sends_what_the_file_says() {
    let (address, server) = served(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let kind = asked(|probe| {
        probe.method = "OPTIONS".to_owned();
        probe.host = Some("shop.example:8080".to_owned());
        probe.path = "/a".to_owned();
        let header = |name: &str, value: &str| (name.to_owned(), Hidden(value.to_owned()));
        probe.headers = vec![header("authorization", "Bearer \u{e4}"), header("user-agent", "me")];
    });
    assert_eq!(probe(&kind, address, LONG).await.unwrap().answer, Answer::Status(204));
    let (request, _) = server.await.unwrap();
    let expected = "options /a http/1.1\r\nhost: shop.example:8080\r\nuser-agent: me\r\nconnection: close\r\n\
        authorization: bearer \u{e4}\r\n\r\n";
    assert_eq!(request.to_lowercase(), expected);
}

#[tokio::test]
async fn http_wants_the_statuses_of_the_file() {
    let kind = asked(|probe| probe.expect_status = Statuses(vec![200..=200, 400..=404]));
    for (response, expected) in [
        (b"HTTP/1.1 404 Not Found\r\n\r\n".as_slice(), Ok(Answer::Status(404))),
        (b"HTTP/1.1 302 Found\r\n\r\n", Err("status 302, wanted 200 or 400-404")),
        (b"HTTP/1.1 405 No\r\n\r\n", Err("status 405, wanted 200 or 400-404")),
    ] {
        let (address, _server) = served(response).await;
        let result = probe(&kind, address, LONG).await;
        let result = result.map(|s| s.answer).map_err(|f| f.to_string());
        assert_eq!(result, expected.map_err(str::to_owned));
    }
}

#[tokio::test]
async fn http_looks_into_the_body() {
    // The text stands across the border between two chunks, and at and behind the end of what is read.
    let text = || ExpectBody::Text("all well".to_owned());
    let regex = |text| ExpectBody::Regex(Pattern(regex::bytes::Regex::new(text).unwrap()));
    let body = |before: usize| {
        let body = [vec![b'x'; before], b"all well".to_vec()].concat();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let response: &'static [u8] = [head.into_bytes(), body].concat().leak();
        response
    };
    const MAX_BODY: usize = 64 * 1024;
    let wrong = Err("status 200, but the body is not as expected");
    for (response, expected_body, expected) in [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nis al\r\n6\r\nl well\r\n0\r\n\r\n".as_slice(),
            text(),
            Ok(Answer::Status(200)),
        ),
        // It is there, so nobody waits for the rest.
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nall well",
            text(),
            Ok(Answer::Status(200)),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall wel", text(), wrong),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", text(), wrong),
        (body(MAX_BODY - 8), text(), Ok(Answer::Status(200))),
        (body(MAX_BODY - 7), text(), wrong),
        (body(MAX_BODY - 8), regex("l{2}$"), Ok(Answer::Status(200))),
        (body(MAX_BODY - 7), regex("well"), wrong),
        (body(0), regex("(?i)^ALL"), Ok(Answer::Status(200))),
        (
            b"HTTP/1.1 503 No\r\nContent-Length: 8\r\n\r\nall well",
            text(),
            Err("status 503, wanted 2xx or 3xx"),
        ),
    ] {
        let kind = asked(|probe| probe.expect_body = Some(expected_body.clone()));
        let (address, _server) = served(response).await;
        let result = probe(&kind, address, LONG).await;
        let result = result.map(|s| s.answer).map_err(|f| f.to_string());
        assert_eq!(result, expected.map_err(str::to_owned), "{expected_body:?}");
    }
}

#[tokio::test]
async fn http_says_when_a_body_does_not_end() {
    let kind = asked(|probe| probe.expect_body = Some(ExpectBody::Text("x".to_owned())));
    let (address, _server) = served(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await;
    let failure = probe(&kind, address, MEDIUM).await.unwrap_err();
    assert_eq!(failure.to_string(), "timed out after 10s while reading the response");
    let (address, _server) = served(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n").await;
    let failure = probe(&kind, address, LONG).await.unwrap_err();
    assert_eq!(failure.to_string(), "connection closed without a response");
}
