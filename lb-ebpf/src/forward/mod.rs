//! One file per mode of rewriting.

pub(crate) mod dsr;
pub(crate) mod nat;
