//! What travels as JSON. Stable: see [the module above](super).

mod command;
mod explanation;
mod plan;
mod problem;
mod status;
mod trace;

pub use command::{Backend, BackendPatch, Overridden, Reloaded};
pub use explanation::{Explanation, Flow, KnownFlow, Otherwise, Phase, Verdict};
pub use plan::{AddressPlan, BackendPlan, Change, Flows, FlowsPlan, KeyPlan, OverridePlan, Plan, ServicePlan};
pub use problem::Problem;
pub use status::{
    AdminState, BackendStatus, FlowTable, FlowTables, Health, InterfaceStatus, NextHop, Protocol, Role, ServiceStatus,
    SlotStates, Status, UnattachedInterface, UnresolvedBackend, VipStatus, XdpMode,
};
pub use trace::{TraceEnded, TraceRequest, TraceStarted, TracedPacket, TracedPackets, TracedSlot};
