//! A connection of HTTP/1.1 to a backend.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nix::sys::socket::{Shutdown, shutdown};

use super::Backend;
use crate::model::traffic::BackendTraffic;
use crate::proxy::fault::Fault;
use crate::proxy::http1::{Bounds, ResponseHead};
use crate::proxy::io::{Buffer, Deadline, Duplex, Stream};

/// A connection, and what was read of it and not used.
#[derive(Debug)]
pub(crate) struct Connection {
    /// To read and write.
    pub duplex: Duplex,
    /// What has been read.
    pub buffer: Buffer,
    /// Its own timer, since the client's is for the client.
    pub deadline: Deadline,
    /// It has served another request already.
    pub reused: bool,
    _open: Open,
}

impl Connection {
    /// A new one to `backend`.
    #[must_use]
    pub(crate) fn new(stream: Stream, backend: &Rc<Backend>) -> Self {
        Self {
            _open: Open::new(&stream, backend),
            duplex: Duplex::new(stream),
            buffer: Buffer::none(),
            deadline: Deadline::default(),
            reused: false,
        }
    }

    /// May it serve another request? Nothing may have come that nobody has asked for.
    #[must_use]
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.buffer.is_empty() && self.duplex.get_mut().is_quiet()
    }
}

/// Waits for the next head of a response, which is read to `buffer`.
///
/// # Errors
/// Those of [`Fault`] that are the backend's.
pub(crate) async fn head(
    duplex: &Duplex,
    buffer: &mut Buffer,
    response: &mut ResponseHead,
    bounds: &Bounds,
    to_head: bool,
) -> Result<(), Fault> {
    loop {
        if !buffer.is_empty()
            && response
                .read(buffer.bytes(), bounds, to_head)
                .map_err(Fault::Response)?
        {
            return Ok(());
        }
        match duplex.read(buffer).await {
            Ok(0) if buffer.is_empty() => return Err(Fault::NoAnswer(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => return Err(Fault::Truncated(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) if buffer.is_empty() => return Err(Fault::NoAnswer(error)),
            Err(error) => return Err(Fault::Truncated(error)),
        }
    }
}

/// A connection that counts as open, and that can be ended from outside.
#[derive(Debug)]
pub(super) struct Open {
    backend: Rc<Backend>,
    fd: RawFd,
}

impl Open {
    /// Of this connection, which is to be dropped no sooner than this.
    pub(super) fn new(stream: &Stream, backend: &Rc<Backend>) -> Self {
        let fd = stream.tcp().as_raw_fd();
        backend.open.borrow_mut().insert(fd);
        backend.traffic.connections.fetch_add(1, Relaxed);
        Self {
            backend: Rc::clone(backend),
            fd,
        }
    }

    /// Ends both directions of a connection, for whoever uses it.
    pub(super) fn end(fd: RawFd) {
        // SAFETY: it is among those that are open, so nobody has closed it.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        // One that has ended already is fine.
        let _ = shutdown(borrowed.as_raw_fd(), Shutdown::Both);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.backend.open.borrow_mut().remove(&self.fd);
        self.backend.traffic.connections.fetch_sub(1, Relaxed);
    }
}

/// Counts a connection that was tried.
pub(super) fn count(traffic: &Arc<BackendTraffic>, made: bool) {
    let counter = if made {
        &traffic.connects
    } else {
        &traffic.connect_errors
    };
    counter.fetch_add(1, Relaxed);
}
