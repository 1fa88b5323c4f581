//! The L7 proxy.
pub mod choose;
mod client;
mod convert;
mod cookies;
mod exchange;
mod fault;
pub mod http1;
pub mod io;
pub mod proxy_protocol;
mod pump;
mod record;
mod reply;
mod rewrite;
mod site;
mod upload;
mod upstream;
