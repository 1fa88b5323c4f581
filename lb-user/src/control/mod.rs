//! Desired state, and the only writer of the data plane.

mod handle;

pub use handle::{Gone, Handle, Request};
