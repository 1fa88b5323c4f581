//! Bodies from one side to the other, a piece at a time: what was read is written before more is read, so that a slow
//! receiver slows its sender and nothing piles up.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::http1::{Body, ChunkedError, may_trail};
use super::io::{Buffer, Deadline, Duplex, TooSlow, buffer};

/// Bytes of a body from which on more than a few are read at once.
const MANY: u64 = 4 * buffer::SIZE as u64;

/// Where a body comes from.
#[derive(Debug)]
pub(super) enum Source<'s> {
    /// A connection of HTTP/1.1, and what has been read of it.
    Http1 {
        /// To read.
        duplex: &'s Duplex,
        /// What has been read.
        buffer: &'s mut Buffer,
        /// What is left of the body.
        body: Body,
    },
    /// A stream of HTTP/2.
    Http2(RecvStream),
}

/// Where a body goes.
#[derive(Debug)]
pub(super) enum Target<'t> {
    /// A connection of HTTP/1.1.
    Http1(&'t Duplex, Coding),
    /// A stream of HTTP/2.
    Http2(&'t mut SendStream<Bytes>),
}

/// How a body is written in HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it came from HTTP/1.1, chunks and all.
    Same,
    /// Its data, and nothing else.
    Plain,
    /// In chunks.
    Chunked,
}

/// Why it did not come to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The source sends what is no body.
    Malformed(ChunkedError),
    /// The source ended or failed.
    Source(io::Error),
    /// Nothing came for too long.
    SourceSlow,
    /// The receiver has gone.
    Target(io::Error),
    /// The receiver took nothing for too long.
    TargetSlow,
    /// There was more than there may be.
    TooMuch,
}

/// What a body may take.
#[derive(Debug)]
pub(super) struct Terms<'d> {
    /// The timer of this direction.
    pub deadline: &'d mut Deadline,
    /// Between two pieces of the source.
    pub read: Duration,
    /// Until a piece is taken.
    pub write: Duration,
    /// Bytes in all; `None`: any.
    pub most: Option<u64>,
}

/// Sends all that is left of a body, with `first` before it in the same call. Bytes that have passed, `first` not
/// among them and the framing of chunks only where it goes on as it came, are counted in `passed`, also when it breaks.
///
/// # Errors
/// [`Broken`]: both sides are in the middle of something, and good for nothing more.
pub(super) async fn pump(
    source: &mut Source<'_>,
    target: &mut Target<'_>,
    first: &[u8],
    terms: Terms<'_>,
    passed: &Cell<u64>,
) -> Result<(), Broken> {
    let mut before = first;
    match source {
        Source::Http1 { duplex, buffer, body } => {
            let many = matches!(body, Body::Length(left) if *left >= MANY) || !matches!(body, Body::Length(_));
            loop {
                let raw = matches!(target, Target::Http1(_, Coding::Same));
                let (skip, length) = match raw {
                    true => (0, body.pass(buffer.bytes()).map_err(Broken::Malformed)?),
                    false => body.data(buffer.bytes()).map_err(Broken::Malformed)?,
                };
                passed.set(passed.get() + length as u64);
                if terms.most.is_some_and(|most| passed.get() > most) {
                    return Err(Broken::TooMuch);
                }
                let over = body.is_over();
                if length > 0 || !before.is_empty() {
                    let data = &buffer.bytes()[skip..skip + length];
                    let last = over && body.trailers().is_empty();
                    let written = target.send(std::mem::take(&mut before), data, last);
                    within(terms.deadline, terms.write, written, Broken::TargetSlow)
                        .await?
                        .map_err(Broken::Target)?;
                    if last && !data.is_empty() {
                        buffer.consume(skip + length);
                        return match target {
                            Target::Http1(..) => end(target, &[], terms).await,
                            // The last piece has said so.
                            Target::Http2(_) => Ok(()),
                        };
                    }
                }
                buffer.consume(skip + length);
                if over {
                    return end(target, body.trailers(), terms).await;
                }
                if !buffer.is_empty() {
                    continue;
                }
                if many {
                    buffer.rest();
                    *(*buffer) = Buffer::large();
                }
                let read = target.unless_gone(duplex.read(buffer));
                match within(terms.deadline, terms.read, read, Broken::SourceSlow).await?? {
                    Ok(0) if matches!(body, Body::Close) => return end(target, &[], terms).await,
                    Ok(0) => return Err(Broken::Source(io::ErrorKind::UnexpectedEof.into())),
                    Ok(_) => {}
                    Err(error) => return Err(Broken::Source(error)),
                }
            }
        }
        Source::Http2(stream) => {
            if !before.is_empty() {
                let written = target.send(std::mem::take(&mut before), &[], false);
                within(terms.deadline, terms.write, written, Broken::TargetSlow)
                    .await?
                    .map_err(Broken::Target)?;
            }
            loop {
                let next = target.unless_gone(poll_fn(|cx| stream.poll_data(cx)));
                let Some(data) = within(terms.deadline, terms.read, next, Broken::SourceSlow).await?? else {
                    break;
                };
                let data = data.map_err(|error| Broken::Source(from_h2(error)))?;
                passed.set(passed.get() + data.len() as u64);
                if terms.most.is_some_and(|most| passed.get() > most) {
                    return Err(Broken::TooMuch);
                }
                let written = target.send(&[], &data, false);
                within(terms.deadline, terms.write, written, Broken::TargetSlow)
                    .await?
                    .map_err(Broken::Target)?;
                // The sender may send as much again, now that this has been taken.
                let released = stream.flow_control().release_capacity(data.len());
                released.map_err(|error| Broken::Source(from_h2(error)))?;
            }
            let trailers = poll_fn(|cx| stream.poll_trailers(cx));
            let trailers = within(terms.deadline, terms.read, trailers, Broken::SourceSlow).await?;
            let trailers = trailers.map_err(|error| Broken::Source(from_h2(error)))?;
            let forbidden = |trailers: &HeaderMap| trailers.keys().any(|name| !may_trail(name.as_str().as_bytes()));
            if trailers.as_ref().is_some_and(forbidden) {
                return Err(Broken::Malformed(ChunkedError::Trailer));
            }
            let ended = target.end_h2(trailers);
            within(terms.deadline, terms.write, ended, Broken::TargetSlow)
                .await?
                .map_err(Broken::Target)
        }
    }
}

