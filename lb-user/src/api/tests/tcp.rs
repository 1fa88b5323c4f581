//! What is answered over TCP, and within what bounds.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::super::server::MAX_LARGE;
use super::*;
use crate::metrics::{self, Format};

/// A server on a port of loopback, until it is dropped.
struct Port {
    address: SocketAddr,
    _shutdown: oneshot::Sender<()>,
}

impl Port {
    async fn start(status: impl Fn() -> model::Status + Send + 'static) -> Self {
        Self::with(None, status).await
    }

    async fn with(token: Option<&'static str>, status: impl Fn() -> model::Status + Send + 'static) -> Self {
        let (node, mut questions, _) = Handle::new(1);
        tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                let _ = match question {
                    Request::Status(reply) => reply.send(status()).is_ok(),
                    Request::Explain(flow, reply) => reply.send(explain(flow)).is_ok(),
                    Request::Tally(reply) => reply.send(None).is_ok(),
                    Request::Traced(_, reply) => reply.send(None).is_ok(),
                    Request::Backend(..)
                    | Request::Preview(..)
                    | Request::Flows(_)
                    | Request::Take(..)
                    | Request::Settle(_)
                    | Request::Node(_)
                    | Request::Drain(..)
                    | Request::Pulse(_)
                    | Request::Override { .. }
                    | Request::Denied(_)
                    | Request::Deny { .. }
                    | Request::Undeny { .. }
                    | Request::Trace(..)
                    | Request::EndTrace(..) => {
                        unreachable!("nobody asks for it over TCP here")
                    }
                };
            }
        });
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        let (shutdown, asked) = oneshot::channel();
        tokio::spawn(served(listener, node, token, async { drop(asked.await) }));
        Self {
            address,
            _shutdown: shutdown,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Head and body of what comes back.
    async fn ask(&self, request: &str) -> (String, String) {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        let read = stream.read_to_end(&mut response);
        let _ = timeout(Duration::from_secs(60), read).await.expect("an answer");
        let response = String::from_utf8(response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        (head.to_owned(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
            .await
    }
}

fn ready() -> model::Status {
    let mut status = status();
    status.fault = None;
    status.draining = false;
    status.interfaces.retain(|interface| interface.attached.is_ok());
    status.services[0].backends[1].health = Health::Down;
    status
}

fn code(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or("")
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let port = Port::start(status).await;
    let (head, body) = port.get("/metrics?collect=all").await;
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert!(body.contains("# TYPE fulcrum_drops_total counter\n") && !body.contains("# EOF"));
    let request = "GET /metrics HTTP/1.1\r\nHost: lb1.example\r\nAccept: application/openmetrics-text\r\n\r\n";
    let (head, body) = port.ask(request).await;
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(body.contains("# TYPE fulcrum_drops counter\n") && body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn many_metrics_come_as_they_are_written() {
    fn many() -> model::Status {
        let mut status = status();
        let one = status.services[0].backends[0].clone();
        let named = |i| model::BackendStatus {
            name: format!("b{i}").into(),
            ..one.clone()
        };
        status.services[0].backends = (0..1000).map(named).collect();
        status
    }
    let mut whole = String::new();
    metrics::encode(many(), Format::Text, &mut whole).unwrap();
    assert!(whole.len() > 4 * (64 << 10), "several parts: {}", whole.len());
    let port = Port::start(many).await;
    // HTTP/1.0 knows no chunks.
    let (head, body) = port.ask("GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(code(&head), "200");
    assert!(body == whole, "{} bytes instead of {}", body.len(), whole.len());
    let (head, none) = port.ask("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((code(&head), none.as_str()), ("200", ""));
    assert!(!head.contains("content-length"), "nobody knows it yet: {head}");
}

#[tokio::test]
async fn health_and_readiness_say_why_not() {
    let port = Port::start(status).await;
    let (head, body) = port.get("/healthz").await;
    assert_eq!((code(&head), body.as_str()), ("200", "ok\n"));
    let (head, body) = port.get("/readyz").await;
    assert_eq!(code(&head), "503");
    assert!(head.contains("content-type: text/plain; charset=utf-8"), "{head}");
    let reasons = "the node drains; `fulcrum node enable` ends that\n\
                   the program is not attached to eth2: there is no interface of this name\n\
                   the health of backends is not known yet: web/web2\n\
                   the kernel is not as the file wants it: cannot write the map SERVICES\n";
    assert_eq!(body, reasons);
    let (head, body) = Port::start(ready).await.get("/readyz").await;
    assert_eq!(
        (code(&head), body.as_str()),
        ("200", "ready\n"),
        "a backend may be down"
    );

    let many = Port::start(|| {
        let mut status = ready();
        status.interfaces.clear();
        let unknown = model::BackendStatus {
            health: Health::Unknown,
            ..status.services[0].backends[0].clone()
        };
        let disabled = model::BackendStatus {
            state: AdminState::Disabled,
            ..unknown.clone()
        };
        status.services[0].backends = vec![unknown; 100];
        status.services[0].backends.push(disabled);
        status
    })
    .await;
    let (_, body) = many.get("/readyz").await;
    assert!(
        body.starts_with("the program is not attached") && body.ends_with("web/web1 and 95 more\n"),
        "{body}"
    );
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let port = Port::start(status).await;
    for path in ["/metrics", "/healthz", "/readyz", "/api/v1/status"] {
        let (got, body) = port.get(path).await;
        let (head, none) = port
            .ask(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await;
        assert_eq!((code(&head), none.as_str()), (code(&got), ""), "{path}");
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length), "{path}: {length}: {head}");
    }
}

#[tokio::test]
async fn the_api_is_there_to_be_read() {
    let port = Port::start(status).await;
    let (_, body) = port.get("/api/v1/status").await;
    let over_socket = Server::start().raw("GET /api/v1/status HTTP/1.1\r\n\r\n").await.1;
    assert_eq!(body, over_socket);
    let explain = "/api/v1/explain?protocol=tcp&source=1.2.3.4:5&destination=1.2.3.5:80";
    assert!(port.get(explain).await.1.contains("\"forwarded\""));
    let cases = [
        (
            "POST /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "403",
            "over the Unix socket only",
        ),
        (
            "GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "403",
            "Host",
        ),
        (
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "405",
            "GET, HEAD only",
        ),
        (
            "GET /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
            "413",
            "no request body",
        ),
        (
            "GET /metrics/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "404",
            "there is no /metrics/",
        ),
    ];
    for (request, status, detail) in cases {
        let (head, body) = port.ask(request).await;
        assert_eq!(code(&head), status, "{request}: {head}");
        let problem: types::Problem = serde_json::from_str(&body).unwrap();
        assert!(problem.detail.contains(detail), "{request}: {}", problem.detail);
    }
}

#[tokio::test]
async fn noise_and_endless_heads_are_refused() {
    let port = Port::start(status).await;
    let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(2 * MAX_HEAD));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    for request in ["\x16\x03\x01\0\0\r\n\r\n", &endless, &many] {
        let mut stream = port.connect().await;
        let _ = stream.write_all(request.as_bytes()).await;
        let mut response = Vec::new();
        let _ = timeout(Duration::from_secs(4), stream.read_to_end(&mut response))
            .await
            .expect("at once");
        // A reset may overtake the answer.
        let response = String::from_utf8_lossy(&response);
        assert!(
            response.is_empty() || response.starts_with("HTTP/1.1 4"),
            "{response:?}"
        );
    }
    assert_eq!(code(&port.get("/healthz").await.0), "200");
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_cut_when_they_take_every_place() {
    let port = Port::start(status).await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = port.connect().await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(code(&port.get("/healthz").await.0), "200");
    assert!(began.elapsed() < HEAD_TIMEOUT * 2, "{:?}", began.elapsed());
    for mut stream in slow {
        let end = timeout(HEAD_TIMEOUT, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "cut");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_who_do_not_read_keep_few_large_answers() {
    let port = Port::start(|| {
        let mut status = status();
        status.fault = Some("x".repeat(32 << 20));
        status
    })
    .await;
    let began = Instant::now();
    let mut deaf = Vec::new();
    for _ in 0..MAX_LARGE {
        let mut stream = port.connect().await;
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\n\r\n").await.unwrap();
        // Its answer has begun, so it holds one of the permits.
        stream.readable().await.unwrap();
        deaf.push(stream);
    }
    for path in ["/metrics", "/api/v1/status"] {
        let (head, body) = port.get(path).await;
        assert!(
            code(&head) == "503" && body.contains("too many large answers"),
            "{path}: {head}"
        );
    }
    assert_eq!(code(&port.get("/healthz").await.0), "200");
    tokio::time::sleep_until(began + CONNECTION_TIMEOUT + Duration::from_secs(1)).await;
    assert_eq!(code(&port.get("/metrics").await.0), "200");
}
