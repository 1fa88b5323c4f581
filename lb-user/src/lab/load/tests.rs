//! The generator beside small servers, which run in the test's own process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::net::Namespace;

const OK: &str = "HTTP/1.1 200 OK\r\nx-served-by: web1\r\nContent-Length: 2\r\n\r\nok";

/// Where the test is.
async fn run(plan: &Plan) -> std::io::Result<Outcome> {
    super::run(&Namespace::current()?, plan).await
}

/// What a server does with the connection when it has been asked.
#[derive(Clone, Copy)]
enum Then {
    Keep,
    Close,
    Reset,
}

/// Accepts connections, and answers each request with this.
async fn server(answer: &'static str, then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, client) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                while ask(&mut stream).await.is_some() {
                    let answer = answer.replace("CLIENT", &client.ip().to_string());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    match then {
                        Then::Keep => {}
                        Then::Close => return,
                        Then::Reset => return stream.set_zero_linger().unwrap(),
                    }
                }
            });
        }
    });
    address
}

/// Reads a request; none when the client has left.
async fn ask(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(request).unwrap())
}

fn requests(address: SocketAddr, number: u64) -> Plan {
    Plan {
        end: End::Requests(number),
        ..patient(address)
    }
}

/// It waits for answers on a machine that holds their server up.
fn patient(address: SocketAddr) -> Plan {
    Plan {
        timeout: Duration::from_secs(60),
        ..Plan::new(Target::at(address))
    }
}

/// An address where nobody listens. As long as the socket is held, nobody else takes the port.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn failed(reason: &str, times: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(reason.to_owned(), times)])
}

#[tokio::test]
async fn connections_are_kept_or_made_for_each_request() {
    let address = server(OK, Then::Keep).await;
    let plan = Plan {
        connections: 3,
        ..requests(address, 30)
    };
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, outcome.failures()), (30, 0));
    assert!((1..=3).contains(&outcome.connections), "{}", outcome.connections);
    assert_eq!(outcome.statuses, BTreeMap::from([(200, 30)]));
    assert_eq!(outcome.served, BTreeMap::from([("web1".to_owned(), 30)]));
    assert_eq!(outcome.order().count(), 30);
    assert_eq!((outcome.bytes, outcome.latency.len()), (30 * OK.len() as u64, 30));
    let plan = Plan { reuse: false, ..plan };
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, outcome.connections), (30, 30));
}

#[tokio::test]
async fn threads_share_connections_and_requests() {
    let plan = Plan {
        connections: 5,
        threads: 2,
        ..requests(server(OK, Then::Keep).await, 100)
    };
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, outcome.order().count()), (100, 32));
    assert!((2..=5).contains(&outcome.connections), "{}", outcome.connections);
}

#[tokio::test]
async fn bodies_end_in_every_way() {
    for (answer, then, connections) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Then::Keep,
            1,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", Then::Close, 4),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            Then::Keep,
            4,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            Then::Keep,
            1,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", Then::Keep, 4),
    ] {
        let outcome = run(&requests(server(answer, then).await, 4)).await.unwrap();
        assert_eq!((outcome.answered, outcome.connections), (4, connections), "{answer}");
        assert_eq!(outcome.failed, BTreeMap::new(), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_has_ended_while_idle_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let plan = Plan {
        pace: Pace::Open { rate: 5.0 },
        ..requests(address, 2)
    };
    tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            ask(&mut stream).await.unwrap();
            // It closes its end unasked, in the same segment as it answers in: that is there when the next request is due,
            // however late the answer was.
            SockRef::from(&stream).set_tcp_cork(true).unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, outcome.connections), (2, 2), "{:?}", outcome.failed);
}

