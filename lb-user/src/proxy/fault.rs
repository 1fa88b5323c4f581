//! Why a request did not come to its end, and what its client is told of it.

use std::io;

use super::http1::{ChunkedError, HeadError};
use super::io::TooSlow;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What the client sent is not taken.
    #[error("the request is refused: {0}")]
    Request(#[from] HeadError),
    /// The client's body is not taken.
    #[error("the request's body is refused: {0}")]
    RequestBody(ChunkedError),
    /// The client's body is larger than it may be.
    #[error("the request's body is too large")]
    TooMuch,
    /// The client sends or takes nothing for too long.
    #[error("the client was too slow")]
    ClientSlow,
    /// The client has gone.
    #[error("the client has gone")]
    Client(#[source] io::Error),
    /// The method is nobody's here.
    #[error("the method is not allowed")]
    Method,
    /// Nobody is up.
    #[error("no backend is up")]
    Nobody,
    /// All that are up have as much as they may, and as many wait as may.
    #[error("every backend has as many requests as it may")]
    Full,
    /// No connection to a backend.
    #[error("no connection to the backend")]
    Connect(#[source] io::Error),
    /// The backend's connection ended before its answer began.
    #[error("the backend ended the connection without an answer")]
    NoAnswer(#[source] io::Error),
    /// The backend's answer is none.
    #[error("the backend's answer is refused: {0}")]
    Response(HeadError),
    /// The backend's body is none.
    #[error("the backend's body is refused: {0}")]
    ResponseBody(ChunkedError),
    /// The backend's answer ended in the middle.
    #[error("the backend's answer ended in the middle")]
    Truncated(#[source] io::Error),
    /// No connection within the time for it.
    #[error("no connection to the backend within its time")]
    ConnectSlow,
    /// The backend took too long.
    #[error("the backend was too slow")]
    BackendSlow,
}

impl Fault {
    /// What the client is answered, while nothing else has been said to it; `None`: there is nobody to hear it.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        Some(match self {
            Self::Request(error) => error.status(),
            Self::RequestBody(_) => 400,
            Self::TooMuch => 413,
            Self::ClientSlow => 408,
            Self::Client(_) => return None,
            Self::Method => 405,
            Self::Nobody | Self::Full => 503,
            Self::Connect(_)
            | Self::NoAnswer(_)
            | Self::Response(_)
            | Self::ResponseBody(_)
            | Self::Truncated(_) => 502,
            Self::BackendSlow | Self::ConnectSlow => 504,
        })
    }

    /// What the access log says of the client that is not answered: nginx's 499.
    pub const GONE: u16 = 499;

    /// Is it the backend's?
    #[must_use]
    pub const fn is_backends(&self) -> bool {
        matches!(
            self,
            Self::Connect(_)
                | Self::ConnectSlow
                | Self::NoAnswer(_)
                | Self::Response(_)
                | Self::ResponseBody(_)
                | Self::Truncated(_)
                | Self::BackendSlow
        )
    }

    /// Has the backend certainly not seen the request? Then even one that must not be repeated may go to another.
    #[must_use]
    pub const fn is_before_request(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectSlow)
    }
}

/// A client's, of its own time.
impl From<TooSlow> for Fault {
    fn from(_: TooSlow) -> Self {
        Self::ClientSlow
    }
}
