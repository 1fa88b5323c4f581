//! What is no request is answered, the connection ends, and no backend hears of it.

use super::rig::{Backend, OK, Rig};

#[tokio::test]
async fn each_is_answered_and_nothing_reaches_the_backend() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with(
        "[service.http.limits]\nheader = \"4KiB\"\nheader-count = 20\nuri = \"1KiB\"\n",
        &[&backend],
    )
    .await;
    let long = |name: &str, length: usize| format!("{name}{}", "x".repeat(length));
    let cases: Vec<(u16, String)> = [
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (400, "nonsense\r\n\r\n"),
        (
            501,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            501,
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (
            417,
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 5\r\n\r\n",
        ),
        (405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    ]
    .map(|(status, bytes)| (status, bytes.to_owned()))
    .into_iter()
    .chain([
        (414, long("GET /", 2000) + " HTTP/1.1\r\nHost: a\r\n\r\n"),
        (414, long("GET /", 5000)),
        (431, long("GET / HTTP/1.1\r\nHost: a\r\nX: ", 5000)),
        (
            431,
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(20)),
        ),
    ])
    .collect();
    for (status, bytes) in cases {
        let mut client = rig.client().await;
        // What comes behind it is not looked at.
        client.send(bytes + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = client.response(false).await.unwrap();
        assert_eq!(
            (answer.status(), answer.value("connection")),
            (status, Some("close")),
            "{answer:?}"
        );
        assert!(client.is_ended().await, "{status}");
    }
    assert_eq!(backend.seen(), []);
}

#[tokio::test]
async fn one_empty_line_may_stand_before_a_request_whatever_the_pieces() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = rig.ask([b"\r\n", &request[..], b"\r\n", request].concat()).await;
    assert_eq!(
        answers.iter().map(super::rig::Message::status).collect::<Vec<_>>(),
        [200, 200]
    );
    for pieces in [vec![&b"\r\n\r\n"[..], request], vec![b"\r\n", b"\r\n", request]] {
        let mut client = rig.client().await;
        for piece in pieces {
            client.send(piece).await;
        }
        assert_eq!(client.response(false).await.map(|answer| answer.status()), Some(400));
    }
}

#[tokio::test]
async fn heads_have_their_time() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("[service.http.timeouts]\nclient-header = \"300ms\"\n", &[&backend]).await;
    // Who says nothing hears nothing, before a request and behind one.
    assert!(rig.client().await.is_ended().await);
    let rig = Rig::with("[service.http.timeouts]\nclient-header = \"5s\"\n", &[&backend]).await;
    let mut slow = rig.client().await;
    slow.send("GET / HTTP/1.1\r\nHost: ").await;
    let answer = slow.response(false).await.unwrap();
    assert_eq!((answer.status(), answer.value("connection")), (408, Some("close")));
    assert!(slow.is_ended().await);
    let rig = Rig::with("[service.http.timeouts]\nidle = \"400ms\"\n", &[&backend]).await;
    let mut idle = rig.client().await;
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.response(false).await.map(|answer| answer.status()), Some(200));
    assert!(idle.is_ended().await);
}
