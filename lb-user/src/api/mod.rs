//! How people and programs talk to a running daemon.

pub mod types;
