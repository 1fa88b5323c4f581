//! Bodies both ways: lengths, chunks, versions, expectations, limits, back-pressure, and connections that become others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rig::{Backend, Message, OK, Rig, soon};

fn statuses(answers: &[Message]) -> Vec<u16> {
    answers.iter().map(Message::status).collect()
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_in_order() {
    let backend = Backend::scripted(|_, mut peer, _| async move {
        while let Some(request) = peer.request().await {
            let body = request.line().to_owned();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        }
    })
    .await;
    let rig = Rig::with("", &[&backend]).await;
    let requests: String = (0..20)
        .map(|number| match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
            _ => {
                format!("POST /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            }
        })
        .collect();
    let answers = rig.ask(requests).await;
    let bodies: Vec<_> = answers
        .iter()
        .map(|answer| String::from_utf8(answer.body.clone()).unwrap())
        .collect();
    assert_eq!(bodies.len(), 20);
    for (number, body) in bodies.iter().enumerate() {
        assert!(body.ends_with(&format!(" /{number} HTTP/1.1")), "{number}: {body}");
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for (answer, method) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "HEAD"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD"),
        ("HTTP/1.1 200 OK\r\n\r\n", "HEAD"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "GET"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", "GET"),
    ] {
        let backend = Backend::answering(answer).await;
        let rig = Rig::with("", &[&backend]).await;
        let mut client = rig.client().await;
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            let head = client.response(true).await.unwrap();
            assert_eq!(head.line(), answer.lines().next().unwrap());
        }
        client.end().await;
        assert!(client.is_ended().await);
        assert_eq!(backend.seen().len(), 2);
    }
}

#[tokio::test]
async fn lengths_of_what_is_not_there_are_not_passed_on() {
    let backend = Backend::once("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello").await;
    let rig = Rig::with("", &[&backend]).await;
    let answers = rig.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        (statuses(&answers), answers[0].value("content-length")),
        (vec![204], None)
    );
}

#[tokio::test]
async fn http_1_0_stays_only_when_asked_to() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n").await;
    let answers = client.rest(false).await;
    assert_eq!(
        (statuses(&answers), answers[0].value("connection")),
        (vec![200], Some("close"))
    );
    let mut client = rig.client().await;
    client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
        .await;
    let answers = client.rest(false).await;
    assert_eq!(
        (statuses(&answers), answers[0].value("connection")),
        (vec![200, 200], Some("keep-alive"))
    );
    assert!(backend.seen().iter().all(|request| request.line() == "GET / HTTP/1.1"));
    let mut client = rig.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(statuses(&client.rest(false).await), [200]);
}

#[tokio::test]
async fn chunks_go_through_as_they_are_and_not_to_http_1_0() {
    let body = "5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\n\r\n";
    let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
    let rig = Rig::with("", &[&backend]).await;
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let answers = rig.ask(&request).await;
    assert_eq!(String::from_utf8_lossy(&answers[0].body), body);
    assert_eq!(String::from_utf8_lossy(&backend.only().body), body);
    let mut old = rig.client().await;
    old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let answer = old.response(false).await.unwrap();
    assert_eq!(
        (answer.values("transfer-encoding"), answer.value("connection")),
        (vec![], Some("close"))
    );
    assert_eq!(answer.body, b"hello!");
}

