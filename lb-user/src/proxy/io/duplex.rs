//! A connection whose two directions are used at once, by one task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::{Buffer, Stream};

/// A connection that can be read by one future while another writes it. It is borrowed for no longer than a poll.
#[derive(Debug)]
pub struct Duplex(RefCell<Stream>);

impl Duplex {
    /// Of this connection.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self(RefCell::new(stream))
    }

    /// The connection.
    #[must_use]
    pub fn into_inner(self) -> Stream {
        self.0.into_inner()
    }

    /// The connection, for what needs no waiting.
    pub fn get_mut(&mut self) -> &mut Stream {
        self.0.get_mut()
    }

    /// Reads what there is to the room of `buffer`; 0 at the end.
    ///
    /// # Errors
    /// The connection's. An end of TCP before that of TLS is one.
    pub async fn read(&self, buffer: &mut Buffer) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut stream = self.0.borrow_mut();
            let mut room = ReadBuf::new(buffer.room());
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut room))?;
            let length = room.filled().len();
            buffer.filled(length);
            Poll::Ready(Ok(length))
        })
        .await
    }

    /// Waits until something can be read, without memory for it.
    ///
    /// # Errors
    /// The connection's.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.0.borrow_mut().poll_readable(cx)).await
    }

    /// Writes both, one after the other, in as few calls as it takes, down to the network.
    ///
    /// # Errors
    /// The connection's.
    pub async fn write(&self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let mut written = 0;
        let all = first.len() + second.len();
        poll_fn(|cx| {
            let mut stream = self.0.borrow_mut();
            while written < all {
                let length = if written < first.len() {
                    let pieces = [IoSlice::new(&first[written..]), IoSlice::new(second)];
                    let pieces = if second.is_empty() { &pieces[..1] } else { &pieces };
                    ready!(Pin::new(&mut *stream).poll_write_vectored(cx, pieces))?
                } else {
                    ready!(Pin::new(&mut *stream).poll_write(cx, &second[written - first.len()..]))?
                };
                if length == 0 {
                    return Poll::Ready(Err(ErrorKind::WriteZero.into()));
                }
                written += length;
            }
            Pin::new(&mut *stream).poll_flush(cx)
        })
        .await
    }

    /// Lets the connection be reset when it is dropped, so that the other side sees that something is missing.
    pub fn abandon(&self) {
        // One that has ended already is fine.
        let _ = self.0.borrow().tcp().set_zero_linger();
    }

    /// Says that nothing more is written.
    ///
    /// # Errors
    /// The connection's.
    pub async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)).await
    }
}
