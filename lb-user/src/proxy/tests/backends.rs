//! Backends that break: the client gets a clean error or a truncated close, and never what is another's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::rig::{Backend, Message, OK, Rig};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
const ALONE: &str = "[service.http]\neject = false\nretry = false\n";

fn statuses(answers: &[Message]) -> Vec<u16> {
    answers.iter().map(Message::status).collect()
}

/// Nobody listens there, since it is held.
fn closed() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[tokio::test]
async fn what_is_no_answer_becomes_502() {
    for answer in [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let backend = Backend::once(answer).await;
        let rig = Rig::with(ALONE, &[&backend]).await;
        let answers = rig.ask([GET, GET].concat()).await;
        let last: Vec<u16> = statuses(&answers).into_iter().filter(|status| *status != 100).collect();
        assert_eq!(last, [502, 502], "{answer:?}");
        assert!(
            answers
                .iter()
                .all(|said| !String::from_utf8_lossy(&said.body).contains("hello")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn answers_that_break_off_are_not_passed_off_as_whole() {
    for (answer, whole) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", true),
    ] {
        let backend = Backend::once(answer).await;
        let rig = Rig::with(ALONE, &[&backend]).await;
        let mut client = rig.client().await;
        client.send([GET, GET].concat()).await;
        let got = client.response(false).await;
        assert_eq!(got.is_some(), whole, "{answer:?}: {got:?}");
        assert!(
            !client.more().await,
            "{answer:?}: the connection ends, and the next request is not served on it"
        );
    }
}

#[tokio::test]
async fn what_nobody_asked_for_is_nobodys() {
    // Two answers to one request; and one before any, on a connection that idles.
    let twice = [OK, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat();
    let backend = Backend::answering(twice).await;
    let rig = Rig::with(ALONE, &[&backend]).await;
    for _ in 0..5 {
        let answers = rig.ask([GET, GET, POST].concat()).await;
        let bodies: Vec<_> = answers.iter().map(|answer| &answer.body[..]).collect();
        assert_eq!(bodies, [b"ok", b"ok", b"ok"]);
    }
    let early = Backend::scripted(|_, mut peer, seen| async move {
        while let Some(request) = peer.request().await {
            peer.send(OK).await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
            seen.lock().unwrap().push(request);
        }
    })
    .await;
    let rig = Rig::with(ALONE, &[&early]).await;
    let mut client = rig.client().await;
    for number in 1..=5 {
        client.send(GET).await;
        assert_eq!(client.response(false).await.unwrap().body, b"ok");
        // By then it lies there.
        super::rig::soon(async {
            while early.seen().len() < number {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn who_never_answers_is_waited_for_so_long() {
    let backend = Backend::scripted(|_, mut peer, _| async move {
        peer.all().await;
    })
    .await;
    let rig = Rig::with(
        "[service.http]\neject = false\nretry = false\n[service.http.timeouts]\nresponse = \"300ms\"\n",
        &[&backend],
    )
    .await;
    for request in [GET, POST] {
        assert_eq!(statuses(&rig.ask(request).await), [504]);
    }
}

#[tokio::test]
async fn a_connection_that_ends_while_it_idles_is_tried_again_where_that_is_safe() {
    for (second, status) in [(GET, 200), (POST, 502)] {
        // The second request of a connection is read, and then the connection ends: by then nobody can know.
        let backend = Backend::scripted(|_, mut peer, seen| async move {
            let first = peer.request().await.unwrap();
            seen.lock().unwrap().push(first);
            peer.send(OK).await;
            if let Some(second) = peer.request().await {
                seen.lock().unwrap().push(second);
            }
        })
        .await;
        let rig = Rig::with(ALONE, &[&backend]).await;
        let mut client = rig.client().await;
        client.send(GET).await;
        assert_eq!(client.response(false).await.unwrap().status(), 200);
        client.send(second).await;
        assert_eq!(client.response(false).await.unwrap().status(), status, "{second}");
        assert_eq!(backend.seen().len(), if status == 200 { 3 } else { 2 });
    }
}

#[tokio::test]
async fn others_are_tried_where_that_is_safe() {
    let (_held, nobody) = closed();
    let good = Backend::answering(OK).await;
    let rig = Rig::of("[service.http]\neject = false\n", &[nobody, good.address]).await;
    // Nobody has seen these, so even a POST may go on.
    for request in [GET, POST, GET, POST] {
        assert_eq!(statuses(&rig.ask(request).await), [200]);
    }
    let silent = Backend::once("").await;
    let rig = Rig::of("[service.http]\neject = false\n", &[silent.address, good.address]).await;
    for _ in 0..4 {
        assert_eq!(statuses(&rig.ask(GET).await), [200]);
    }
    let mut posts = Vec::new();
    for _ in 0..4 {
        posts.extend(statuses(&rig.ask(POST).await));
    }
    posts.sort_unstable();
    assert_eq!(posts, [200, 200, 502, 502], "one that has been seen is not said twice");
}

#[tokio::test]
async fn who_fails_is_set_aside() {
    let bad = Backend::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad").await;
    let good = Backend::answering(OK).await;
    let rig = Rig::of("[service.http]\neject = { errors = 3 }\n", &[bad.address, good.address]).await;
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.extend(statuses(&rig.ask(GET).await));
    }
    assert_eq!(
        answers.iter().filter(|status| **status == 503).count(),
        3,
        "{answers:?}"
    );
    assert_eq!((bad.seen().len(), good.seen().len()), (3, 17));
}

#[tokio::test]
async fn nobody_there_is_502_with_a_page() {
    let (_held, nobody) = closed();
    let rig = Rig::of(ALONE, &[nobody]).await;
    let answers = rig.ask([GET, GET].concat()).await;
    assert_eq!(statuses(&answers), [502, 502]);
    assert!(answers[0].body.starts_with(b"<!DOCTYPE html>"));
}

#[tokio::test]
async fn requests_wait_for_a_place_and_too_many_do_not() {
    let places = Arc::new(Semaphore::new(0));
    let freed = Arc::clone(&places);
    let backend = Backend::scripted(move |_, mut peer, seen| {
        let freed = Arc::clone(&freed);
        async move {
            while let Some(request) = peer.request().await {
                seen.lock().unwrap().push(request);
                freed.acquire().await.unwrap().forget();
                peer.send(OK).await;
            }
        }
    })
    .await;
    let text = "[service.http]\nqueue = { length = 1, timeout = \"10s\" }\n[service.upstream]\nmax-connections = 1\n";
    let rig = Rig::with(text, &[&backend]).await;
    let site: Arc<str> = "site".into();
    let traffic = rig.traffic.service(&site);
    let mut first = rig.client().await;
    first.send(GET).await;
    super::rig::soon(async {
        while backend.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut second = rig.client().await;
    second.send(GET).await;
    super::rig::soon(async {
        while traffic.waiting.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let third = rig.ask(GET).await;
    assert_eq!(
        (statuses(&third), third[0].value("retry-after")),
        (vec![503], Some("5"))
    );
    assert_eq!(backend.seen().len(), 1);
    places.add_permits(2);
    for mut client in [first, second] {
        assert_eq!(client.response(false).await.unwrap().status(), 200);
    }
}
