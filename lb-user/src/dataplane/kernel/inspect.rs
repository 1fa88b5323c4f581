//! The tables of flows, entry by entry, and what else only tests need: they look at what the program has written, and put
//! there what would take hours to come about.

use aya::maps::MapError;
use aya::programs::{ProgramFd, ProgramInfo};
use lb_common::hash::Seed;
use lb_common::id::MemberId;
use lb_common::layout;
use lb_common::limits::SLOTS_PER_BLOCK;
use lb_common::nat::{NatKey, Translation};
use lb_common::ring::Slot;
use lb_common::slot::Entry;

use super::flows::{self, Table};
use super::object::LoadError;
use super::{ApplyError, Kernel, Table as Written};

impl Table {
    fn refused(&self, verb: &'static str, error: MapError) -> ApplyError {
        ApplyError::Kernel {
            verb,
            map: self.name,
            source: Box::new(error),
        }
    }

    fn all(&self) -> Result<Vec<(NatKey, Translation)>, ApplyError> {
        let all: Result<_, _> = self.map.iter().collect();
        all.map_err(|error| self.refused("read", error))
    }

    fn put(&mut self, key: &NatKey, translation: Option<&Translation>) -> Result<(), ApplyError> {
        let put = match translation {
            Some(translation) => self.map.insert(key, translation, 0),
            None => self.map.remove(key),
        };
        put.map_err(|error| self.refused("write", error))
    }
}

#[doc(hidden)]
impl Kernel {
    /// As [`Self::private`], with tables of `flow_table` flows.
    pub fn private_with(seed: Seed, flow_table: u32) -> Result<Self, LoadError> {
        Self::load(seed, &layout::maps(flow_table), None, None)
    }

    /// What becomes of a client's packets with this key, as the entry has it.
    pub fn entry(&self, key: &NatKey) -> Result<Option<Translation>, ApplyError> {
        self.flows.flows.get(key)
    }

    /// What becomes of a backend's packets with this key.
    pub fn lease(&self, key: &NatKey) -> Result<Option<Translation>, ApplyError> {
        self.flows.leases.get(key)
    }

    /// Every flow.
    pub fn all_flows(&self) -> Result<Vec<(NatKey, Translation)>, ApplyError> {
        self.flows.flows.all()
    }

    /// Every lease.
    pub fn all_leases(&self) -> Result<Vec<(NatKey, Translation)>, ApplyError> {
        self.flows.leases.all()
    }

    /// Writes a flow's entry, or removes it.
    pub fn put_flow(&mut self, key: &NatKey, translation: Option<&Translation>) -> Result<(), ApplyError> {
        self.flows.flows.put(key, translation)
    }

    /// Writes a lease, or removes it.
    pub fn put_lease(&mut self, key: &NatKey, translation: Option<&Translation>) -> Result<(), ApplyError> {
        self.flows.leases.put(key, translation)
    }

    /// Has the program drop packets of TCP flows that it does not know, or no longer.
    pub fn hold(&mut self, held: bool) {
        self.layout.hold(if held { u32::MAX / 4 } else { 0 });
    }

    /// Runs the sweep on these keys: how many it has ended.
    pub fn run_sweep(&mut self, keys: &[NatKey]) -> Result<u32, LoadError> {
        self.end(&flows::bytes(keys))
    }
}

#[doc(hidden)]
impl Kernel {
    /// What is known of a flow.
    pub fn known(&self, table: Written, key: &NatKey) -> Result<Option<Entry>, ApplyError> {
        self.known.table(table).get(key)
    }

    /// Every flow that is known.
    pub fn all_known(&self, table: Written) -> Result<Vec<(NatKey, Entry)>, ApplyError> {
        let mut all = Vec::new();
        self.known
            .table(table)
            .visit(&mut |key, entry| all.push((*key, entry)))?;
        Ok(all)
    }

    /// Writes what is known of a flow, or removes it.
    pub fn put_known(&mut self, table: Written, key: &NatKey, entry: Option<&Entry>) -> Result<(), LoadError> {
        let map = &mut self.known.table_mut(table).map;
        let put = match entry {
            Some(entry) => map.insert(key, entry, 0),
            None => map.remove(key),
        };
        put.map_err(|error| LoadError::map(table.name(), error))
    }

    /// The element of `LOAD`: living flows of a member, or whose turn it is.
    pub fn load_of(&self, id: MemberId) -> u64 {
        self.layout.load.get(id.0).copied().unwrap_or_default()
    }

    /// Stores a slot of the ring that begins at `block`.
    pub fn put_slot(&mut self, block: u32, slot: u32, value: Slot) {
        let block = self.layout.ring.get_mut(block + slot / SLOTS_PER_BLOCK);
        block.expect("a block").slots[(slot % SLOTS_PER_BLOCK) as usize] = value;
    }
}

/// A program that the kernel has taken.
#[doc(hidden)]
pub struct Loaded {
    /// Its entry point.
    pub name: String,
    /// To run it, or to call it from another.
    pub fd: ProgramFd,
    /// What the kernel says of it.
    pub info: ProgramInfo,
}

#[doc(hidden)]
impl Kernel {
    /// Every program of the object that is loaded.
    pub fn loaded(&self) -> Result<Vec<Loaded>, LoadError> {
        let mut loaded = Vec::new();
        for (name, program) in self.program.programs() {
            let Ok(fd) = program.fd() else {
                continue;
            };
            let fd = fd
                .try_clone()
                .map_err(|error| LoadError::program("use")(error.into()))?;
            loaded.push(Loaded {
                name: name.to_owned(),
                fd,
                info: program.info().map_err(LoadError::program("use"))?,
            });
        }
        Ok(loaded)
    }
}
