//! `FLOWS` and `TRACKED`: what is known of flows that are not translated, and what has happened to their entries.
//!
//! The program writes entries, and removes those that the manager lists: it alone can do so without missing a packet that
//! comes meanwhile (`lb_common::removal`).

use std::io;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use lb_common::nat::NatKey;
use lb_common::removal::{Removal, Removals};
use lb_common::slot::Entry;
use lb_common::stats::FlowEvent;

use super::adopt::{NEW, Put, THERE, put};
use super::batch::Batch;
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

    /// Writes an entry where there is none, or `again` where there is one; false when there is no room.
    pub(super) fn put(&mut self, key: &NatKey, entry: Entry, again: bool) -> Result<bool, ApplyError> {
        match put(&mut self.map, key, &entry, if again { THERE } else { NEW }) {
            Ok(put) => Ok(!matches!(put, Put::NoRoom)),
            Err(error) => Err(refused("write", self.name, error)),
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
}

/// What the program is to be told of these entries, as many as fit.
pub(super) fn removals(table: Table, entries: &[(NatKey, Entry)], judged: u64) -> Removals {
    let mut list = Removals {
        table: match table {
            Table::Flows => 0,
            Table::Tracked => 1,
        },
        judged,
        ..Removals::default()
    };
    for (item, &(key, entry)) in list.list.iter_mut().zip(entries) {
        *item = Removal { key, word: entry.word };
    }
    list
}

/// As they lie in memory.
pub(super) fn bytes(list: &Removals) -> &[u8] {
    // SAFETY: a `Pod`: any of its bytes may be read.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(list).cast(), size_of::<Removals>()) }
}

/// The same, to be written: they may become any others.
pub(super) fn bytes_mut(list: &mut Removals) -> &mut [u8] {
    // SAFETY: a `Pod`: any bytes are one.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(list).cast(), size_of::<Removals>()) }
}

pub(super) fn refused(
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
