//! One file per mode of rewriting.

pub(crate) mod dsr;
