//! Fulcrum's manager, command line and labs.
//!
//! The modules are layers: each uses only what stands below it in this list, and siblings on a line never import each
//! other. `cargo xtask layers` checks it.
//!
//! ```text
//! cli                          arguments, rendering
//! lab                          labs
//! daemon                       builds, wires and supervises every part
//! api                          HTTP server on the Unix socket and TCP, and its client
//! health · proxy · ha · peers · acme
//!                              producers of events; the L7 proxy; VRRP; what nodes tell each other; certificates
//! control                      desired state, reconciler; the only writer of the data plane
//! metrics                      families and names, in one place
//! dataplane · net · process · disk
//!                              load, attach, map access (`use aya` only in dataplane/kernel); netlink; programs; files
//! plan · config                pure
//! balance                      pure: rings
//! model                        pure: domain types
//! ```
//!
//! What is unsafe stands in few files, which `cargo xtask layers` has a list of; whole layers have none.

#![warn(clippy::multiple_unsafe_ops_per_block)]

#[forbid(unsafe_code)]
pub mod acme;
#[forbid(unsafe_code)]
pub mod api;
#[forbid(unsafe_code)]
pub mod balance;
pub mod cli;
#[forbid(unsafe_code)]
pub mod config;
#[forbid(unsafe_code)]
pub mod control;
pub mod daemon;
pub mod dataplane;
#[forbid(unsafe_code)]
mod disk;
pub mod ha;
#[forbid(unsafe_code)]
pub mod health;
pub mod lab;
#[forbid(unsafe_code)]
pub mod metrics;
#[forbid(unsafe_code)]
pub mod model;
pub mod net;
#[forbid(unsafe_code)]
pub mod peers;
#[forbid(unsafe_code)]
pub mod plan;
pub mod process;
pub mod proxy;