#[tokio::test]
async fn failures_have_short_reasons() {
    for (answer, then, reason) in [
        ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Then::Keep, "status 503"),
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", Then::Keep, "status 404"),
        ("", Then::Close, "closed"),
        ("", Then::Reset, "reset"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            Then::Close,
            "cut off",
        ),
        ("HTTP/1.1 200", Then::Close, "cut off"),
        ("220 mail\r\n\r\n", Then::Keep, "not an answer of HTTP/1.1"),
        ("", Then::Keep, "timed out"),
    ] {
        let mut plan = requests(server(answer, then).await, 2);
        if reason == "timed out" {
            plan.timeout = Duration::from_millis(50);
        }
        let outcome = run(&plan).await.unwrap();
        assert_eq!(outcome.failed, failed(reason, 2));
        assert_eq!((outcome.answered, outcome.latency.len()), (0, 0), "{reason}");
    }
    let (_held, nobody) = closed();
    let outcome = run(&requests(nobody, 2)).await.unwrap();
    assert_eq!((outcome.failed, outcome.connections), (failed("refused", 2), 0));
}

#[tokio::test]
async fn a_plan_says_which_statuses_are_fine() {
    let answer = "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    let plan = Plan {
        fine: 200..=499,
        ..requests(server(answer, Then::Keep).await, 2)
    };
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, outcome.statuses), (2, BTreeMap::from([(404, 2)])));
}

/// A server that answers the first request after a second: all that were due meanwhile have waited for it.
#[tokio::test]
async fn with_a_rate_latency_counts_from_when_requests_are_due() {
    const STALL: Duration = Duration::from_secs(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = Plan {
        pace: Pace::Open { rate: 20.0 },
        record: true,
        ..requests(listener.local_addr().unwrap(), 20)
    };
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut stall = STALL;
        while ask(&mut stream).await.is_some() {
            tokio::time::sleep(std::mem::take(&mut stall)).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    };
    let (outcome, ()) = tokio::join!(run(&plan), serve);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.answered, outcome.events.len()), (20, 20));
    let first = outcome.events[0].due;
    for (number, event) in (0..).zip(&outcome.events) {
        let after = Duration::from_millis(50) * number;
        assert_eq!(event.due - first, after);
        assert!(event.took + after >= STALL, "{number}: {:?}", event.took);
        assert_eq!(event.outcome.as_deref(), Ok("web1"));
    }
    // Half of them were due in the first half of the stall.
    assert!(outcome.percentile(0.5) >= STALL / 2 - Duration::from_millis(51));
}

#[tokio::test]
async fn requests_that_no_connection_was_free_for_are_counted() {
    let plan = Plan {
        pace: Pace::Open { rate: 100.0 },
        end: End::After(Duration::from_millis(100)),
        // Not before the end: nobody is free until then.
        timeout: Duration::from_millis(300),
        ..Plan::new(Target::at(server("", Then::Keep).await))
    };
    let outcome = run(&plan).await.unwrap();
    let expected = BTreeMap::from([("timed out".to_owned(), 1), (NOT_SENT.to_owned(), 9)]);
    assert_eq!(outcome.failed, expected);
}

#[tokio::test]
async fn a_plan_is_stopped_and_looked_at_meanwhile() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = Plan {
        record: true,
        end: End::After(Duration::from_secs(3600)),
        ..patient(listener.local_addr().unwrap())
    };
    let mut running = Running::start(&Namespace::current().unwrap(), &plan).unwrap();
    let began = Instant::now();
    let (mut stream, _) = listener.accept().await.unwrap();
    for _ in 0..3 {
        ask(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
    }
    // The fourth has come, so the third has been counted.
    ask(&mut stream).await.unwrap();
    let progress = running.progress();
    assert_eq!((progress.answered, progress.failed), (3, 0));
    assert!(running.events_since(began + Duration::from_secs(3600)).is_empty());
    let events = running.events_since(began - Duration::from_secs(3600));
    assert_eq!(events.len(), 3);
    running.end();
    stream.write_all(OK.as_bytes()).await.unwrap();
    running.done().await;
    let outcome = running.stop().unwrap();
    assert_eq!((outcome.answered, outcome.failures(), outcome.events.len()), (4, 0, 4));
}

