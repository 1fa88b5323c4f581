//! `FLOWS` and `TRACKED`: what is known of flows that are not translated, and what has happened to their entries.
//!
//! The program writes entries, the manager removes them: one that goes is read by nobody any more, or has been silent for
//! longer than is promised when that is judged, so a packet that comes between the look and the end comes too late.

use std::io;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use lb_common::nat::NatKey;
use lb_common::slot::Entry;
use lb_common::stats::FlowEvent;
use nix::libc;

use super::batch::Batch;
use super::maps::errno;
use super::object::LoadError;
use crate::dataplane::ApplyError;
use crate::plan::Table;

/// Both tables.
pub(super) struct Known {
    flows: Entries,
    tracked: Entries,
    events: PerCpuArray<MapData, u64>,
}

/// One of them.
pub(super) struct Entries {
    name: &'static str,
    pub(super) map: HashMap<MapData, NatKey, Entry>,
    all: Batch<NatKey, Entry>,
    pub(super) capacity: u32,
}

impl Known {
    pub(super) fn new(program: &mut Ebpf) -> Result<Self, LoadError> {
        let mut take = |name| {
            program
                .take_map(name)
                .ok_or_else(|| LoadError::map(name, "it is not there"))
        };
        let mut entries = |table: Table| {
            let name = table.name();
            let Map::HashMap(data) = take(name)? else {
                return Err(LoadError::map(name, "it is not a hash"));
            };
            let capacity = data.info().map_err(|error| LoadError::map(name, error))?.max_entries();
            Ok(Entries {
                name,
                all: Batch::new(&data).map_err(|error| LoadError::map(name, error))?,
                map: HashMap::try_from(Map::HashMap(data)).map_err(|error| LoadError::map(name, error))?,
                capacity,
            })
        };
        let (flows, tracked) = (entries(Table::Flows)?, entries(Table::Tracked)?);
        let events = PerCpuArray::try_from(take("FLOW_EVENTS")?);
        Ok(Self {
            flows,
            tracked,
            events: events.map_err(|error| LoadError::map("FLOW_EVENTS", error))?,
        })
    }

    pub(super) fn table(&self, table: Table) -> &Entries {
        match table {
            Table::Flows => &self.flows,
            Table::Tracked => &self.tracked,
        }
    }

    pub(super) fn table_mut(&mut self, table: Table) -> &mut Entries {
        match table {
            Table::Flows => &mut self.flows,
            Table::Tracked => &mut self.tracked,
        }
    }

    /// How often that has happened.
    pub(super) fn events(&self, event: FlowEvent) -> Result<u64, ApplyError> {
        let values = self.events.get(&(event as u32), 0);
        let values = values.map_err(|error| refused("read", "FLOW_EVENTS", error))?;
        Ok(values.iter().sum())
    }
}

impl Entries {
    pub(super) fn get(&self, key: &NatKey) -> Result<Option<Entry>, ApplyError> {
        match self.map.get(key, 0) {
            Ok(entry) => Ok(Some(entry)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(refused("read", self.name, error)),
        }
    }

    /// Shows every entry.
    pub(super) fn visit(&self, each: &mut dyn FnMut(&NatKey, Entry)) -> Result<(), ApplyError> {
        let visited = self.all.visit(|keys, entries| {
            keys.iter().zip(entries).for_each(|(key, &entry)| each(key, entry));
            Ok::<_, io::Error>(())
        });
        visited.map_err(|error| refused("read", self.name, error))
    }

    pub(super) fn remove(&mut self, keys: &[NatKey]) -> Result<(), ApplyError> {
        for key in keys {
            match self.map.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) if errno(&error) == Some(libc::ENOENT) => {}
                Err(error) => return Err(refused("write", self.name, error)),
            }
        }
        Ok(())
    }
}

fn refused(
    verb: &'static str,
    map: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ApplyError {
    ApplyError::Kernel {
        verb,
        map,
        source: source.into(),
    }
}
