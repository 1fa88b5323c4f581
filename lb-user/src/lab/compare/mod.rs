//! `fulcrum lab compare`: one workload, the same backends, and every way to balance that this machine has.
//!
//! [`model`] is what a comparison finds out, [`report`] how it is shown.

#![allow(dead_code, unused_imports, reason = "what fills it is on its way")]

mod model;
mod report;
