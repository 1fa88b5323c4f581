//! How people and programs talk to a running daemon: HTTP, with JSON under `/api/v1` and what monitoring reads beside it,
//! on its Unix socket and over TCP. One server answers on both; `access` says what each kind of client may ask.
//!
//! Server and client share the [`types`], which are what is promised to others: within `v1` a field is never renamed,
//! removed or given another meaning; new fields, new values of open sets and new endpoints may appear. `docs/api.md`
//! says the same for readers without Rust. Answers come from the reconciler through [`control::Handle`]; nothing here
//! touches the data plane.
//!
//! [`control::Handle`]: crate::control::Handle

mod access;
mod body;
pub mod client;
mod connection;
mod discovery;
mod listen;
pub mod live;
mod monitor;
mod negotiate;
mod page;
mod percent;
mod query;
mod ready;
mod respond;
mod route;
pub mod server;
pub mod socket;
mod stream;
pub mod token;
pub mod types;

pub use client::{Client, ClientError};
pub use listen::{Listener, listen};
pub use live::{Live, live};
pub use server::{Desk, serve};
pub use socket::{BindError, Socket, bind};
pub use token::Token;

/// Largest request head that is read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests;
