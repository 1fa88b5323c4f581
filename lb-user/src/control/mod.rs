//! Desired state, and the only writer of the data plane.
//!
//! Configuration, health and next hops come in over channels; [`merge`] makes the desired state of them, `plan` the
//! operations, [`reconciler`] performs them, again and again until what is installed is what is desired. Questions
//! come in over a [`Handle`], and so do [`overrides`] of the configuration and prefixes to [deny](denies), which the reconciler
//! owns.

pub mod addresses;
mod answers;
mod begins;
mod carried;
pub mod certificates;
mod channels;
mod commands;
pub mod denies;
mod denying;
mod drains;
mod explain;
mod fitness;
mod handle;
mod held;
mod interfaces;
mod judge;
mod known;
mod leaving;
mod levels;
pub mod merge;
pub mod names;
pub mod overrides;
mod ownership;
mod paths;
mod preview;
mod protect;
mod quorum;
pub mod reconciler;
mod repairs;
mod report;
pub mod shared;
mod slow_start;
mod sweep;
mod tell;
mod trace;
mod upkeep;
mod upstreams;
mod windows;
mod writing;

pub use addresses::{Addresses, NodeAddresses};
pub use certificates::{CertificateRefused, CertificateRequest};
pub use channels::{Inputs, Outputs};
pub use commands::{Revision, Saved};
pub use denies::Denies;
pub use denying::DenyRefused;
pub use fitness::Fitness;
pub use handle::{FileRequest, Gone, Handle, OverrideRefused, PreviewRefused, ReloadRefused, Reloaded, Request};
pub use levels::Levels;
pub use overrides::{Override, Overrides};
pub use paths::Paths;
pub use reconciler::Reconciler;
pub use tell::tell;
pub use trace::TraceRefused;

#[cfg(test)]
mod tests;
