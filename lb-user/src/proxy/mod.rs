//! The L7 proxy: how it chooses backends, and what it writes down of requests.

pub mod choose;
pub mod log;
