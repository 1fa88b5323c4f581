//! `fulcrum lab compare`: one workload, the same backends, and every way to balance that this machine has.
//!
//! [`model`] is what a comparison finds out, [`report`] how it is shown.

#![allow(dead_code, reason = "what fills it and shows it is on its way")]

mod model;
mod report;
