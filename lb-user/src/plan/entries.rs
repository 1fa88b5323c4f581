//! What is known of a flow, and whether it still stands for something.
//!
//! An entry of `FLOWS` or `TRACKED` is a *stray* when nothing reads it: its service is gone or keeps no such entries, its
//! slot is stable, or its member is dead. That is a function of the maps, so whoever comes to them, after whatever crash,
//! can tell. Strays must be gone before they would be read again: before a slot leaves the stable state, and before a
//! member comes alive.

use std::collections::BTreeSet;

use lb_common::flow::{FlowV4, FlowV6};
use lb_common::hash::Seed;
use lb_common::nat::NatKey;
use lb_common::ring::{self, Slot};
use lb_common::select::{self, Tables, Tuple};
use lb_common::service::{Choice, Decision, KeyV4, KeyV6, Mode, PortBlock};
use lb_common::slot::Entry;

use super::snapshot::ServiceKey;

/// Where flows are written down, besides those of `nat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `FLOWS`: those of slots that are not stable.
    Flows,
    /// `TRACKED`: every flow of services that choose by turn or by load.
    Tracked,
}

impl Table {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Flows, Self::Tracked];

    /// Where a service's flows are written down, if anywhere.
    #[must_use]
    pub const fn of(service: Decision) -> Option<Self> {
        match service.mode() {
            Some(Mode::Dsr | Mode::Tunnel) if service.choice().is_hash() => Some(Self::Flows),
            Some(Mode::Dsr | Mode::Tunnel) => Some(Self::Tracked),
            _ => None,
        }
    }

    /// The map's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "FLOWS",
            Self::Tracked => "TRACKED",
        }
    }
}

/// A flow of either family, as the program sees it.
#[derive(Clone, Copy, Debug)]
pub enum Flow {
    /// IPv4
    V4(FlowV4),
    /// IPv6
    V6(FlowV6),
}

impl From<&NatKey> for Flow {
    fn from(key: &NatKey) -> Self {
        let protocol = key.protocol as u8;
        if key.destination.is_v4() {
            Self::V4(FlowV4 {
                source: key.source.last_v4(),
                destination: key.destination.last_v4(),
                ports: key.ports,
                protocol,
            })
        } else {
            Self::V6(FlowV6 {
                source: key.source,
                destination: key.destination,
                ports: key.ports,
                protocol,
            })
        }
    }
}

impl Flow {
    /// Its key in tables of flows.
    #[must_use]
    pub fn key(self) -> NatKey {
        match self {
            Self::V4(flow) => flow.into(),
            Self::V6(flow) => flow.into(),
        }
    }

    /// The service that its packets are for.
    #[must_use]
    pub fn service(self, tables: &dyn Tables) -> Decision {
        match self {
            Self::V4(flow) => flow.find(tables),
            Self::V6(flow) => flow.find(tables),
        }
    }

    /// What chooses its slot.
    #[must_use]
    pub fn hash(self, choice: Choice, seed: Seed) -> u64 {
        match self {
            Self::V4(flow) => flow.hash_for(choice, seed),
            Self::V6(flow) => flow.hash_for(choice, seed),
        }
    }

    /// The key of a service on its port, or on the block of ports around it with `free` free bits.
    fn at(self, free: u8) -> ServiceKey {
        match self {
            Self::V4(flow) => {
                let block = PortBlock::of(flow.ports.destination.host(), free);
                ServiceKey::V4(KeyV4::block(flow.destination, block, flow.protocol))
            }
            Self::V6(flow) => {
                let block = PortBlock::of(flow.ports.destination.host(), free);
                ServiceKey::V6(KeyV6::block(flow.destination, block, flow.protocol))
            }
        }
    }

    /// Is there a service at this very key?
    fn is_served_at(self, free: u8, tables: &dyn Tables) -> bool {
        let decision = match (self, free) {
            (Self::V4(flow), 0) => flow.service(tables),
            (Self::V6(flow), 0) => flow.service(tables),
            (Self::V4(flow), free) => flow.block(tables, free),
            (Self::V6(flow), free) => flow.block(tables, free),
        };
        decision.is_service()
    }
}

/// Where a flow belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belongs {
    /// Its service.
    pub service: Decision,
    /// The number of its slot.
    pub index: u32,
    /// Its slot.
    pub slot: Slot,
}

/// Finds service and slot of a flow; `None` where no slot is asked.
#[must_use]
pub fn locate(tables: &dyn Tables, seed: Seed, flow: Flow) -> Option<Belongs> {
    let service = flow.service(tables);
    if !service.is_balanced() {
        return None;
    }
    let hash = flow.hash(service.choice(), seed);
    Some(Belongs {
        service,
        index: ring::index(service.ring_log2(), hash),
        slot: select::slot(tables, service, hash).ok()?,
    })
}

/// Does nothing read this entry? See the module.
#[must_use]
pub fn is_stray(table: Table, tables: &dyn Tables, belongs: Option<&Belongs>, entry: Entry) -> bool {
    belongs.is_none_or(|&Belongs { service, slot, .. }| {
        Table::of(service) != Some(table)
            || table == Table::Flows && slot.is_stable()
            || !select::is_alive(tables, service, entry.member())
    })
}

/// Which entries are to go, besides strays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forget {
    /// Those of flows that these keys lead, or led, to their service.
    pub keys: BTreeSet<ServiceKey>,
}

impl Forget {
    /// Is this entry to go?
    #[must_use]
    pub fn takes(&self, table: Table, tables: &dyn Tables, seed: Seed, key: &NatKey, entry: Entry) -> bool {
        let flow = Flow::from(key);
        self.names(flow, tables) || is_stray(table, tables, locate(tables, seed, flow).as_ref(), entry)
    }

    /// Of all keys that lead somewhere now or are named here, is the narrowest that the flow falls on named?
    fn names(&self, flow: Flow, tables: &dyn Tables) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        for free in 0..=16 {
            if self.keys.contains(&flow.at(free)) {
                return true;
            }
            if flow.is_served_at(free, tables) {
                return false;
            }
        }
        false
    }
}
