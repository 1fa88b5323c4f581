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
//! health · proxy · ha · peers  producers of events; the L7 proxy; VRRP; flows that nodes tell each other of
//! control                      desired state, reconciler; the only writer of the data plane
//! metrics                      families and names, in one place
//! dataplane · net · process    load, attach, map access (`use aya` only in dataplane/kernel); netlink; programs
//! plan · config                pure
//! balance                      pure: rings
//! model                        pure: domain types
//! ```

pub mod api;
pub mod balance;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod ha;
pub mod health;
pub mod lab;
pub mod metrics;
pub mod model;
pub mod net;
pub mod peers;
pub mod plan;
pub mod process;
pub mod proxy;
