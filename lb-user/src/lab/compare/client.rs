//! Single connections of a client, byte by byte: for what a generator of many requests cannot do.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::sample::to;
use super::subject::Subject;
use crate::lab::load::response::{self, Body};
use crate::lab::load::{self, Connector, Plan, Stream};

/// 10 s for a connection, and for an answer: a machine that stands still for seconds cuts none.
const PATIENCE: Duration = Duration::from_secs(10);

/// 64 KiB: the answers here are far shorter.
const LONGEST: usize = 1 << 16;

/// A client of a subject, with TLS or without, that has this address.
pub(super) fn at(subject: &Subject, tls: bool, from: IpAddr) -> Plan {
    Plan {
        sources: vec![from],
        ..to(subject, tls)
    }
}

/// A connection of it.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    host: String,
}

/// An answer in HTTP/1.1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whom the server took for the client.
    pub(super) saw: Option<IpAddr>,
    /// The other end closes now, and has said so.
    pub(super) is_last: bool,
    pub(super) body: String,
}

impl Connection {
    pub(super) async fn open(client: &Plan) -> anyhow::Result<Self> {
        let connector = Connector::new(client)?;
        let opened = timeout(PATIENCE, connector.open()).await?;
        Ok(Self {
            stream: opened.map_err(anyhow::Error::msg)?,
            host: client.target.host.clone(),
        })
    }

    /// What the other end has shown, in DER.
    pub(super) fn certificate(&self) -> Option<&[u8]> {
        self.stream.certificate()
    }

    /// Sends now, and keeps nothing back.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Asks for `path`, and waits for the answer.
    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        let asked = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.send(asked.as_bytes()).await?;
        self.answer().await
    }

    pub(super) async fn answer(&mut self) -> anyhow::Result<Answer> {
        timeout(PATIENCE, async {
            let mut bytes = Vec::new();
            loop {
                if let Some(answer) = whole(&bytes)? {
                    return Ok(answer);
                }
                ensure!(bytes.len() <= LONGEST, "an answer that does not end");
                if self.stream.read_buf(&mut bytes).await? == 0 {
                    bail!("closed without an answer");
                }
            }
        })
        .await
        .context("no answer")?
    }
}

/// The answer, if all of it is there.
fn whole(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let mut said = load::Answer::default();
    let head = response::head(bytes, &mut said).map_err(anyhow::Error::msg)?;
    let Some(head) = head else { return Ok(None) };
    let Body::Length(length) = head.body else {
        bail!("an answer that does not say how long it is");
    };
    let body = &bytes[head.length..];
    Ok((body.len() as u64 >= length).then(|| Answer {
        status: said.status,
        saw: said.saw,
        is_last: !head.keep,
        body: String::from_utf8_lossy(body).into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let text = b"HTTP/1.1 200 OK\r\nX-Saw-Client: 10.0.0.9\r\nContent-Length: 3\r\nConnection: Close\r\n\r\nok\n";
        for end in 0..text.len() {
            assert_eq!(whole(&text[..end]).unwrap(), None, "{end}");
        }
        let answer = whole(text).unwrap().unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "ok\n"));
        assert_eq!((answer.saw, answer.is_last), (Some([10, 0, 0, 9].into()), true));
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
