//! What `cargo xtask bench` measures. [`control`] is the manager at scale, [`proxy`] the L7 proxy, [`load`] the labs'
//! generator, [`failover`] a master that dies; the rest of this module is the program:
//!
//! `cargo xtask bench dataplane`: what a packet costs, in nanoseconds and beside a minimal balancer. docs/bench.md tells
//! how it is measured and how to read it.
//!
//! [`case`] lists what is measured, [`setting`] loads the balancer with services, [`object`] the bench's own programs,
//! [`link`] is what packets are sent over, [`measure`] runs the one within the other, [`facts`] asks the kernel what it thinks
//! of them, [`report`] prints.
//!
//! A figure counts only when every packet came to the end that it should: the wrapper counts actions, and after each
//! sample the packet has to be the one that went in.

pub mod case;
pub mod control;
mod facts;
pub mod failover;
mod link;
pub mod load;
mod measure;
mod object;
pub mod proxy;
mod report;
mod row;
mod sampling;
pub mod setting;
#[allow(dead_code, reason = "shared with the programs, which use all of it")]
#[path = "../../../lb-ebpf/bench/shared.rs"]
mod shared;

pub use measure::{Options, run};
pub use object::reference;
pub use report::Report;
pub use row::{Figures, Row};
pub use sampling::Sampling;
