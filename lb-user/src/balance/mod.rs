//! Which backend a slot of a ring belongs to.
//!
//! Everything here is a pure function of its arguments: nodes with the same members, weights, size and seed build the
//! same rings without talking to each other. Who is healthy, and how a ring gets into the kernel, is for others.

mod apportion;
pub mod maglev;
mod memo;
pub mod smooth;

pub use maglev::{Candidate, build};
pub use memo::{Order, Rings};

#[cfg(test)]
mod tests;