#[tokio::test]
async fn sources_take_turns_and_headers_are_sent() {
    let answer = "HTTP/1.1 200 OK\r\nx-saw-client: CLIENT\r\nContent-Length: 0\r\n\r\n";
    let sources: Vec<IpAddr> = (2..6).map(|last| Ipv4Addr::new(127, 0, 0, last).into()).collect();
    let plan = Plan {
        sources: sources.clone(),
        reuse: false,
        ..requests(server(answer, Then::Close).await, 8)
    };
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, outcome.seen), (8, sources.into_iter().collect()));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plan = requests(listener.local_addr().unwrap(), 1);
    plan.target.host = "web.test".to_owned();
    plan.target.path = "/a?b".to_owned();
    plan.headers = vec![("x-a".to_owned(), "b".to_owned())];
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = ask(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        request
    };
    let (outcome, request) = tokio::join!(run(&plan), serve);
    assert_eq!(outcome.unwrap().answered, 1);
    assert_eq!(request, "GET /a?b HTTP/1.1\r\nHost: web.test\r\nx-a: b\r\n\r\n");

    plan.headers = vec![("x-a".to_owned(), "b\r\nx-c: d".to_owned())];
    assert!(run(&plan).await.is_err());
}

/// Speaks TLS with a certificate for `web.test`, which is also the authority; HTTP/2 where the client wants it.
async fn tls_server() -> (SocketAddr, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["web.test".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    return http2(stream, None).await;
                }
                while ask(&mut stream).await.is_some() {
                    stream.write_all(OK.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    (address, certificate.pem())
}

/// Answers requests of HTTP/2; says that it takes no more after `last`.
async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin, last: Option<usize>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut number = 0;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        number += 1;
        let head = http::Response::builder()
            .header("x-served-by", "web2")
            .body(())
            .unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; 3000]), true).unwrap();
        if last == Some(number) {
            connection.graceful_shutdown();
        }
    }
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_are_believed_or_checked() {
    let (address, ca) = tls_server().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca).unwrap();
    let mut plan = requests(address, 6);
    plan.target.tls = true;
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, outcome.connections), (6, 1), "{:?}", outcome.failed);
    plan.target.ca = Some(file.path().to_owned());
    plan.target.host = "web.test:8443".to_owned();
    assert_eq!(run(&plan).await.unwrap().answered, 6);
    plan.target.host = "other.test".to_owned();
    let outcome = run(&plan).await.unwrap();
    assert_eq!(outcome.failures(), 6);
    assert!(
        outcome.failed.keys().all(|reason| reason.starts_with("TLS: ")),
        "{:?}",
        outcome.failed
    );
    plan.target.ca = Some("/nonexistent".into());
    assert!(run(&plan).await.is_err());
}

#[tokio::test]
async fn http2_has_several_requests_on_a_connection() {
    let (address, _) = tls_server().await;
    let mut plan = Plan {
        protocol: Protocol::Http2,
        connections: 2,
        streams: 5,
        ..requests(address, 100)
    };
    plan.target.tls = true;
    let outcome = run(&plan).await.unwrap();
    assert_eq!(
        (outcome.answered, outcome.connections),
        (100, 2),
        "{:?}",
        outcome.failed
    );
    assert_eq!(outcome.served, BTreeMap::from([("web2".to_owned(), 100)]));
    assert_eq!(outcome.bytes, 100 * 3000);
    plan.reuse = false;
    plan.end = End::Requests(20);
    let outcome = run(&plan).await.unwrap();
    assert_eq!(
        (outcome.answered, outcome.connections),
        (20, 20),
        "{:?}",
        outcome.failed
    );
}

#[tokio::test]
async fn http2_goes_on_where_a_server_ends_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = Plan {
        protocol: Protocol::Http2,
        streams: 3,
        ..requests(listener.local_addr().unwrap(), 40)
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(http2(stream, Some(10)));
        }
    });
    let outcome = run(&plan).await.unwrap();
    assert_eq!((outcome.answered, &outcome.failed), (40, &BTreeMap::new()));
    assert!(outcome.connections >= 2, "{}", outcome.connections);
}

#[tokio::test]
async fn http2_failures_have_reasons() {
    let mut plan = Plan {
        protocol: Protocol::Http2,
        ..requests(server("", Then::Close).await, 1)
    };
    // It has closed the connection after an empty line, which the preface has.
    assert_eq!(run(&plan).await.unwrap().failures(), 1);
    let (_held, nobody) = closed();
    plan.target.address = nobody;
    assert_eq!(run(&plan).await.unwrap().failed, failed("refused", 1));
}
