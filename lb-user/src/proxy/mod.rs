//! The L7 proxy: HTTP for services of `mode = "proxy"`.
//!
//! One thread for each CPU, each with a runtime of its own, sockets of its own at every VIP (the kernel spreads connections
//! over them), pools of connections of its own, and buffers of its own. A request touches nothing that another thread holds
//! locked; what threads have in common is loaded, and counted, by atomics ([`model::traffic`](crate::model::traffic)).
//! The configuration, and who may serve, comes as one value, which each thread takes whole.
//!
//! ```text
//! supervise   reads files, opens sockets, starts threads, hands them snapshots
//! worker      a thread: its services and pools; accept: from the socket to the first request
//! client      HTTP/1 and HTTP/2 of clients; http1: heads and bodies as bytes, read strictly
//! exchange    a request and its answer: route, backend, retry; rewrite: heads on their way; pump: bodies on theirs
//! choose      which backend; upstream: connections to it
//! log, tls    access logs; certificates; challenges: what authorities are shown that sign them
//! ```
//!
//! There is one form in which heads are handled: the text of HTTP/1.1, whatever was spoken. What comes by HTTP/2 is written
//! so and read by the same scanner, so every rule is there once. What goes on unchanged is copied in one piece.
mod accept;
mod challenges;
pub mod choose;
mod client;
mod convert;
mod cookies;
mod exchange;
mod fault;
mod files;
mod gate;
pub mod http1;
pub mod io;
pub mod log;
pub mod proxy_protocol;
mod pump;
mod record;
mod reply;
mod rewrite;
mod shared;
mod site;
mod snapshot;
mod sockets;
mod supervise;
#[cfg(test)]
mod tests;
pub mod tls;
mod tunnel;
mod upload;
mod upstream;
mod worker;

pub use snapshot::patience;
pub use sockets::{Inherited, Listening};
pub use supervise::{Setup, run, threads};
