//! What access logs say of requests that have passed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::rig::{Backend, OK, Rig, soon};

/// So many lines, once they are there.
async fn lines(path: &Path, count: usize) -> Vec<Value> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    soon(async {
        while read().lines().count() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
    read().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_line_says_what_became_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let backend = Backend::scripted(|_, mut peer, seen| async move {
        while let Some(request) = peer.request().await {
            let answer: &[u8] = match request.line() {
                "POST /broken HTTP/1.1" => b"nonsense\r\n\r\n",
                _ => OK,
            };
            seen.lock().unwrap().push(request);
            peer.send(answer).await;
        }
    })
    .await;
    let text = format!(
        "[service.http]\naccess-log = {{ path = \"{}\", format = \"json\" }}\n",
        path.display()
    );
    let rig = Rig::with(&text, &[&backend]).await;
    let mut client = rig.client().await;
    let first = "GET /a?b HTTP/1.1\r\nHost: shop.example\r\nReferer: http://r/\r\nUser-Agent: test\r\n\r\n";
    client.send(first).await;
    assert_eq!(client.response(false).await.unwrap().status(), 200);
    let second = "POST /second HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc";
    client.send(second).await;
    assert_eq!(client.response(false).await.unwrap().status(), 200);
    client.send("POST /broken HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    assert_eq!(client.response(false).await.unwrap().status(), 502);
    client.send("GET / HTTP/9.9\r\n\r\n").await;
    assert_eq!(client.response(false).await.unwrap().status(), 505);

    let lines = lines(&path, 4).await;
    let says = |line: usize, name: &str| lines[line][name].clone();
    let all = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(all("status"), [200, 200, 502, 505]);
    assert_eq!(all("method")[..3], ["GET", "POST", "POST"]);
    assert_eq!(says(0, "target"), "/a?b");
    assert_eq!(says(0, "version"), "HTTP/1.1");
    assert_eq!(
        (says(0, "host"), says(0, "referer")),
        ("shop.example".into(), "http://r/".into())
    );
    assert_eq!(
        (says(0, "user_agent"), says(0, "client")),
        ("test".into(), "127.0.0.1".into())
    );
    assert_eq!(says(0, "backend_address"), backend.address.to_string());
    assert_eq!(
        (says(0, "body_bytes"), says(0, "received_bytes")),
        (2.into(), first.len().into())
    );
    assert_eq!(says(1, "received_bytes"), second.len());
    // The first needed a connection, and the second had one.
    assert!(says(0, "connect_us").is_u64() && says(1, "connect_us").is_null());
    assert!((0..2).all(|line| says(line, "first_byte_us").is_u64()) && says(2, "first_byte_us").is_null());
    let ids = all("request_id");
    let seen = backend.seen();
    assert!(
        (0..3).all(|line| ids[line] == seen[line].value("x-request-id").unwrap()),
        "{ids:?}"
    );
    assert!(ids[0] != ids[1] && ids[3].is_null());
    assert!((0..2).all(|line| says(line, "fault").is_null()));
    let faults = [2, 3].map(|line| says(line, "fault").as_str().unwrap().to_owned());
    assert!(faults[0].contains("the backend's answer is refused"), "{faults:?}");
    assert!(faults[1].contains("the request is refused"), "{faults:?}");
    assert!(says(3, "method").is_null() && says(3, "backend").is_null());
}
