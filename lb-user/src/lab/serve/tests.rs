//! The labs' server, asked over connections of the test's own.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, Arc::new(Server::new("web1", None).unwrap())));
    address
}

/// What comes until the server closes, after so many requests for `path` on one connection.
async fn ask(address: SocketAddr, path: &str, times: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-a: b\r\n\r\n");
    let last = request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    stream.write_all((request.repeat(times - 1) + &last).as_bytes()).await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    Ok(said)
}

#[tokio::test]
async fn the_first_page_tells_all() {
    let address = server().await;
    let said = ask(address, "/", 1).await.unwrap();
    assert!(
        said.starts_with("HTTP/1.1 200 ") && said.contains("\r\nx-served-by: web1\r\n"),
        "{said}"
    );
    assert!(said.contains("\r\nx-saw-client: 127.0.0.1\r\n"), "{said}");
    let (_, body) = said.split_once("\r\n\r\n").unwrap();
    let (first, rest) = body.split_once('\n').unwrap();
    assert!(
        first.starts_with("web1 saw client 127.0.0.1:") && first.ends_with(&format!(" for {address}")),
        "{first}"
    );
    assert_eq!(
        rest,
        "connection 1, request 1 on it\nhost: x\nx-a: b\nconnection: close\n"
    );
    assert!(
        ask(address, "/", 3)
            .await
            .unwrap()
            .contains("\nconnection 2, request 3 on it\n")
    );
}

#[tokio::test]
async fn it_does_as_it_is_told() {
    let address = server().await;
    assert!(
        ask(address, "/status/418", 1)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 418 ")
    );
    assert!(ask(address, "/slow/1", 1).await.unwrap().contains("web1 saw client"));
    assert!(
        ask(address, "/bytes/9", 1)
            .await
            .unwrap()
            .contains("\r\ncontent-length: 9\r\n")
    );
    let said = ask(address, "/stream/2", 1).await.unwrap();
    assert!(
        said.contains("chunked") && said.contains("web1 line 1 of 2\n") && said.contains("web1 line 2 of 2\n"),
        "{said}"
    );
    assert_eq!(ask(address, "/close", 1).await.unwrap(), "");
    let error = ask(address, "/reset", 1).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn health_is_switched() {
    let address = server().await;
    for (path, status) in [
        ("/healthz", "200 "),
        ("/health/fail", "200 "),
        ("/healthz", "503 "),
        ("/", "200 "),
        ("/health/ok", "200 "),
        ("/healthz", "200 "),
    ] {
        let said = ask(address, path, 1).await.unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {said}");
    }
}