/// Ends a body, within the time for a piece.
async fn end(target: &mut Target<'_>, trailers: &[u8], terms: Terms<'_>) -> Result<(), Broken> {
    within(terms.deadline, terms.write, target.end(trailers), Broken::TargetSlow)
        .await?
        .map_err(Broken::Target)
}

async fn within<T>(
    deadline: &mut Deadline,
    limit: Duration,
    work: impl Future<Output = T>,
    slow: Broken,
) -> Result<T, Broken> {
    deadline.within(limit, work).await.map_err(|TooSlow| slow)
}

impl Target<'_> {
    /// Waits for more of the source, unless the receiver goes away meanwhile.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Broken> {
        let mut work = std::pin::pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            match self {
                Self::Http2(stream) => stream.poll_reset(cx).map(|reset| Err(Broken::Target(was_reset(reset)))),
                Self::Http1(..) => Poll::Pending,
            }
        })
        .await
    }

    /// Sends `first`, which is a head, and data; `last` when nothing follows it, and it is not empty.
    async fn send(&mut self, first: &[u8], data: &[u8], last: bool) -> io::Result<()> {
        match self {
            Self::Http1(duplex, Coding::Same | Coding::Plain) => duplex.write(first, data).await,
            Self::Http1(duplex, Coding::Chunked) if data.is_empty() => duplex.write(first, data).await,
            Self::Http1(duplex, Coding::Chunked) => {
                let mut chunk = Buffer::large();
                chunk.extend(first);
                chunk.extend(format!("{:x}\r\n", data.len()).as_bytes());
                chunk.extend(data);
                chunk.extend(b"\r\n");
                duplex.write(chunk.bytes(), &[]).await
            }
            Self::Http2(stream) => send_h2(stream, data, last).await,
        }
    }

    /// Ends the body, with the lines of its trailers.
    async fn end(&mut self, trailers: &[u8]) -> io::Result<()> {
        match self {
            Self::Http1(_, Coding::Same | Coding::Plain) => Ok(()),
            Self::Http1(duplex, Coding::Chunked) => {
                let end = [b"0\r\n", trailers, b"\r\n"].concat();
                duplex.write(&end, &[]).await
            }
            Self::Http2(_) if !trailers.is_empty() => self.end_h2(Some(fields(trailers))).await,
            Self::Http2(stream) => stream.send_data(Bytes::new(), true).map_err(from_h2),
        }
    }

    async fn end_h2(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        match (self, trailers) {
            (Self::Http2(stream), Some(trailers)) => stream.send_trailers(trailers).map_err(from_h2),
            (this, None) => Box::pin(this.end(&[])).await,
            (this @ Self::Http1(..), Some(trailers)) => {
                let mut lines = Vec::new();
                for (name, value) in &trailers {
                    lines.extend_from_slice(name.as_str().as_bytes());
                    lines.extend_from_slice(b": ");
                    lines.extend_from_slice(value.as_bytes());
                    lines.extend_from_slice(b"\r\n");
                }
                Box::pin(this.end(&lines)).await
            }
        }
    }
}

/// Sends data as the receiver's window has room.
async fn send_h2(stream: &mut SendStream<Bytes>, mut data: &[u8], last: bool) -> io::Result<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|cx| {
            if let Poll::Ready(reset) = stream.poll_reset(cx) {
                return Poll::Ready(Err(was_reset(reset)));
            }
            match stream.capacity() {
                0 => stream.poll_capacity(cx).map(|room| match room {
                    Some(room) => room.map_err(from_h2),
                    None => Err(io::ErrorKind::BrokenPipe.into()),
                }),
                room => Poll::Ready(Ok(room)),
            }
        })
        .await?;
        let here = room.min(data.len());
        let (now, then) = data.split_at(here);
        stream
            .send_data(Bytes::copy_from_slice(now), last && then.is_empty())
            .map_err(from_h2)?;
        data = then;
    }
    Ok(())
}

/// Lines of trailers, which have been checked.
fn fields(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

/// The other side wants nothing more of a stream.
pub(super) fn was_reset(reset: Result<h2::Reason, h2::Error>) -> io::Error {
    reset.map_or_else(from_h2, |reason| from_h2(reason.into()))
}

/// As an error of a connection.
pub(super) fn from_h2(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        false => io::Error::other(error),
    }
}
