//! HTTP/2 on both sides, with the library's other end as client and as backend, and with frames of our own.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::rig::{Backend, OK, Rig, soon};

pub(super) const H2C: &str = "[service.http]\nh2c = true\n";

pub(super) async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    requests
}

pub(super) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://a{path}"))
        .body(())
        .unwrap()
}

/// All of a response.
async fn whole(response: Response<h2::RecvStream>) -> Result<(u16, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let (parts, mut body) = response.into_parts();
    let mut data = Vec::new();
    while let Some(piece) = soon(body.data()).await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        data.extend_from_slice(&piece);
    }
    Ok((parts.status.as_u16(), data, soon(body.trailers()).await?))
}

pub(super) async fn get(
    requests: &SendRequest<Bytes>,
    request: Request<()>,
) -> Result<(u16, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut requests = soon(requests.clone().ready()).await?;
    let (response, _) = requests.send_request(request, true)?;
    whole(soon(response).await?).await
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n";
    let backend = Backend::answering(answer).await;
    let rig = Rig::with(H2C, &[&backend]).await;
    let mut requests = connect(rig.address).await;
    let mut post = request("POST", "/grpc");
    post.headers_mut().insert("te", "trailers".parse().unwrap());
    post.headers_mut().append("cookie", "a=b".parse().unwrap());
    post.headers_mut().append("cookie", "c=d".parse().unwrap());
    let (response, mut body) = requests.send_request(post, false).unwrap();
    body.send_data(Bytes::from_static(b"ping"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    let response = soon(response).await.unwrap();
    assert!(response.headers().get("connection").is_none() && response.headers().get("transfer-encoding").is_none());
    let (status, data, trailers) = whole(response).await.unwrap();
    assert_eq!(
        (status, &data[..], &trailers.unwrap()["grpc-status"]),
        (200, &b"hello"[..], &"0".parse::<http::HeaderValue>().unwrap())
    );
    let seen = backend.only();
    assert_eq!(
        (seen.line(), seen.value("host"), seen.value("cookie")),
        ("POST /grpc HTTP/1.1", Some("a"), Some("a=b; c=d"))
    );
    assert_eq!(
        String::from_utf8_lossy(&seen.body),
        "4\r\nping\r\n0\r\nx-sum: 7\r\n\r\n"
    );
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with(H2C, &[&backend]).await;
    let requests = connect(rig.address).await;
    let all = (0..100).map(|number| get(&requests, request("GET", &format!("/{number}"))));
    for answer in futures_util::future::join_all(all).await {
        let (status, body, _) = answer.unwrap();
        assert_eq!((status, &body[..]), (200, &b"ok"[..]));
    }
    assert_eq!(backend.seen().len(), 100);
}

/// A connection with one request, which has this field, too, and unless it ends with its head a body.
fn frames(name: &str, value: &str, end: bool) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut head = Vec::new();
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    fields.retain(|(own, _)| *own != name || name == ":path" && value == "/b");
    fields.push((name, value));
    // Pseudo-fields come first, or it would be refused for that alone.
    fields.sort_by_key(|(name, _)| !name.starts_with(':'));
    for (name, value) in fields {
        head.extend([0, name.len() as u8]);
        head.extend(name.as_bytes());
        head.push(value.len() as u8);
        head.extend(value.as_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, if end { 5 } else { 4 }, 1, &head));
    if !end {
        bytes.extend(frame(0, 1, 1, b"GET /smuggled HTTP/1.1\r\n\r\n"));
    }
    bytes
}

#[tokio::test]
async fn what_is_no_request_there_is_none_here() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with(H2C, &[&backend]).await;
    let requests = connect(rig.address).await;
    let bad = |name: &'static str, value: &str| {
        let mut request = request("GET", "/");
        request.headers_mut().append(name, value.parse().unwrap());
        request
    };
    for (request, status) in [
        (bad("host", "b"), 400),
        (bad("x_forwarded_for", "192.0.2.1"), 400),
        (bad("expect", "x"), 417),
        (request("CONNECT", "/"), 405),
    ] {
        let said = format!("{request:?}");
        match get(&requests, request).await {
            Ok((is, ..)) => assert_eq!(is, status, "{said}"),
            Err(error) => assert!(error.is_reset() && status == 405, "{said}: {error}"),
        }
    }
    // Lengths that the body does not have, and what HTTP/1 would take for something else: H2.CL, H2.TE and the like.
    for (name, value, end) in [
        ("content-length", "5", true),
        ("content-length", "5", false),
        ("content-length", "0", false),
        ("content-length", "x", true),
        ("transfer-encoding", "chunked", false),
        ("connection", "close", true),
        ("upgrade", "h2c", true),
        ("x", "y\r\ntransfer-encoding: chunked", false),
        ("x\r\ny", "z", true),
        ("x y", "z", true),
        ("x:", "z", true),
        ("Host", "b", true),
        (":path", "/b", true),
        (":path", "/ HTTP/1.1\r\nhost: b\r\n\r\n", true),
        (":method", "GET / HTTP/1.1\r\n\r\n", true),
        (":unknown", "x", true),
    ] {
        let mut client = rig.client().await;
        client.send(frames(name, value, end)).await;
        loop {
            let Some(frame) = client.exactly(9).await else { break };
            let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize;
            let payload = client.exactly(length).await.unwrap();
            match frame[3] {
                // HEADERS: the first field is `:status`, and 200 has an index of its own.
                1 => {
                    assert_ne!(payload[0], 0x88, "{name}: {value}");
                    break;
                }
                // RST_STREAM and GOAWAY.
                3 | 7 => break,
                _ => {}
            }
        }
    }
    let whole = backend
        .seen()
        .into_iter()
        .filter(|seen| !seen.head.starts_with("LEFT "))
        .count();
    assert_eq!(whole, 0, "{:?}", backend.seen());
}

