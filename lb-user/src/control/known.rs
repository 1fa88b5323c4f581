//! What is known of flows in `dsr` and `tunnel`: windows are closed, entries that say nothing any more are removed, and the
//! rest is counted.
//!
//! The order, for which a crash at any point leaves nothing wrong behind: slots become settled; grace; entries that agree
//! with their slot go, like strays and those that are over; slots of which nothing is known become stable; grace. Whoever
//! comes after a crash finds slots settled that could be stable, which the next sweep sees to.
//!
//! An entry of which a packet is heard between the look and the end stays: it is not what was judged.

use std::collections::{BTreeMap, HashMap, HashSet};

use lb_common::hash::Seed;
use lb_common::id::MemberId;
use lb_common::nat::{NatKey, Ticks, at_least};
use lb_common::ring::State;
use lb_common::slot::Entry;
use lb_common::stats::FlowEvent;
use tokio::time::Instant;

use super::carried::Carried;
use super::windows::{Changes, Windows};
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::Mode;
use crate::model::status::{FlowTable, FlowTables, NatUsage};
use crate::plan::entries::{Belongs, Flow, is_stray, locate};
use crate::plan::{MapOp, Snapshot, Table};

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    windows: Windows,
    /// Entries by member, as the last sweep found them.
    by_member: BTreeMap<MemberId, u32>,
    /// Entries of each table, as the last sweep found them; none before the first one.
    left: BTreeMap<Table, u32>,
}

/// What a look at a table has found.
#[derive(Default)]
struct Look {
    gone: Vec<(NatKey, Entry)>,
    left: u32,
    by_member: BTreeMap<MemberId, u32>,
    /// Those among them that no side has ended.
    living: BTreeMap<MemberId, u64>,
    /// Slots of which something is known: first block of the ring, number of the slot.
    slots: HashSet<(u32, u32)>,
}

/// What entries are judged by.
struct Rules {
    seed: Seed,
    now: Ticks,
    /// By first block of the ring.
    idle: HashMap<u32, Ticks>,
}

impl Known {
    /// Nothing yet, to a manager that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            windows: Windows::new(now),
            by_member: BTreeMap::new(),
            left: BTreeMap::new(),
        }
    }

    /// This has been carried out.
    pub(super) fn observe(&mut self, installed: &Snapshot, carried: &Carried, now: Instant) {
        let rings = carried.services().filter_map(|(decision, service)| {
            let ring = installed.rings.get(&decision.ring_block())?;
            Some((decision.ring_block(), &ring.slots, service.idle_timeout))
        });
        self.windows.observe(rings, now);
    }

    /// When a window may close.
    pub(super) fn next(&self) -> Option<Instant> {
        self.windows.next()
    }

    /// How many entries a member has.
    pub(super) fn of(&self, member: MemberId) -> u32 {
        self.by_member.get(&member).copied().unwrap_or(0)
    }

    /// What the node's tables hold, and what has happened to them.
    pub(super) fn tables(&self, dataplane: &impl Dataplane) -> Result<FlowTables, ApplyError> {
        let table = |table, written, no_room| {
            Ok(FlowTable {
                entries: self.left.get(&table).copied().unwrap_or(0),
                capacity: dataplane.capacity(table),
                written: dataplane.flow_events(written)?,
                no_room: dataplane.flow_events(no_room)?,
            })
        };
        Ok(FlowTables {
            flows: table(Table::Flows, FlowEvent::Written, FlowEvent::NoRoom)?,
            tracked: table(Table::Tracked, FlowEvent::TrackedWritten, FlowEvent::TrackedNoRoom)?,
        })
    }

    /// Does all that the module says. `installed` is what the last plan has left, whole, and follows.
    pub(super) fn tidy<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        seed: Seed,
        installed: &mut Snapshot,
        carried: &Carried,
        nat: &NatUsage,
        now: Instant,
    ) -> Result<(), ApplyError> {
        let rules = Rules {
            seed,
            now: dataplane.now()?,
            idle: carried
                .services()
                .map(|(decision, service)| {
                    let idle = u64::try_from(service.idle_timeout.as_nanos()).unwrap_or(u64::MAX);
                    (decision.ring_block(), at_least(idle))
                })
                .collect(),
        };
        self.windows
            .count_no_room(dataplane.flow_events(FlowEvent::NoRoom)?, now);
        self.observe(installed, carried, now);
        let flows = self.tidy_flows(dataplane, &rules, installed, carried, now)?;
        let tracked = self.tidy_tracked(dataplane, &rules, carried)?;
        set_loads(dataplane, carried, &tracked.living, nat)?;
        self.by_member = flows.by_member;
        for (member, entries) in tracked.by_member {
            *self.by_member.entry(member).or_default() += entries;
        }
        Ok(())
    }

    fn tidy_flows<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        rules: &Rules,
        installed: &mut Snapshot,
        carried: &Carried,
        now: Instant,
    ) -> Result<Look, ApplyError> {
        // Of stable slots nothing is known.
        if !self.windows.is_any_open() && self.left.get(&Table::Flows) == Some(&0) {
            return Ok(Look::default());
        }
        let mut look = rules.sweep(dataplane, Table::Flows)?;
        self.left.insert(Table::Flows, look.left);
        let over = self.windows.over(now);
        if !over.is_empty() && !is_in_need(look.left, dataplane.capacity(Table::Flows)) {
            let slots: usize = over.values().map(Vec::len).sum();
            tracing::debug!(slots, "windows are over");
            change(dataplane, installed, over)?;
            self.observe(installed, carried, now);
            look = rules.sweep(dataplane, Table::Flows)?;
            self.left.insert(Table::Flows, look.left);
        }
        let quiet = self.windows.stable(|block, slot| look.slots.contains(&(block, slot)));
        if !quiet.is_empty() {
            change(dataplane, installed, quiet)?;
            self.observe(installed, carried, now);
        }
        Ok(look)
    }

    fn tidy_tracked<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        rules: &Rules,
        carried: &Carried,
    ) -> Result<Look, ApplyError> {
        let is_any = carried
            .services()
            .any(|(decision, _)| Table::of(decision) == Some(Table::Tracked));
        if !is_any && self.left.get(&Table::Tracked) == Some(&0) {
            return Ok(Look::default());
        }
        let look = rules.sweep(dataplane, Table::Tracked)?;
        self.left.insert(Table::Tracked, look.left);
        Ok(look)
    }
}

