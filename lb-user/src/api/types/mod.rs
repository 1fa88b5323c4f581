//! What travels as JSON. Stable: see [the module above](super).

mod explanation;
mod problem;
mod status;

pub use explanation::{Explanation, Flow, Verdict};
pub use problem::Problem;
pub use status::{
    AdminState, BackendStatus, Health, InterfaceStatus, NextHop, Protocol, ServiceStatus, Status, VipStatus, XdpMode,
};
