//! Streams over real sockets: what they may take, and how they end.

use super::*;
use crate::api::live::{INTERVAL, MAX_STREAMS};

const ASKED: &[u8] = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n";

impl Server {
    /// A stream that has begun: its head is read.
    async fn stream(&self) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(ASKED).await.unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        stream
    }
}

/// Reads until so many states have come, and returns when it was.
async fn states(stream: &mut UnixStream, count: usize) -> Instant {
    let (mut seen, mut buffer, mut last) = (0, vec![0; 1 << 16], Vec::new());
    while seen < count {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the stream has ended after {seen} states");
        last.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&last).into_owned();
        seen += text.matches("event: status\n").count();
        // What may be the beginning of the next name stays.
        last = last.split_off(last.len() - last.len().min(13));
        if last.ends_with(b"event: status\n") {
            last.clear();
        }
    }
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn streams_have_places_of_their_own_and_go_on() {
    let server = Server::start();
    let began = Instant::now();
    let mut read = server.stream().await;
    let mut deaf = Vec::new();
    for _ in 1..MAX_STREAMS {
        deaf.push(server.stream().await);
    }
    let (head, problem) = server.raw(std::str::from_utf8(ASKED).unwrap()).await;
    assert!(
        head.starts_with("HTTP/1.1 503 ") && problem.contains("64 others look"),
        "{head}{problem}"
    );
    // All the places of other requests are free.
    let mut others = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        others.push(server.connect().await);
    }
    assert!(others.len() == MAX_CONNECTIONS && server.client().status().await.is_ok());
    drop(others);
    // Longer than any other answer may take, and at its pace.
    let seconds = 5 * CONNECTION_TIMEOUT.as_secs() as usize;
    let end = states(&mut read, seconds).await;
    assert!(end - began >= INTERVAL * (seconds as u32 - 2), "{:?}", end - began);
    // Those who have taken nothing since their buffers were full are gone, read or not: others find room.
    let mut others = Vec::new();
    for _ in 1..MAX_STREAMS {
        others.push(server.stream().await);
    }
    for mut stream in deaf {
        let mut rest = Vec::new();
        let cut = timeout(Duration::from_secs(1), stream.read_to_end(&mut rest)).await;
        cut.expect("cut").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_streams_at_once() {
    let server = Server::start();
    let mut stream = server.stream().await;
    states(&mut stream, 1).await;
    let asked = Instant::now();
    server.shutdown.send(()).unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    server.task.await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn events_are_asked_for_as_strictly_as_all_else() {
    let server = Server::start();
    for (request, status, said) in [
        ("GET /api/v1/events?since=1 HTTP/1.1\r\n\r\n", "400", "since"),
        ("HEAD /api/v1/events HTTP/1.1\r\n\r\n", "405", ""),
        ("POST /api/v1/events HTTP/1.1\r\n\r\n", "405", "GET only"),
        (
            "GET /api/v1/events HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
            "413",
            "no request body",
        ),
    ] {
        let (head, body) = server.raw(request).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")) && body.contains(said),
            "{request}{head}{body}"
        );
    }
}
