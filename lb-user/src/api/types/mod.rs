//! What travels as JSON. Stable: see [the module above](super).

mod command;
mod explanation;
mod problem;
mod status;

pub use command::{BackendPatch, Overridden, Reloaded};
pub use explanation::{Explanation, Flow, KnownFlow, Phase, Verdict};
pub use problem::Problem;
pub use status::{
    AdminState, BackendStatus, Health, InterfaceStatus, NextHop, Protocol, ServiceStatus, Status, UnattachedInterface,
    VipStatus, XdpMode,
};
