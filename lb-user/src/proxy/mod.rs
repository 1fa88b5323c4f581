//! The L7 proxy.
mod accept;
pub mod choose;
mod client;
mod convert;
mod cookies;
mod exchange;
mod fault;
mod files;
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

pub use supervise::{Setup, run};
