//! Many small writes to few large ones: HTTP/2 flushes after each frame, and ten responses may go out in one call.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Buffer, Stream, buffer};

/// Bytes that wait at most; then they are written. A frame more, and they still fit.
const MOST: usize = buffer::LARGE - 17 * 1024;

/// Collects what is written, until [`Coalesced::poll_send`] or until [`MOST`] bytes wait. A flush by whoever writes is
/// nothing but a promise that it will be sent. The library that writes keeps its connection to itself, hence the clone.
#[derive(Clone, Debug)]
pub struct Coalesced(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    waiting: Buffer,
}

impl Coalesced {
    /// Over this connection.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            stream,
            waiting: Buffer::none(),
        })))
    }

    /// Sends all that waits.
    ///
    /// # Errors
    /// The connection's.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl Inner {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let length = ready!(Pin::new(&mut self.stream).poll_write(cx, self.waiting.bytes()))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.consume(length);
        }
        self.waiting.rest();
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Coalesced {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if inner.waiting.len() >= MOST {
            ready!(inner.poll_send(cx))?;
        }
        if inner.waiting.is_empty() {
            inner.waiting = Buffer::large();
        }
        inner.waiting.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}
