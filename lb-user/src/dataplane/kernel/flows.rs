//! The tables of flows: how many flows there are, and the end of those that are over.
//!
//! The program ends flows, here it is only asked to: it alone can do so without missing a packet that comes meanwhile
//! (`lb_common::nat`).

use std::io;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use lb_common::limits::SWEEP_KEYS;
use lb_common::nat::{self, NatKey, Phase, Ticks, Translation};
use nix::time::{ClockId, clock_gettime};

use super::adopt::{Outcome, Tables};
use super::batch::Batch;
use super::object::LoadError;
use crate::dataplane::ApplyError;
use crate::model::status::NatUsage;

/// `NAT` and `NAT_REPLY`.
pub(super) struct Flows {
    pub(super) flows: Table,
    pub(super) leases: Table,
    all_leases: Batch<NatKey, Translation>,
}

/// One of them.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) map: HashMap<MapData, NatKey, Translation>,
}

impl Table {
    /// What becomes of packets with this key.
    pub(super) fn get(&self, key: &NatKey) -> Result<Option<Translation>, ApplyError> {
        match self.map.get(key, 0) {
            Ok(translation) => Ok(Some(translation)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(refused(self.name, error)),
        }
    }
}

/// What a look at all leases has found.
pub(super) struct Seen {
    pub(super) usage: NatUsage,
    /// Leases that are over, in lists that are short enough for one run of the program's sweep.
    pub(super) over: Vec<Vec<u8>>,
}

impl Flows {
    pub(super) fn new(program: &mut Ebpf) -> Result<Self, LoadError> {
        let mut take = |name| match program.take_map(name) {
            Some(Map::HashMap(data)) => Ok(data),
            Some(_) => Err(LoadError::map(name, "it is not a hash")),
            None => Err(LoadError::map(name, "it is not there")),
        };
        let table = |name, data| {
            let map = HashMap::try_from(Map::HashMap(data)).map_err(|error| LoadError::map(name, error))?;
            Ok::<_, LoadError>(Table { name, map })
        };
        let leases = take("NAT_REPLY")?;
        Ok(Self {
            flows: table("NAT", take("NAT")?)?,
            all_leases: Batch::new(&leases).map_err(|error| LoadError::map("NAT_REPLY", error))?,
            leases: table("NAT_REPLY", leases)?,
        })
    }

    /// What becomes of packets with this key, with the stamp of its lease; `None` when the program would not go on with it.
    pub(super) fn known(&self, key: &NatKey) -> Result<Option<Translation>, ApplyError> {
        let Some(flow) = self.flows.get(key)? else {
            return Ok(None);
        };
        let lease = self.leases.get(&flow.other(key.protocol))?;
        let now = now().map_err(|error| refused("NAT_REPLY", error))?;
        let living = lease.filter(|lease| {
            let over = lease.stamp.is_over(key.protocol, lease.idle, now);
            lease.other(key.protocol) == *key && !lease.stamp.is_claimed() && !over
        });
        Ok(living.map(|lease| Translation {
            stamp: lease.stamp,
            ..flow
        }))
    }

    /// Shows every lease.
    pub(super) fn visit(&self, each: &mut dyn FnMut(&NatKey, &Translation)) -> Result<(), ApplyError> {
        let visited = self.all_leases.visit(|keys, leases| {
            keys.iter().zip(leases).for_each(|(key, lease)| each(key, lease));
            Ok::<_, io::Error>(())
        });
        visited.map_err(|error| refused("NAT_REPLY", error))
    }

    /// Takes in a flow of another node; false when there is no room.
    pub(super) fn adopt(
        &mut self,
        flow: &NatKey,
        entry: &Translation,
        lease: &Translation,
    ) -> Result<bool, ApplyError> {
        let mut tables = Tables {
            leases: &mut self.leases.map,
            flows: &mut self.flows.map,
        };
        let own = |_: &NatKey| Ok::<_, MapError>(Some(*entry));
        let adopted = tables.adopt(&entry.other(flow.protocol), lease, own, false);
        let adopted = adopted.map_err(|error| ApplyError::Kernel {
            verb: "write",
            map: "NAT",
            source: error.into(),
        })?;
        Ok(adopted != Outcome::NoRoom)
    }

    /// Looks at every lease.
    pub(super) fn look(&self) -> Result<Seen, ApplyError> {
        let now = now().map_err(|error| refused("NAT_REPLY", error))?;
        let mut seen = Seen {
            usage: NatUsage::default(),
            over: Vec::new(),
        };
        let mut list = Vec::new();
        self.visit(&mut |key, lease| {
            if lease.stamp.is_over(key.protocol, lease.idle, now) {
                list.push(*key);
            } else {
                count(&mut seen.usage, key, lease);
            }
        })?;
        seen.over = list.chunks(SWEEP_KEYS as usize).map(bytes).collect();
        Ok(seen)
    }
}

fn count(usage: &mut NatUsage, key: &NatKey, lease: &Translation) {
    let flows = usage.flows.entry(lease.member).or_default();
    *match lease.stamp.phase() {
        Phase::Opening => &mut flows.opening,
        Phase::Established => &mut flows.established,
        Phase::HalfClosed => &mut flows.half_closed,
        Phase::Closed => &mut flows.closed,
    } += 1;
    // Where the client's address is kept, answers go to it, and it is nobody's source.
    if key.destination == lease.destination {
        usage.clients = true;
    } else {
        usage.sources.insert(key.destination.to_ip());
    }
}

/// Keys as they lie in memory.
pub(super) fn bytes(keys: &[NatKey]) -> Vec<u8> {
    // SAFETY: a `NatKey` is a `Pod`: any of its bytes may be read.
    let bytes = unsafe { std::slice::from_raw_parts(keys.as_ptr().cast::<u8>(), size_of_val(keys)) };
    bytes.to_vec()
}

/// The program's clock.
pub(super) fn now() -> io::Result<Ticks> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let nanoseconds = now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned();
    Ok(nat::ticks(nanoseconds))
}

fn refused(map: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApplyError {
    ApplyError::Kernel {
        verb: "read",
        map,
        source: source.into(),
    }
}
