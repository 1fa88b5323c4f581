//! What the program would do with a packet, and why: the model behind `explain`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::nat::Phase;
use lb_common::ring;
use lb_common::service::Choice;
use lb_common::stats::DropReason;

use super::judgement::Judgement;
use super::proxy::HashOn;
use super::{Balance, Mode, Protocol};

/// Which flow `explain` is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowQuery {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client. Of the same family as `destination`.
    pub source: SocketAddr,
    /// The VIP.
    pub destination: SocketAddr,
}

/// What becomes of a flow, and what protection has to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What becomes of it.
    pub explanation: Explanation,
    /// `None` when its packets are judged by nobody.
    pub judgement: Option<Judgement>,
}

/// What the program would do with a packet of that flow, and why. Read from the maps by the program's own code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The address is no VIP of this node: passed to the kernel.
    NotAVip {
        /// Which address.
        address: IpAddr,
    },
    /// A VIP, but no service on this port: dropped or passed.
    Undeclared {
        /// Is it dropped?
        dropped: bool,
    },
    /// Refused by protection, whatever is in it.
    Refused {
        /// The service that the flow belongs to; `None` where it belongs to none, and its address is a VIP.
        service: Option<Arc<str>>,
        /// Its reason.
        reason: DropReason,
    },
    /// Dropped, for this reason.
    Dropped {
        /// The service that the flow belongs to.
        service: Arc<str>,
        /// Its reason.
        reason: DropReason,
        /// Slot of the ring.
        slot: u32,
    },
    /// Sent to a backend.
    Forwarded {
        /// The service that the flow belongs to.
        service: Arc<str>,
        /// The backend's name.
        backend: Arc<str>,
        /// The backend's address.
        address: SocketAddr,
        /// How it gets there.
        mode: Mode,
        /// The flow's keyed hash.
        hash: u64,
        /// Slot of the ring.
        slot: u32,
        /// Slots in the ring.
        slots: u32,
        /// What the slot remembers.
        state: SlotState,
        /// The flow is written down, so this is where it goes whatever its slot says.
        tracked: bool,
        /// `nat`: the flow is known, and goes where it went before, whatever the ring says.
        known: Option<KnownFlow>,
    },
    /// Left to the kernel, and so to this node's proxy, which chooses a backend for each request.
    Proxied {
        /// The service that the flow belongs to.
        service: Arc<str>,
        /// Its own backends, and the pools that its routes lead to, in their order.
        pools: Vec<Pool>,
    },
    /// The flow is not known, and its first packet decides when it comes: by turn, or by load.
    Undecided {
        /// The service that the flow belongs to.
        service: Arc<str>,
        /// By which.
        by: Choice,
        /// Where any other packet of it goes, by its hash; `None` when there is no such packet, or nobody.
        otherwise: Option<Otherwise>,
    },
}

/// A service or a pool of the proxy, from which a backend is chosen for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: Arc<str>,
    /// How it chooses.
    pub balance: Balance,
    /// What is hashed, where a hash chooses.
    pub hash_on: Option<HashOn>,
    /// The names of its backends that may be chosen now.
    pub ready: Vec<Arc<str>>,
    /// How many it has.
    pub backends: usize,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otherwise {
    /// Its name.
    pub backend: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
}

/// What is to be known of the flows of a slot (section 5.4 of the design).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// All go to its backend, and none is written down.
    Stable,
    /// Those that are older than a change go to another backend.
    Moving,
    /// Those that are written down go where they went.
    Settled,
}

impl From<ring::State> for SlotState {
    fn from(state: ring::State) -> Self {
        match state {
            ring::State::Stable => Self::Stable,
            ring::State::Moving(_) => Self::Moving,
            ring::State::Settled => Self::Settled,
        }
    }
}

impl SlotState {
    /// As in JSON and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Moving => "moving",
            Self::Settled => "settled",
        }
    }
}

/// A flow that `nat` translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFlow {
    /// What the backend sees as the client.
    pub source: SocketAddr,
    /// How far it has come.
    pub phase: Phase,
}
