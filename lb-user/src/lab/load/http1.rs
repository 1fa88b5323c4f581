//! Requests over HTTP/1.1, one after the other on each connection. One write and, as a rule, one read for each, and
//! nothing is allocated.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use super::connect::{Failure, Stream, reason};
use super::outcome::Answer;
use super::response::{self, Body};
use super::work::{Patience, Work};

/// 16 KiB: the longest head of an answer, and how much of a body is read at a time.
const BUFFER: usize = 16 << 10;

/// Makes requests until there are no more.
pub(super) async fn converse(work: Arc<Work>) {
    let mut connection = None;
    let mut answer = Answer::default();
    let mut patience = Patience::new();
    while let Some(due) = work.next().await {
        let asked = patience.within(work.plan.timeout, ask(&work, &mut connection, &mut answer));
        let outcome = asked.await;
        // What is left of a request that failed must not be taken for the next one's answer.
        if outcome.is_err() || !work.plan.reuse {
            connection = None;
        }
        work.count(due, outcome, &answer);
    }
}

async fn ask(work: &Work, connection: &mut Option<Connection>, answer: &mut Answer) -> Result<(), Failure> {
    if let Some(kept) = connection
        && kept.has_ended().await
    {
        *connection = None;
    }
    let open = match connection {
        Some(kept) => kept,
        None => connection.insert(Connection {
            stream: work.open().await?,
            buffer: vec![0; BUFFER].into(),
        }),
    };
    open.stream
        .write_all(&work.request)
        .await
        .map_err(|error| reason(&error))?;
    // Of TLS; of TCP it is nothing.
    open.stream.flush().await.map_err(|error| reason(&error))?;
    if !open.read(answer).await? {
        *connection = None;
    }
    Ok(())
}

struct Connection {
    stream: Box<dyn Stream>,
    buffer: Box<[u8]>,
}

impl Connection {
    /// Has the server closed it while nothing was asked? The kernel is not asked, unless something has come.
    async fn has_ended(&mut self) -> bool {
        poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let stream = std::pin::Pin::new(&mut self.stream);
            Poll::Ready(stream.poll_read(context, &mut buffer).is_ready())
        })
        .await
    }

    /// Reads an answer; says whether the connection can be used again.
    async fn read(&mut self, answer: &mut Answer) -> Result<bool, Failure> {
        answer.bytes = 0;
        let mut filled = 0;
        let head = loop {
            match response::head(&self.buffer[..filled], answer)? {
                // An interim answer: the one that counts comes after it.
                Some(head) if (100..200).contains(&answer.status) => {
                    self.buffer.copy_within(head.length..filled, 0);
                    filled -= head.length;
                }
                Some(head) => break head,
                None if filled == BUFFER => return Err("head of more than 16 KiB".into()),
                None => {
                    let length = self.some(filled).await?;
                    if length == 0 {
                        return Err(if answer.bytes == 0 { "closed" } else { "cut off" }.into());
                    }
                    filled += length;
                    answer.bytes += length as u64;
                }
            }
        };
        let mut body = head.body;
        let mut from = head.length;
        loop {
            let used = body.take(&self.buffer[from..filled])?;
            if body.is_complete() {
                // More than was asked for is nothing to go on from.
                return Ok(head.keep && from + used == filled);
            }
            from = 0;
            filled = self.some(0).await?;
            answer.bytes += filled as u64;
            if filled == 0 {
                return match body {
                    Body::UntilClosed => Ok(false),
                    _ => Err("cut off".into()),
                };
            }
        }
    }

    /// Reads what there is to `from` and after.
    async fn some(&mut self, from: usize) -> Result<usize, Failure> {
        let read = self.stream.read(&mut self.buffer[from..]).await;
        read.map_err(|error| reason(&error))
    }
}