/// More than three quarters full?
fn is_in_need(entries: u32, capacity: u32) -> bool {
    u64::from(entries) * 4 > u64::from(capacity) * 3
}

/// Changes slots, and waits until nobody acts on what they were.
fn change(
    dataplane: &mut impl Dataplane,
    installed: &mut Snapshot,
    changes: BTreeMap<u32, Changes>,
) -> Result<(), ApplyError> {
    for (block, slots) in changes {
        if let Some(ring) = installed.rings.get_mut(&block) {
            let mut changed = ring.slots.to_vec();
            for &(i, slot) in &slots {
                changed[i as usize] = slot;
            }
            ring.slots = changed.into();
        }
        dataplane.apply(&MapOp::PutSlots { block, slots })?;
    }
    dataplane.apply(&MapOp::Grace)
}

impl Rules {
    /// Removes the entries that say nothing any more, and looks at the others. When they are too many, more go.
    fn sweep(&self, dataplane: &mut impl Dataplane, table: Table) -> Result<Look, ApplyError> {
        let look = self.sweep_once(dataplane, table, false)?;
        if !is_in_need(look.left, dataplane.capacity(table)) {
            return Ok(look);
        }
        self.sweep_once(dataplane, table, true)
    }

    fn sweep_once(&self, dataplane: &mut impl Dataplane, table: Table, in_need: bool) -> Result<Look, ApplyError> {
        let mut look = Look::default();
        dataplane.entries(table, &mut |key, entry| {
            let belongs = locate(dataplane.tables(), self.seed, Flow::from(key));
            let Some(belongs) = belongs.filter(|b| !is_stray(table, dataplane.tables(), Some(b), entry)) else {
                look.gone.push((*key, entry));
                return;
            };
            let block = belongs.service.ring_block();
            let idle = self.idle.get(&block).copied().unwrap_or(Ticks::MAX);
            let state = belongs.slot.state();
            let moves = table == Table::Flows && matches!(state, State::Moving(_));
            let agrees = table == Table::Flows && state == State::Settled && belongs.slot.current() == entry.member();
            if agrees || entry.is_over(idle, !moves, in_need, self.now) {
                look.gone.push((*key, entry));
                return;
            }
            look.stays(&belongs, entry);
        })?;
        if !look.gone.is_empty() {
            for (key, entry) in dataplane.forget(table, &look.gone, Entry::WHOLE)? {
                if let Some(belongs) = locate(dataplane.tables(), self.seed, Flow::from(&key)) {
                    look.stays(&belongs, entry);
                }
            }
            // A packet may have seen one of them, and act on it after whatever is done next.
            dataplane.apply(&MapOp::Grace)?;
        }
        Ok(look)
    }
}

impl Look {
    /// This entry stays where it is.
    fn stays(&mut self, belongs: &Belongs, entry: Entry) {
        let member = belongs.service.member(entry.member());
        self.left += 1;
        *self.by_member.entry(member).or_default() += 1;
        if !entry.is_closing() {
            *self.living.entry(member).or_default() += 1;
        }
        self.slots.insert((belongs.service.ring_block(), belongs.index));
    }
}

/// Tells the program how many flows each member serves, where load decides. It counts by itself too, and may be off.
fn set_loads(
    dataplane: &mut impl Dataplane,
    carried: &Carried,
    living: &BTreeMap<MemberId, u64>,
    nat: &NatUsage,
) -> Result<(), ApplyError> {
    for (decision, service, ids) in carried.placed() {
        if decision.choice().is_hash() {
            continue;
        }
        for &id in ids.values() {
            let flows = if service.mode == Mode::Nat {
                nat.flows.get(&id).map_or(0, |flows| u64::from(flows.open()))
            } else {
                living.get(&id).copied().unwrap_or(0)
            };
            if dataplane.load(id) != flows {
                dataplane.set_load(id, flows)?;
            }
        }
    }
    Ok(())
}
