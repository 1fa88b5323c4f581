//! `GET /api/v1/explain`.

use std::net::{IpAddr, SocketAddr};

use lb_common::nat;
use lb_common::service::Choice;
use serde::{Deserialize, Serialize};

use super::{Judgement, Protocol};
use crate::model::status as from;

/// What the program would do with a packet of a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// The flow that was asked about.
    pub flow: Flow,
    /// Its fate, named by the field `verdict`.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What protection has to say of it; `null` where it judges nothing.
    pub protection: Option<Judgement>,
}

/// A flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Flow {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client.
    pub source: SocketAddr,
    /// The address it talks to.
    pub destination: SocketAddr,
}

/// The fate of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Sent to a backend.
    Forwarded {
        /// The service that the flow belongs to.
        service: String,
        /// The backend's name.
        backend: String,
        /// The backend's address.
        address: SocketAddr,
        /// How it gets there; as in the file, an open set.
        mode: String,
        /// The flow's keyed hash: 64 bits as 16 hexadecimal digits, since JSON's numbers end at 53 bits.
        hash: String,
        /// The slot of the ring that the hash points at, from 0.
        slot: u32,
        /// Slots in the ring.
        slots: u32,
        /// What the slot remembers of its flows; an open set.
        slot_state: String,
        /// The flow is written down, and goes where it went, whatever its slot says.
        tracked: bool,
        /// `nat`: the flow is known already, so this is where it goes, whatever its slot says; `null` for one that is new,
        /// and in other modes.
        known: Option<KnownFlow>,
    },
    /// Left to the kernel, and so to this node's proxy, which chooses a backend for each request.
    Proxied {
        /// The service that the flow belongs to.
        service: String,
        /// Its own backends, and the pools that its routes lead to, in the order in which routes name them.
        pools: Vec<Pool>,
    },
    /// Not known yet: its first packet decides when it comes.
    Undecided {
        /// The service that the flow belongs to.
        service: String,
        /// By what: `turn` or `load`; an open set.
        by: String,
        /// Where a packet goes that does not open the flow, by its hash; `null` where there is no such packet, or nobody.
        otherwise: Option<Otherwise>,
    },
    /// Refused by protection, whatever is in its packets.
    Refused {
        /// The service that the flow belongs to; `null` where no service declares the port.
        service: Option<String>,
        /// As in `drops` of the status; an open set.
        reason: String,
    },
    /// Dropped, though a service is declared.
    Dropped {
        /// The service that the flow belongs to.
        service: String,
        /// As in `drops` of the status; an open set.
        reason: String,
        /// The slot of the ring.
        slot: u32,
    },
    /// To a VIP, but to a port and protocol that no service declares.
    Undeclared {
        /// Dropped, or else left to the kernel.
        dropped: bool,
    },
    /// To an address that is no VIP of this node: left to the kernel.
    NotAVip {
        /// That address.
        address: IpAddr,
    },
}

/// A service or a pool of the proxy, from which a backend is chosen for each request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How it chooses; as in the file, an open set.
    pub balance: String,
    /// What is hashed, as `hash-on` in the file has it; `null` where no hash chooses.
    pub hash_on: Option<String>,
    /// The names of its backends that may be chosen now.
    pub ready: Vec<String>,
    /// How many backends it has.
    pub backends: usize,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Otherwise {
    /// Its name.
    pub backend: String,
    /// Its address.
    pub address: SocketAddr,
}

/// A flow that has a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KnownFlow {
    /// What the backend sees as the client.
    pub source: SocketAddr,
    /// How far it has come.
    pub phase: Phase,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Only one side has been heard.
    Opening,
    /// Both have.
    Established,
    /// TCP: one side has sent its FIN.
    HalfClosed,
    /// TCP: both have, or one has sent a RST.
    Closed,
}

impl From<nat::Phase> for Phase {
    fn from(phase: nat::Phase) -> Self {
        match phase {
            nat::Phase::Opening => Self::Opening,
            nat::Phase::Established => Self::Established,
            nat::Phase::HalfClosed => Self::HalfClosed,
            nat::Phase::Closed => Self::Closed,
        }
    }
}

impl Explanation {
    /// What was found out about `flow`.
    #[must_use]
    pub fn new(flow: from::FlowQuery, explained: from::Explained) -> Self {
        Self {
            flow: flow.into(),
            verdict: explained.explanation.into(),
            protection: explained.judgement.map(Into::into),
        }
    }
}

impl From<from::FlowQuery> for Flow {
    fn from(flow: from::FlowQuery) -> Self {
        Self {
            protocol: flow.protocol.into(),
            source: flow.source,
            destination: flow.destination,
        }
    }
}

impl From<from::Pool> for Pool {
    fn from(pool: from::Pool) -> Self {
        Self {
            name: pool.name.as_ref().to_owned(),
            balance: pool.balance.label().to_owned(),
            hash_on: pool.hash_on.map(|on| on.to_string()),
            ready: pool.ready.iter().map(|name| name.as_ref().to_owned()).collect(),
            backends: pool.backends,
        }
    }
}

impl From<from::Explanation> for Verdict {
    fn from(explanation: from::Explanation) -> Self {
        match explanation {
            from::Explanation::NotAVip { address } => Self::NotAVip { address },
            from::Explanation::Undeclared { dropped } => Self::Undeclared { dropped },
            from::Explanation::Refused { service, reason } => Self::Refused {
                service: service.map(|name| name.as_ref().to_owned()),
                reason: reason.label().to_owned(),
            },
            from::Explanation::Dropped { service, reason, slot } => Self::Dropped {
                service: service.as_ref().to_owned(),
                reason: reason.label().to_owned(),
                slot,
            },
            from::Explanation::Forwarded {
                service,
                backend,
                address,
                mode,
                hash,
                slot,
                slots,
                state,
                tracked,
                known,
            } => Self::Forwarded {
                service: service.as_ref().to_owned(),
                backend: backend.as_ref().to_owned(),
                address,
                mode: mode.label().to_owned(),
                hash: format!("{hash:016x}"),
                slot,
                slots,
                slot_state: state.label().to_owned(),
                tracked,
                known: known.map(|flow| KnownFlow {
                    source: flow.source,
                    phase: flow.phase.into(),
                }),
            },
            from::Explanation::Proxied { service, pools } => Self::Proxied {
                service: service.as_ref().to_owned(),
                pools: pools.into_iter().map(Into::into).collect(),
            },
            from::Explanation::Undecided { service, by, otherwise } => Self::Undecided {
                service: service.as_ref().to_owned(),
                by: if by == Choice::Least { "load" } else { "turn" }.to_owned(),
                otherwise: otherwise.map(|otherwise| Otherwise {
                    backend: otherwise.backend.as_ref().to_owned(),
                    address: otherwise.address,
                }),
            },
        }
    }
}
