//! Entries of `FLOWS` and `TRACKED` that go from one table to another, while programs write to one of them.
//!
//! Until the new program is attached the old table is right, and the new one follows. Then what is new in the old one is
//! added, and where both know a flow the new one keeps what it has.

use std::path::Path;

use aya::maps::{Map, MapData};
use lb_common::nat::{NatKey, Ticks};
use lb_common::slot::Entry;

use super::super::adopt::{NEW, Put, Table, put};
use super::super::batch::Batch;
use super::super::flows::now;
use super::Failure;

/// Entries of one table, on their way to another.
pub(super) struct Known {
    from: Batch<NatKey, Entry>,
    to: Table<Entry>,
    /// When they were looked through last.
    since: Option<Ticks>,
    /// How many found no room there.
    pub(super) lost: usize,
}

impl Known {
    /// From the table `name` in the folder `from` to that in `to`.
    pub(super) fn new(from: &Path, to: &Path, name: &'static str) -> Result<Self, Failure> {
        let to = Map::from_map_data(MapData::from_pin(to.join(name))?)?;
        Ok(Self {
            from: Batch::new(&MapData::from_pin(from.join(name))?)?,
            to: Table::try_from(to)?,
            since: None,
            lost: 0,
        })
    }

    /// Carries what has come or changed since the last time.
    pub(super) fn copy(&mut self, attached: bool) -> Result<(), Failure> {
        let now = now()?;
        let since = self.since.replace(now);
        let mut lost = 0;
        self.from.visit(|keys, entries| {
            for (key, entry) in keys.iter().zip(entries) {
                // Whatever is heard of a flow changes when that was; one tick more, as the clock was read before.
                let news = since.is_none_or(|since| entry.age(now) <= now.wrapping_sub(since) + 1);
                if news && let Put::NoRoom = put(&mut self.to, key, entry, if attached { NEW } else { 0 })? {
                    lost += 1;
                }
            }
            Ok::<_, Failure>(())
        })?;
        self.lost = self.lost.max(lost);
        Ok(())
    }
}
