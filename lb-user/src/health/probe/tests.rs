//! Against real sockets on loopback.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::model::HttpProbe;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

fn http(path: &str) -> HealthKind {
    HealthKind::Http(HttpProbe { path: path.to_owned() })
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that answers one connection with `response`, and returns what it was asked and how the connection ended.
async fn served(response: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<(String, io::Result<usize>)>) {
    let (listener, address) = listener().await;
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut request).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let _ = stream.write_all(response).await;
        // No shutdown yet: a probe must not wait for the end of a connection that it has no more use for.
        let end = stream.read(&mut [0]).await;
        (String::from_utf8(request).unwrap(), end)
    });
    (address, task)
}

#[tokio::test]
async fn tcp_connects_and_resets() {
    let (listener, address) = listener().await;
    let success = probe(&HealthKind::Tcp, address, LONG).await.unwrap();
    assert_eq!(success.answer, Answer::Connected);
    let (mut stream, _) = listener.accept().await.unwrap();
    let end = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset, "no TIME_WAIT on the prober");
}

#[tokio::test]
async fn both_kinds_say_when_nobody_listens() {
    let (listener, address) = listener().await;
    drop(listener);
    for kind in [HealthKind::Tcp, http("/")] {
        let failure = probe(&kind, address, LONG).await.unwrap_err();
        assert_eq!(
            (&failure, failure.to_string()),
            (&Failure::Refused, "connection refused".to_owned())
        );
    }
}

#[tokio::test]
async fn a_full_accept_queue_is_a_time_out() {
    // Loopback has no black hole without privileges, but a listener whose queue is full drops SYNs.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut kept = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
        kept.push(stream);
        assert!(kept.len() < 100, "the queue never fills");
    }
    let failure = probe(&HealthKind::Tcp, address, SHORT).await.unwrap_err();
    assert_eq!(failure.to_string(), "timed out after 100ms while connecting");
}

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

#[tokio::test]
async fn what_this_node_lacks_is_not_the_backends_fault() {
    let failure = probe(&http("/a b"), "127.0.0.1:9".parse().unwrap(), LONG)
        .await
        .unwrap_err();
    assert_eq!(
        failure.to_string(),
        "this node could not probe: \"/a b\" is no request target"
    );
    use nix::errno::Errno;
    for errno in [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::EADDRNOTAVAIL,
        Errno::ENOBUFS,
        Errno::EPERM,
    ] {
        let failure = Failure::from(io::Error::from_raw_os_error(errno as i32));
        assert!(matches!(failure, Failure::Local(_)), "{errno}");
    }
    for errno in [
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::ECONNRESET,
        Errno::ETIMEDOUT,
    ] {
        let failure = Failure::from(io::Error::from_raw_os_error(errno as i32));
        assert!(matches!(failure, Failure::Unreachable { .. }), "{errno}");
    }
}

#[test]
fn successes_in_words() {
    let took = Duration::from_micros(1_249);
    let words = |answer| Success { answer, took }.to_string();
    assert_eq!(words(Answer::Connected), "connected in 1.2 ms");
    assert_eq!(words(Answer::Status(200)), "status 200 in 1.2 ms");
    assert_eq!(words(Answer::NotProbed), "not probed");
}
