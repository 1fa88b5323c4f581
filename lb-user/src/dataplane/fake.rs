//! A data plane in plain memory, for tests: the layouts and the code of the real one, room for as much as a test says,
//! and faults where it says so.

use std::collections::{BTreeMap, HashMap};

use lb_common::backend::Member;
use lb_common::hash::Seed;
use lb_common::id::{MemberId, MemberIndex};
use lb_common::limits::{SERVICE_BUCKETS, SLOTS_PER_BLOCK};
use lb_common::nat::{NatKey, Ticks, Translation};
use lb_common::protect::{HEAD, Refusals};
use lb_common::protect::prefixes::Line;
use lb_common::ring::{RingBlock, Slot};
use lb_common::select::Tables;
use lb_common::service::{BucketV4, BucketV6, Decision};
use lb_common::slot::Entry;
use lb_common::stats::{Counters, DropReason, FlowEvent};
use lb_common::trace::Wanted;
use tokio::sync::mpsc;

use super::region::Region;
use super::tables::{Layout, Overflow, Services};
use super::{ApplyError, AttachError, Attachment, Dataplane, LoadError, SheetView, Shown, forget_all};
use crate::model::status::{AttachMode, NatUsage};
use crate::model::{Interface, XdpMode};
use crate::plan::{Forget, MapOp, Snapshot, Table};

/// A table of flows.
pub type Entries = HashMap<NatKey, Entry>;

/// How an operation fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// The kernel refuses it: EPERM.
    #[default]
    Refused,
    /// The map is full.
    Full,
}

/// See the module.
pub struct Fake {
    layout: Layout,
    /// Every operation that was asked for, those that failed included.
    pub log: Vec<MapOp>,
    /// Fails the operations whose number, counted from 0 over the fake's life, it says yes to.
    pub fault: Box<dyn FnMut(usize) -> bool + Send>,
    /// How they fail.
    pub kind: Fault,
    /// Reading back fails.
    pub unreadable: bool,
    /// Where the program is. Somebody else takes it off by taking it out of here.
    pub attached: Vec<Interface>,
    /// Interfaces, by name, refuse the program while it says yes to them.
    pub refuse: Box<dyn FnMut(&str) -> bool + Send>,
    counters: BTreeMap<MemberId, Counters>,
    /// What a sweep finds.
    pub usage: NatUsage,
    /// Flows that are translated.
    pub flows: HashMap<NatKey, Translation>,
    /// What the program hashes with.
    pub seed: Seed,
    /// `FLOWS`.
    pub known: Entries,
    /// `TRACKED`.
    pub tracked: Entries,
    /// Most entries of each of these two.
    pub room: u32,
    /// What happened to entries.
    pub events: BTreeMap<FlowEvent, u64>,
    /// What packets do to a table between a look at its entries and the end of some.
    pub meanwhile: Box<dyn FnMut(&mut Entries) + Send>,
    /// The time.
    pub now: Ticks,
    /// What is traced.
    pub wanted: Option<Wanted>,
    /// To where flows that are new are told.
    pub told: Option<mpsc::Sender<Vec<NatKey>>>,
    /// To where packets are shown.
    pub shown: Option<mpsc::Sender<Vec<Shown>>>,
    /// Sheets are refused.
    pub refuse_sheets: bool,
    /// What packets are judged by.
    pub sheet: Option<Vec<Line>>,
    /// What has been refused, by place.
    pub refusals: BTreeMap<u32, Refusals>,
}

impl Default for Fake {
    /// Service buckets as many as in the kernel; room for 4,096 ring blocks, 4,096 members, and 16 keys in each of the
    /// hashes behind the buckets.
    fn default() -> Self {
        let block = RingBlock {
            slots: [Slot::stable(MemberIndex::NONE); SLOTS_PER_BLOCK as usize],
        };
        Self {
            layout: Layout {
                services: Services {
                    v4: Region::heap(BucketV4::default(), SERVICE_BUCKETS),
                    v6: Region::heap(BucketV6::default(), SERVICE_BUCKETS),
                    overflow_v4: Box::new(Hash::new("OVERFLOW_V4", 16)),
                    overflow_v6: Box::new(Hash::new("OVERFLOW_V6", 16)),
                },
                ring: Region::heap(block, 1 << 12),
                backends: Region::heap(Member::default(), 1 << 12),
                features: Region::heap(0, 1),
                load: Region::heap(0, 1 << 12),
            },
            log: Vec::new(),
            fault: Box::new(|_| false),
            kind: Fault::default(),
            unreadable: false,
            attached: Vec::new(),
            refuse: Box::new(|_| false),
            counters: BTreeMap::new(),
            usage: NatUsage::default(),
            flows: HashMap::new(),
            seed: Seed([1, 2]),
            known: HashMap::new(),
            tracked: HashMap::new(),
            room: 1 << 18,
            events: BTreeMap::new(),
            meanwhile: Box::new(|_| ()),
            now: 1000,
            wanted: None,
            told: None,
            shown: None,
            refuse_sheets: false,
            sheet: None,
            refusals: BTreeMap::new(),
        }
    }
}

