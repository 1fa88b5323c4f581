//! Desired state, and the only writer of the data plane.
//!
//! Configuration, health and next hops come in over channels; [`merge`] makes the desired state of them, `plan` the
//! operations, [`reconciler`] performs them, again and again until what is installed is what is desired. Questions
//! come in over a [`Handle`], and so do [`overrides`] of the configuration, which the reconciler owns.

pub mod addresses;
mod begins;
mod carried;
mod commands;
mod drains;
mod explain;
mod handle;
mod interfaces;
mod known;
mod leaving;
pub mod merge;
pub mod names;
pub mod overrides;
pub mod reconciler;
mod report;
mod sweep;
mod trace;
mod windows;

pub use addresses::{Addresses, NodeAddresses};
pub use commands::{Outputs, Revision, Saved};
pub use handle::{Gone, Handle, OverrideRefused, ReloadRefused, ReloadRequest, Reloaded, Request};
pub use overrides::{Override, Overrides};
pub use reconciler::{Inputs, Reconciler};
pub use trace::TraceRefused;

#[cfg(test)]
mod tests;
