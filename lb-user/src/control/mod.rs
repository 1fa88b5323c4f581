//! Desired state, and the only writer of the data plane.
//!
//! Configuration, health and next hops come in over channels; [`merge`] makes the desired state of them, `plan` the
//! operations, [`reconciler`] performs them, again and again until what is installed is what is desired. Questions
//! come in over a [`Handle`].

pub mod addresses;
mod carried;
mod explain;
mod handle;
pub mod merge;
pub mod reconciler;
mod report;

pub use addresses::{Addresses, NodeAddresses};
pub use handle::{Gone, Handle, Request};
pub use reconciler::{Inputs, Reconciler};

#[cfg(test)]
mod tests;