impl Fake {
    /// Notes an operation; it may be one that fails.
    fn step(&mut self, op: MapOp) -> Result<(), ApplyError> {
        let number = self.log.len();
        self.log.push(op);
        match self.kind {
            _ if !(self.fault)(number) => Ok(()),
            Fault::Full => Err(ApplyError::MapFull {
                map: "FAKE",
                capacity: 16,
            }),
            Fault::Refused => Err(refused("write", &format!("fault injected into operation {number}"))),
        }
    }

    /// Somebody else writes to the maps.
    ///
    /// # Errors
    /// As for the manager's own writes, but no fault is injected.
    pub fn meddle(&mut self, op: &MapOp) -> Result<(), ApplyError> {
        self.layout.apply(op)
    }

    fn table(&self, table: Table) -> &Entries {
        match table {
            Table::Flows => &self.known,
            Table::Tracked => &self.tracked,
        }
    }

    /// Sets what [`Dataplane::counters`] answers.
    pub fn count(&mut self, id: MemberId, counters: Counters) {
        self.counters.insert(id, counters);
    }
}

impl Dataplane for Fake {
    fn installed_beside(&self, known: &Snapshot) -> Result<Snapshot, ApplyError> {
        if self.unreadable {
            return Err(refused("read", "reading is a fault"));
        }
        self.layout.snapshot(known)
    }

    fn apply(&mut self, op: &MapOp) -> Result<(), ApplyError> {
        self.step(op.clone())?;
        match op {
            MapOp::ResetCounters(id) => {
                self.counters.remove(id);
                Ok(())
            }
            MapOp::Grace => Ok(()),
            MapOp::ForgetFlows(forget) => forget_all(self, self.seed, forget),
            written => self.layout.apply(written),
        }
    }

    fn attach(
        &mut self,
        interfaces: &[Interface],
        _: XdpMode,
    ) -> Result<Vec<Result<Attachment, AttachError>>, AttachError> {
        let before = std::mem::take(&mut self.attached);
        let attach = |interface: &Interface| {
            if (self.refuse)(&interface.name) {
                return Err(AttachError::Refused {
                    interface: interface.name.clone(),
                    mode: AttachMode::Native,
                    hint: "",
                    source: "it is busy".into(),
                });
            }
            self.attached.push(interface.clone());
            Ok(Attachment {
                mode: AttachMode::Native,
                fallback: None,
                is_new: !before.iter().any(|there| there.index == interface.index),
            })
        };
        Ok(interfaces.iter().map(attach).collect())
    }

    fn tables(&self) -> &dyn Tables {
        &self.layout
    }

    fn counters(&self, first: MemberId, count: u32) -> Result<Vec<Counters>, ApplyError> {
        let ids = (first.0..).map(MemberId).take(count as usize);
        Ok(ids
            .map(|id| self.counters.get(&id).copied().unwrap_or_default())
            .collect())
    }

    fn drops(&self) -> Result<Vec<(DropReason, u64)>, ApplyError> {
        Ok(DropReason::ALL.iter().map(|&reason| (reason, 0)).collect())
    }

    fn sweep(&mut self) -> Result<NatUsage, ApplyError> {
        Ok(self.usage.clone())
    }

    fn flow(&self, key: &NatKey) -> Result<Option<Translation>, ApplyError> {
        Ok(self.flows.get(key).copied())
    }

    fn entries(&self, table: Table, each: &mut dyn FnMut(&NatKey, Entry)) -> Result<(), ApplyError> {
        self.table(table).iter().for_each(|(key, &entry)| each(key, entry));
        Ok(())
    }

    fn entry(&self, table: Table, key: &NatKey) -> Result<Option<Entry>, ApplyError> {
        Ok(self.table(table).get(key).copied())
    }