#[tokio::test]
async fn whoever_waits_for_100_gets_it() {
    let backend = Backend::scripted(|_, mut peer, seen| async move {
        while let Some(mut head) = peer.head().await {
            peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            head.body = peer.exactly(5).await.unwrap();
            seen.lock().unwrap().push(head);
            peer.send(
                "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
            peer.send(OK).await;
        }
    })
    .await;
    let rig = Rig::with("", &[&backend]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(client.response(false).await.unwrap().status(), 100);
    client.send("hello").await;
    let early = client.response(false).await.unwrap();
    assert_eq!(early.head, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    assert_eq!(client.response(false).await.unwrap().status(), 200);
    let seen = backend.only();
    assert_eq!(
        (seen.value("expect"), &seen.body[..]),
        (Some("100-continue"), &b"hello"[..])
    );
    // HTTP/1.0 knows no answers before the last.
    let mut old = rig.client().await;
    old.send("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(statuses(&old.rest(false).await), [200]);
}

#[tokio::test]
async fn a_refusal_comes_before_the_body() {
    let backend = Backend::scripted(|_, mut peer, _| async move {
        peer.head().await;
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        peer.all().await;
    })
    .await;
    let rig = Rig::with("", &[&backend]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    let answer = client.response(false).await.unwrap();
    assert_eq!((answer.status(), answer.value("connection")), (403, Some("close")));
    // What comes now is the body, or a request: nobody knows, so it is neither.
    client.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.is_ended().await);
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("[service.http.limits]\nbody = \"1KiB\"\n", &[&backend]).await;
    let most = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n{}",
        "x".repeat(1024)
    );
    assert_eq!(statuses(&rig.ask(most).await), [200]);
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n")
        .await;
    assert_eq!(statuses(&client.rest(false).await), [413]);
    assert_eq!(backend.seen().len(), 1);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let mut client = rig.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
        ))
        .await;
    assert_eq!(statuses(&client.rest(false).await), [413]);
    assert!(
        backend.seen().iter().skip(1).all(|seen| seen.head.starts_with("LEFT ")),
        "a whole one has passed"
    );
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_is_told() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("[service.http.timeouts]\nclient-body = \"300ms\"\n", &[&backend]).await;
    let mut client = rig.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        .await;
    assert_eq!(statuses(&client.rest(false).await), [408]);
}

#[tokio::test]
async fn a_slow_reader_slows_the_backend() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 2048;
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let backend = Backend::scripted(move |_, mut peer, _| {
        let counted = Arc::clone(&counted);
        async move {
            peer.request().await;
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES))
                .await;
            let piece = vec![b'x'; PIECE];
            for _ in 0..PIECES {
                if peer.stream.write_all(&piece).await.is_err() {
                    return;
                }
                counted.fetch_add(PIECE, Relaxed);
            }
            peer.more().await;
        }
    })
    .await;
    let rig = Rig::with("", &[&backend]).await;
    let mut client = rig.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    // It goes on until everything on the way is full, and then no further: not by a byte in half a second.
    let mut before = 0;
    soon(async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let now = written.load(Relaxed);
            if now == before {
                break;
            }
            before = now;
        }
    })
    .await;
    // Two sockets' buffers at each end, which the kernel lets grow, and the proxy's own.
    assert!(before < PIECE * PIECES / 2, "{before}");
    let mut left = PIECE * PIECES - client.buffer.len();
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let length = soon(client.stream.read(&mut piece)).await.unwrap();
        assert!(length > 0 && piece[..length].iter().all(|byte| *byte == b'x'));
        left -= length;
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    let body: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(statuses(&rig.ask([head.as_bytes(), &body].concat()).await), [200]);
    assert!(backend.only().body == body);
}

#[tokio::test]
async fn websockets_go_both_ways_and_end_one_by_one() {
    let backend = Backend::scripted(|_, mut peer, seen| async move {
        let request = peer.request().await.unwrap();
        seen.lock().unwrap().push(request);
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .await;
        // Until the client has ended its half; the other one still works.
        let said = peer.all().await;
        peer.send(&said).await;
        peer.end().await;
    })
    .await;
    let rig = Rig::with("", &[&backend]).await;
    let mut client = rig.client().await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly ")
        .await;
    let answer = client.response(false).await.unwrap();
    assert_eq!((answer.status(), answer.value("upgrade")), (101, Some("websocket")));
    assert_eq!(
        answer.value("connection").map(str::to_ascii_lowercase).as_deref(),
        Some("upgrade")
    );
    assert_eq!(client.exactly(5).await.unwrap(), b"hello");
    client.send("GET /not-a-request HTTP/1.1\r\n\r\n").await;
    client.end().await;
    assert_eq!(client.all().await, b"early GET /not-a-request HTTP/1.1\r\n\r\n");
    let seen = backend.only();
    assert_eq!(
        (seen.value("upgrade"), seen.value("connection")),
        (Some("websocket"), Some("upgrade"))
    );
}

#[tokio::test]
async fn upgrades_that_are_refused_or_to_http_2_are_requests() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    for upgrade in ["websocket", "h2c"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        assert_eq!(statuses(&rig.ask(request.repeat(2)).await), [200, 200]);
    }
    let upgrades: Vec<_> = backend
        .seen()
        .iter()
        .map(|seen| seen.value("upgrade").map(str::to_owned))
        .collect();
    let wanted = Some("websocket".to_owned());
    assert_eq!(upgrades, [wanted.clone(), wanted, None, None]);
}