#[tokio::test]
async fn trailers_about_the_client_or_the_body_are_refused() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with(H2C, &[&backend]).await;
    for name in ["content-length", "host", "x-forwarded-for", "cookie", "authorization"] {
        let mut requests = connect(rig.address).await;
        let (response, mut body) = requests.send_request(request("POST", "/"), false).unwrap();
        body.send_data(Bytes::from_static(b"ping"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert(name, "5".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let status = soon(response).await.map(|response| response.status().as_u16());
        assert!(matches!(status, Ok(400) | Err(_)), "{name}: {status:?}");
    }
    assert!(
        backend.seen().iter().all(|seen| seen.head.starts_with("LEFT ")),
        "{:?}",
        backend.seen()
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reset() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let backend = Backend::once(answer).await;
        let rig = Rig::with(H2C, &[&backend]).await;
        let requests = connect(rig.address).await;
        let broken = get(&requests, request("GET", "/")).await;
        assert!(broken.is_err(), "{broken:?}");
        // The connection is none of its business.
        let broken = get(&requests, request("GET", "/")).await.unwrap_err();
        assert!(broken.is_reset(), "{broken:?}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_is_whole_for_nobody() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with(H2C, &[&backend]).await;
    let mut requests = connect(rig.address).await;
    let (response, mut body) = requests.send_request(request("POST", "/"), false).unwrap();
    body.send_data(Bytes::from_static(b"half"), false).unwrap();
    body.send_reset(h2::Reason::CANCEL);
    assert!(soon(response).await.is_err());
    // The same connection serves others, and none on the backend's connection that was in the middle of something.
    assert_eq!(get(&requests, request("GET", "/after")).await.unwrap().0, 200);
    let whole: Vec<_> = backend
        .seen()
        .into_iter()
        .filter(|seen| !seen.head.starts_with("LEFT "))
        .collect();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].line(), "GET /after HTTP/1.1");
}

#[tokio::test]
async fn resets_one_after_the_other_end_the_connection() {
    let backend = Backend::scripted(|_, mut peer, _| async move {
        peer.all().await;
    })
    .await;
    let rig = Rig::with(H2C, &[&backend]).await;
    let mut requests = connect(rig.address).await;
    let mut ended = false;
    for _ in 0..20_000 {
        match soon(requests.clone().ready()).await {
            Ok(ready) => requests = ready,
            Err(_) => {
                ended = true;
                break;
            }
        }
        let Ok((response, mut body)) = requests.send_request(request("POST", "/"), false) else {
            ended = true;
            break;
        };
        body.send_reset(h2::Reason::CANCEL);
        drop(response);
        tokio::task::yield_now().await;
    }
    assert!(ended, "it goes on");
    // Others are served.
    let other = Backend::answering(OK).await;
    let rig = Rig::with(H2C, &[&other]).await;
    assert_eq!(
        get(&connect(rig.address).await, request("GET", "/")).await.unwrap().0,
        200
    );
}

/// Its requests are given up in the middle, and nobody is left to end them.
#[tokio::test]
async fn a_connection_that_is_gone_makes_room_for_who_waits() {
    let backend = Backend::scripted(|_, mut peer, seen| async move {
        while let Some(request) = peer.request().await {
            let answered = !request.line().contains("/never");
            seen.lock().unwrap().push(request);
            if answered {
                peer.send(OK).await;
            }
        }
    })
    .await;
    let text = "[service.http]\nh2c = true\nqueue = { timeout = \"1h\" }\n[service.upstream]\nmax-connections = 1\n";
    let rig = Rig::with(text, &[&backend]).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let client = tokio::spawn(connection);
    let _never = requests.send_request(request("GET", "/never"), true).unwrap();
    soon(async {
        while backend.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let waits = connect(rig.address).await;
    let waits = tokio::spawn(async move { get(&waits, request("GET", "/")).await });
    let traffic = rig.traffic.service(&"site".into());
    soon(async {
        while traffic.waiting.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.abort();
    assert_eq!(soon(waits).await.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn streams_at_once_are_bounded() {
    let backend = Backend::scripted(|_, mut peer, seen| async move {
        let request = peer.request().await.unwrap();
        seen.lock().unwrap().push(request);
        peer.all().await;
    })
    .await;
    let rig = Rig::with(
        "[service.http]\nh2c = true\n[service.http.limits]\nstreams = 4\n",
        &[&backend],
    )
    .await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut requests, mut connection) = h2::client::handshake(stream).await.unwrap();
    // The other side's settings say it.
    soon(std::future::poll_fn(|cx| {
        let _ = std::pin::Pin::new(&mut connection).poll(cx);
        match connection.max_concurrent_send_streams() {
            4 => std::task::Poll::Ready(()),
            _ => std::task::Poll::Pending,
        }
    }))
    .await;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut held = Vec::new();
    for _ in 0..4 {
        requests = soon(requests.ready()).await.unwrap();
        held.push(requests.send_request(request("GET", "/"), true).unwrap());
    }
    soon(async {
        while backend.seen().len() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(backend.seen().len(), 4);
}

#[tokio::test]
async fn backends_may_speak_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let said = format!("{} {}", request.method(), request.uri());
                        let mut body = request.into_body();
                        let mut data = said.into_bytes();
                        while let Some(Ok(piece)) = body.data().await {
                            let _ = body.flow_control().release_capacity(piece.len());
                            data.extend_from_slice(&piece);
                        }
                        let mut stream = respond.send_response(Response::new(()), false).unwrap();
                        stream.send_data(data.into(), false).unwrap();
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        stream.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    let rig = Rig::of(
        "[service.http]\nh2c = true\n[service.upstream]\nhttp = \"2\"\n",
        &[address],
    )
    .await;
    let answers = rig
        .ask("POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nping")
        .await;
    assert_eq!(answers[0].status(), 200);
    let body = String::from_utf8_lossy(&answers[0].body).into_owned();
    assert!(
        body.contains("POST http://a/x?y") && body.ends_with("0\r\ngrpc-status: 0\r\n\r\n"),
        "{body}"
    );
    let (status, data, trailers) = get(&connect(rig.address).await, request("GET", "/z")).await.unwrap();
    assert_eq!((status, &data[..]), (200, &b"GET http://a/z"[..]));
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
}