    /// Counts as an operation when there is something to remove.
    fn forget(
        &mut self,
        table: Table,
        entries: &[(NatKey, Entry)],
        judged: u64,
    ) -> Result<Vec<(NatKey, Entry)>, ApplyError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.step(MapOp::ForgetFlows(Forget::default()))?;
        let known = match table {
            Table::Flows => &mut self.known,
            Table::Tracked => &mut self.tracked,
        };
        (self.meanwhile)(known);
        let mut left = Vec::new();
        for &(key, entry) in entries {
            match known.get(&key) {
                Some(now) if now.is_claimed() || (now.word ^ entry.word) & judged != 0 => left.push((key, entry)),
                _ => drop(known.remove(&key)),
            }
        }
        Ok(left)
    }

    fn capacity(&self, _: Table) -> u32 {
        self.room
    }

    fn flow_events(&self, event: FlowEvent) -> Result<u64, ApplyError> {
        Ok(self.events.get(&event).copied().unwrap_or(0))
    }

    fn protect(&mut self, sheet: Option<&[Line]>) -> Result<(), ApplyError> {
        if self.refuse_sheets {
            return Err(refused("write", "sheets are refused"));
        }
        self.sheet = sheet.map(<[Line]>::to_vec);
        Ok(())
    }

    fn protection(&self) -> Option<SheetView<'_>> {
        let (head, rest) = self.sheet.as_deref()?.split_at_checked(HEAD as usize).unwrap_or((self.sheet.as_deref()?, &[]));
        Some(SheetView { head, rest })
    }

    fn is_protected(&self) -> bool {
        self.sheet.is_some()
    }

    fn refusals(&self, first: u32, count: u32) -> Result<Vec<Refusals>, ApplyError> {
        let places = (first..).take(count as usize);
        Ok(places
            .map(|place| self.refusals.get(&place).copied().unwrap_or_default())
            .collect())
    }

    fn trace(&mut self, wanted: Option<&Wanted>) -> Result<(), LoadError> {
        self.wanted = wanted.copied();
        Ok(())
    }

    fn samples(&mut self) -> Result<mpsc::Receiver<Vec<Shown>>, LoadError> {
        let (sender, receiver) = mpsc::channel(16);
        self.shown = Some(sender);
        Ok(receiver)
    }

    fn news(&mut self) -> Result<mpsc::Receiver<Vec<NatKey>>, LoadError> {
        let (sender, receiver) = mpsc::channel(16);
        self.told = Some(sender);
        Ok(receiver)
    }

    fn leases(&self, each: &mut dyn FnMut(&NatKey, &Translation)) -> Result<(), ApplyError> {
        for (key, flow) in &self.flows {
            let lease = key.reversed();
            let translation = Translation {
                source: lease.source,
                destination: lease.destination,
                ports: lease.ports,
                ..*flow
            };
            each(&flow.other(key.protocol), &translation);
        }
        Ok(())
    }

    fn adopt_flow(&mut self, flow: &NatKey, entry: &Translation, _: &Translation) -> Result<bool, ApplyError> {
        if self.flows.len() >= self.room as usize && !self.flows.contains_key(flow) {
            return Ok(false);
        }
        self.flows.insert(*flow, *entry);
        Ok(true)
    }

    fn put_entry(&mut self, table: Table, key: &NatKey, entry: Entry, again: bool) -> Result<bool, ApplyError> {
        if self.table(table).contains_key(key) != again {
            return Ok(true);
        }
        if self.table(table).len() >= self.room as usize && !again {
            return Ok(false);
        }
        match table {
            Table::Flows => self.known.insert(*key, entry),
            Table::Tracked => self.tracked.insert(*key, entry),
        };
        Ok(true)
    }

    fn load(&self, id: MemberId) -> u64 {
        self.layout.load(id)
    }

    fn set_load(&mut self, id: MemberId, flows: u64) -> Result<(), ApplyError> {
        self.layout.set_load(id, flows)
    }

    fn now(&self) -> Result<Ticks, ApplyError> {
        Ok(self.now)
    }
}

/// EPERM, as the kernel says it.
fn refused(verb: &'static str, why: &str) -> ApplyError {
    ApplyError::Kernel {
        verb,
        map: "FAKE",
        source: format!("operation not permitted ({why})").into(),
    }
}

/// A hash map of limited capacity.
struct Hash<K> {
    name: &'static str,
    capacity: u32,
    entries: BTreeMap<K, Decision>,
}

impl<K> Hash<K> {
    fn new(name: &'static str, capacity: u32) -> Self {
        Self {
            name,
            capacity,
            entries: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy + Send> Overflow<K> for Hash<K> {
    fn get(&self, key: &K) -> Decision {
        self.entries.get(key).copied().unwrap_or_default()
    }

    fn all(&self) -> Result<Vec<(K, Decision)>, ApplyError> {
        Ok(self.entries.iter().map(|(&key, &decision)| (key, decision)).collect())
    }

    fn put(&mut self, key: K, decision: Decision) -> Result<(), ApplyError> {
        if self.entries.len() >= self.capacity as usize && !self.entries.contains_key(&key) {
            return Err(ApplyError::MapFull {
                map: self.name,
                capacity: self.capacity,
            });
        }
        self.entries.insert(key, decision);
        Ok(())
    }

    fn delete(&mut self, key: &K) -> Result<(), ApplyError> {
        self.entries.remove(key);
        Ok(())
    }
}
