//! HTTP/1.1 as bytes (RFC 9112): heads and chunked bodies, read strictly. Pure: no I/O, and the same verdict however the
//! input was cut into pieces.
//!
//! It is also the one form in which a head is handled: what comes by HTTP/2 is written so, and read by the same scanner.
//! What can be understood in two ways is refused, since whoever stands behind may understand it in the other.

pub mod body;
pub mod chunked;
pub mod fields;
pub mod request;
pub mod response;
#[cfg(test)]
mod tests;

pub use body::Body;
pub use chunked::{ChunkedError, Scanner, Step, may_trail};
pub use fields::{Field, Fields, Known};
pub use request::RequestHead;
pub use response::ResponseHead;

/// How long a body is, by its head (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// So many bytes, not 0.
    Length(u64),
    /// Chunks, the last of which is empty.
    Chunked,
    /// Until the connection ends: responses only.
    Close,
}

/// How much of a head is taken.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes, first line and all.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of a request's target.
    pub target: usize,
}

/// Why a head is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A line ends in LF alone, or a CR stands elsewhere (RFC 9112 §2.2).
    #[error("bare CR or LF")]
    LineEnd,
    /// The first line of a request is none (RFC 9112 §3).
    #[error("malformed request line")]
    RequestLine,
    /// The target has bytes or a form that its method does not have (RFC 9112 §3.2).
    #[error("malformed target")]
    Target,
    /// The first line of a response is none (RFC 9112 §4).
    #[error("malformed status line")]
    StatusLine,
    /// A version that is not spoken.
    #[error("version not supported")]
    Version,
    /// A field's name is no token, or blanks stand before its colon (RFC 9112 §5.1).
    #[error("malformed field name")]
    FieldName,
    /// A field's value has control bytes (RFC 9110 §5.5).
    #[error("malformed field value")]
    FieldValue,
    /// A line goes on in the next one (RFC 9112 §5.2).
    #[error("obsolete line folding")]
    Folding,
    /// No Host, several, one that is malformed, or another one than the target names (RFC 9112 §3.2).
    #[error("missing, repeated, malformed or contradicting Host")]
    Host,
    /// A length that is no number, or several (RFC 9112 §6.3).
    #[error("malformed or repeated Content-Length")]
    Length,
    /// Codings other than chunked alone, or chunked in HTTP/1.0 (RFC 9112 §6.1).
    #[error("unsupported Transfer-Encoding")]
    Coding,
    /// Both of them (RFC 9112 §6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    Ambiguous,
    /// `connection` names a field that is not the connection's (RFC 9110 §7.6.1).
    #[error("Connection names a field that is not its own")]
    Nominated,
    /// `expect` other than 100-continue (RFC 9110 §10.1.1).
    #[error("unknown expectation")]
    Expectation,
    /// More bytes than [`Bounds::bytes`], or fields than [`Bounds::fields`].
    #[error("head too large")]
    TooLarge,
    /// More bytes than [`Bounds::target`].
    #[error("target too long")]
    TargetTooLong,
}

impl HeadError {
    /// What a client is answered.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::Expectation => 417,
            Self::TooLarge => 431,
            Self::TargetTooLong => 414,
            Self::Coding => 501,
            _ => 400,
        }
    }
}
