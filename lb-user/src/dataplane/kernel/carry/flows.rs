//! Flows that go from one pair of tables to another, while programs work on one of them. What nobody would miss (over, or
//! being ended) stays where it is.
//!
//! Until the new program is attached, the old tables are right and the new ones follow. From then on the old ones stand
//! still: what is new in them is added.

use std::path::Path;

use aya::maps::{Map, MapData};
use lb_common::nat::{NatKey, Ticks, Translation};

use super::super::adopt::{Outcome, Table, Tables, get};
use super::super::batch::Batch;
use super::super::flows::now;
use super::Failure;

/// Flows of one pair of tables, on their way to another.
pub(super) struct Flows {
    leases: Batch<NatKey, Translation>,
    from: Table,
    to: (Table, Table),
    /// When they were looked through last.
    since: Option<Ticks>,
    /// How many are in the new tables by this.
    pub(super) carried: usize,
    /// How many found no room there.
    pub(super) lost: usize,
}

impl Flows {
    /// From the tables in the folder `from` to those in `to`.
    pub(super) fn new(from: &Path, to: &Path) -> Result<Self, Failure> {
        Ok(Self {
            leases: Batch::new(&MapData::from_pin(from.join("NAT_REPLY"))?)?,
            from: table(from, "NAT")?,
            to: (table(to, "NAT_REPLY")?, table(to, "NAT")?),
            since: None,
            carried: 0,
            lost: 0,
        })
    }

    /// Carries what has come or changed since the last time. The new tables' word counts when their program is `attached`.
    pub(super) fn copy(&mut self, attached: bool) -> Result<(), Failure> {
        let now = now()?;
        let since = self.since.replace(now);
        let mut lost = 0;
        let from = &self.from;
        let mut to = Tables {
            leases: &mut self.to.0,
            flows: &mut self.to.1,
        };
        self.leases.visit(|keys, leases| {
            for (key, lease) in keys.iter().zip(leases) {
                // Whatever changes a flow changes its stamp; one tick more, as it may have ended since the clock was read.
                let news = since.is_none_or(|since| lease.stamp.age(now) <= now.wrapping_sub(since) + 1);
                let lives = !lease.stamp.is_claimed() && !lease.stamp.is_over(key.protocol, lease.idle, now);
                if news && lives {
                    let flow = |key: &NatKey| Ok::<_, Failure>(get(from, key)?);
                    match to.adopt(key, lease, flow, !attached)? {
                        Outcome::Kept => {}
                        Outcome::Taken => self.carried += 1,
                        Outcome::NoRoom => lost += 1,
                    }
                }
            }
            Ok::<_, Failure>(())
        })?;
        self.lost = self.lost.max(lost);
        Ok(())
    }
}

fn table(folder: &Path, name: &'static str) -> Result<Table, Failure> {
    let map = Map::from_map_data(MapData::from_pin(folder.join(name))?)?;
    Ok(Table::try_from(map)?)
}
