//! Datagrams to a lab's server, which says who it is and whom it saw.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::inside::inside;
use super::load::Outcome;
use crate::net::Namespace;

/// 10 s for an answer: a busy machine holds everybody up for seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks so many times from inside a namespace, each time from a port of its own.
pub(super) async fn ask(namespace: &Namespace, to: SocketAddr, count: u64) -> std::io::Result<Outcome> {
    inside(namespace, async move || {
        let begun = Instant::now();
        let mut outcome = Outcome::default();
        for _ in 0..count {
            let answer = timeout(PATIENCE, once(to)).await;
            match answer.unwrap_or_else(|late| Err(late.into())) {
                Ok((server, client)) => {
                    outcome.answered += 1;
                    *outcome.served.entry(server).or_default() += 1;
                    outcome.seen.insert(client);
                }
                Err(error) => *outcome.failed.entry(error.to_string()).or_default() += 1,
            }
        }
        outcome.took = begun.elapsed();
        outcome
    })
    .await
}

/// The server's name, and the address that it saw.
async fn once(to: SocketAddr) -> std::io::Result<(String, IpAddr)> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that only an answer from the address that was asked counts.
    socket.connect(to).await?;
    socket.send(b"who is there?\n").await?;
    let mut answer = vec![0; 2048];
    let length = socket.recv(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    parse(&text).ok_or_else(|| std::io::Error::other(format!("not an answer of a lab's server: {text:?}")))
}

/// Reads `web1 saw client 10.0.0.2:41234 for 192.0.2.10:80`.
fn parse(text: &str) -> Option<(String, IpAddr)> {
    let (server, rest) = text.trim_end().split_once(" saw client ")?;
    let (client, _) = rest.split_once(" for ")?;
    Some((server.to_owned(), client.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let client = "10.0.0.2".parse().unwrap();
        assert_eq!(
            parse("web1 saw client 10.0.0.2:41234 for 192.0.2.10:80\n"),
            Some(("web1".to_owned(), client))
        );
        for other in ["", "web1 saw client nobody for x", "<html>"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
