//! Access logs: a line for each request, in a file for each service, or in one for several.
//!
//! Requests never wait for a disk. A thread of the proxy writes lines into a buffer of its [`Sink`], and hands that on when
//! 64 KiB are full, or when its tick comes; one thread of its own, the [`Logs`], appends to the files. Between them are
//! [`DEPTH`] buffers, 16 MiB at most. When those are full, or when the disk does not take a line, it is lost and counted
//! ([`ServiceTraffic::log_lost`](crate::model::traffic::ServiceTraffic::log_lost)).
//!
//! What has gone wrong with a file is logged once, until it goes well again; each further buffer is another try. Files are
//! made with mode 0640, opened with O_APPEND, and no line is torn in two but where the disk was full. Times are UTC.

mod entry;
mod escape;
mod file;
mod format;
mod sink;
mod stamp;
#[cfg(test)]
mod tests;
mod writer;

pub use entry::{Entry, Request, TlsFacts, Version};
pub use sink::Sink;
pub use writer::{DEPTH, Logs};
