//! Answers that are made while they are sent.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Bytes of a part that a [`Writer`] sends: many, since whoever writes and whoever sends wake each other for each.
const PART: usize = 256 << 10;

/// The body of an answer that comes in parts, and the leave to make it.
#[derive(Debug)]
pub(super) struct Stream {
    parts: mpsc::Receiver<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    /// It ends when nobody has the sender any more.
    pub(super) fn new(parts: mpsc::Receiver<Bytes>, permit: OwnedSemaphorePermit) -> Self {
        Self { parts, _permit: permit }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.parts
            .poll_recv(context)
            .map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

/// Text that is sent as it is written, from a thread that may wait for the reader.
#[derive(Debug)]
pub(super) struct Writer {
    text: Vec<u8>,
    parts: mpsc::Sender<Bytes>,
}

impl Writer {
    pub(super) fn new(parts: mpsc::Sender<Bytes>) -> Self {
        Self {
            text: Vec::with_capacity(PART),
            parts,
        }
    }

    /// Sends what is left.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(super) fn flush(&mut self) -> fmt::Result {
        let text = std::mem::replace(&mut self.text, Vec::with_capacity(PART));
        self.parts.blocking_send(text.into()).map_err(|_| fmt::Error)
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > PART {
            self.flush()?;
        }
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
