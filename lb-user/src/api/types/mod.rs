//! What travels as JSON. Stable: see [the module above](super).

mod command;
mod explanation;
mod problem;
mod status;
mod trace;

pub use command::{BackendPatch, Overridden, Reloaded};
pub use explanation::{Explanation, Flow, KnownFlow, Otherwise, Phase, Verdict};
pub use problem::Problem;
pub use status::{
    AdminState, BackendStatus, FlowTable, FlowTables, Health, InterfaceStatus, NextHop, Protocol, ServiceStatus,
    SlotStates, Status, UnattachedInterface, VipStatus, XdpMode,
};
pub use trace::{TraceEnded, TraceRequest, TraceStarted, TracedPacket, TracedPackets, TracedSlot};
