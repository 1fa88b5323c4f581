//! What travels as JSON. Stable: see [the module above](super).

mod backend;
mod certificate;
mod command;
mod denied;
mod discovery;
mod explanation;
mod judgement;
mod log;
mod node;
mod peers;
mod plan;
mod problem;
mod protection;
mod status;
mod trace;
mod vrrp;

pub use backend::{AdminState, BackendStatus, Health, NatStatus, NextHop, ProxyStatus, Role, UnresolvedBackend};
pub use certificate::{Certificates, OrderedCertificate};
pub use command::{Backend, BackendPatch, Overridden, Reloaded};
pub use denied::{Denied, Denies, Deny, DenyPut, Undenied};
pub use discovery::TargetGroup;
pub use explanation::{Explanation, Flow, KnownFlow, Otherwise, Phase, Pool, Verdict};
pub use judgement::{Judgement, Quota, Rule};
pub use log::LogLevels;
pub use node::{Announcement, Node, NodePatch};
pub use peers::Peer;
pub use plan::{AddressPlan, BackendPlan, Change, Flows, FlowsPlan, KeyPlan, OverridePlan, Plan, ServicePlan};
pub use problem::Problem;
pub use protection::{Protection, Refused, ServiceProtection};
pub use status::{
    Certificate, FlowTable, FlowTables, HttpStatus, InterfaceStatus, Protocol, Reloads, ServiceStatus, SlotStates,
    Status, UnattachedInterface, VipStatus, XdpMode,
};
pub use trace::{TraceEnded, TraceRequest, TraceStarted, TracedPacket, TracedPackets, TracedSlot};
pub use vrrp::VirtualRouter;
