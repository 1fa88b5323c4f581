//! The data plane: what the reconciler writes to, and reads back.
//!
//! One trait, two implementations: [`kernel`] with the running program's maps, and [`fake`] with the same layouts in
//! plain memory, limited capacities and injected faults. Both share [`tables`], which knows how buckets, rings and
//! members are laid out and in which order words are stored.

pub mod error;
pub mod fake;
pub mod kernel;
mod region;
mod tables;

use std::time::SystemTime;

use lb_common::hash::Seed;
use lb_common::id::MemberId;
use lb_common::nat::{NatKey, Ticks, Translation};
use lb_common::protect::prefixes::{Line, Lines};
use lb_common::protect::{HEAD, Refusals};
use lb_common::select::Tables;
use lb_common::slot::Entry;
use lb_common::stats::{Counters, DropReason, FlowEvent};
use lb_common::trace::{Sample, Wanted};
use tokio::sync::mpsc;

pub use error::ApplyError;
pub use kernel::{AttachError, Attachment, LoadError};

use crate::model::status::NatUsage;
use crate::model::{Interface, XdpMode};
use crate::plan::{Forget, MapOp, Snapshot, Table};

/// The maps of one program. One owner at a time writes them.
pub trait Dataplane: Send {
    /// Reads everything back.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn installed(&self) -> Result<Snapshot, ApplyError> {
        self.installed_beside(&Snapshot::default())
    }

    /// The same beside what is `known`: a ring that is as it says is its, and not a copy. Rings are most of what maps hold.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn installed_beside(&self, known: &Snapshot) -> Result<Snapshot, ApplyError>;

    /// Performs one operation. After an error nothing or a part of it has been done; doing it again is harmless.
    ///
    /// # Errors
    /// When a map is full or the kernel refuses a write.
    fn apply(&mut self, op: &MapOp) -> Result<(), ApplyError>;

    /// Puts the program on `interfaces`, all of them in one mode, and takes it off all others. Where it is already it
    /// stays, and no packet passes it by meanwhile. Says of each what came of it: one that refuses stops no other.
    ///
    /// # Errors
    /// When nothing can be attached anywhere.
    fn attach(
        &mut self,
        interfaces: &[Interface],
        mode: XdpMode,
    ) -> Result<Vec<Result<Attachment, AttachError>>, AttachError>;

    /// The maps as the program sees them.
    fn tables(&self) -> &dyn Tables;

    /// Counters of `count` members from `first` on, summed over CPUs.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn counters(&self, first: MemberId, count: u32) -> Result<Vec<Counters>, ApplyError>;

    /// Drops by reason, summed over CPUs; every reason.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn drops(&self) -> Result<Vec<(DropReason, u64)>, ApplyError>;

    /// Ends the flows that are over, and counts those that are not, by member.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn sweep(&mut self) -> Result<NatUsage, ApplyError>;

    /// What becomes of packets of a flow that is translated, as its client sends them; `None` for one that is not known, or
    /// is over. The stamp is the lease's.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn flow(&self, key: &NatKey) -> Result<Option<Translation>, ApplyError>;

    /// Shows every entry of a table to `each`. One that comes or goes meanwhile may be seen or not.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn entries(&self, table: Table, each: &mut dyn FnMut(&NatKey, Entry)) -> Result<(), ApplyError>;

    /// An entry of a table.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn entry(&self, table: Table, key: &NatKey) -> Result<Option<Entry>, ApplyError>;

    /// Removes entries of a table whose words are still, in the bits `judged`, as they are here; one that is not there is
    /// fine. Returns those that stay: they have changed since, or somebody else is about to remove or to replace them.
    ///
    /// # Errors
    /// When the kernel refuses. Then some of them have been removed.
    fn forget(
        &mut self,
        table: Table,
        entries: &[(NatKey, Entry)],
        judged: u64,
    ) -> Result<Vec<(NatKey, Entry)>, ApplyError>;

    /// Most entries that a table can have.
    fn capacity(&self, table: Table) -> u32;

    /// How often that has happened, since the maps were made.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn flow_events(&self, event: FlowEvent) -> Result<u64, ApplyError>;

    /// How many flows a member serves, as the program counts them where load decides.
    fn load(&self, id: MemberId) -> u64;

    /// Says how many they are.
    ///
    /// # Errors
    /// When there is no such member.
    fn set_load(&mut self, id: MemberId, flows: u64) -> Result<(), ApplyError>;

    /// Has packets judged by this sheet from now on (`lb_common::protect`), or by none. Each packet meets the old one or the
    /// new one; when this returns, none meets the old one any more.
    ///
    /// # Errors
    /// When the kernel refuses. Then the old one stays, or the new one is there and not all packets meet it yet.
    fn protect(&mut self, sheet: Option<&[Line]>) -> Result<(), ApplyError>;

    /// The sheet that this process has made, if packets are judged by it.
    fn protection(&self) -> Option<SheetView<'_>>;

    /// Are packets judged by a sheet, whoever has made it?
    fn is_protected(&self) -> bool;

    /// What has been refused at `count` places from `first` on, summed over CPUs.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn refusals(&self, first: u32, count: u32) -> Result<Vec<Refusals>, ApplyError>;

    /// Has packets that are wanted shown, instead of those that were; with `None`, none. No packet passes the program by
    /// meanwhile.
    ///
    /// # Errors
    /// When the kernel refuses; then none is shown.
    fn trace(&mut self, wanted: Option<&Wanted>) -> Result<(), LoadError>;

    /// What is shown from now on, in batches. When they are not taken in time, the program skips packets.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn samples(&mut self) -> Result<mpsc::Receiver<Vec<Shown>>, LoadError>;

    /// Keys of flows that are new, or of which there is something new to be known, from now on and in batches: of those that
    /// are written down, while [`feature::NEWS`](lb_common::service::feature::NEWS) is set. When they are not taken in time,
    /// the program leaves some out.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn news(&mut self) -> Result<mpsc::Receiver<Vec<NatKey>>, LoadError>;

    /// Shows every lease of a translated flow to `each`. One that comes or goes meanwhile may be seen or not.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn leases(&self, each: &mut dyn FnMut(&NatKey, &Translation)) -> Result<(), ApplyError>;

    /// Takes in a translated flow that another node knows, as its `entry` and its `lease` would be here. What is known here
    /// stays if it was heard of later. False when there is no room.
    ///
    /// # Errors
    /// When the kernel refuses. Then it may be there by half, and ends by itself.
    fn adopt_flow(&mut self, flow: &NatKey, entry: &Translation, lease: &Translation) -> Result<bool, ApplyError>;

    /// Writes an entry of a table where there is none, or `again` in the place of one with the same member. Who was faster is
    /// right. False when there is no room.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn put_entry(&mut self, table: Table, key: &NatKey, entry: Entry, again: bool) -> Result<bool, ApplyError>;

    /// The time, as the program stamps its entries.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn now(&self) -> Result<Ticks, ApplyError>;
}

/// A sheet (`lb_common::protect`) as it lies in this process's memory.
#[derive(Clone, Copy, Debug)]
pub struct SheetView<'a> {
    /// Its first [`HEAD`] lines, or all of them.
    head: &'a [Line],
    /// The others.
    rest: &'a [Line],
}

impl Lines for SheetView<'_> {
    fn line(&self, index: u32) -> Option<&Line> {
        let behind = index.checked_sub(HEAD);
        behind.map_or(self.head.get(index as usize), |behind| self.rest.get(behind as usize))
    }
}

/// A packet that was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// When.
    pub at: SystemTime,
    /// What became of it.
    pub sample: Sample,
}

/// Looks at a table before a [`MapOp::ForgetFlows`] fails: an entry stays when another one comes into its place meanwhile,
/// or somebody is about to put one there, and neither happens to the same entry again and again.
const LOOKS: u32 = 16;

/// Performs [`MapOp::ForgetFlows`]: none of the entries is left that were to go when it began.
fn forget_all<D: Dataplane>(dataplane: &mut D, seed: Seed, forget: &Forget) -> Result<(), ApplyError> {
    for table in Table::ALL {
        let mut looks = 0;
        loop {
            let mut gone = Vec::new();
            dataplane.entries(table, &mut |key, entry| {
                if forget.takes(table, dataplane.tables(), seed, key, entry) {
                    gone.push((*key, entry));
                }
            })?;
            // Whoever has an entry is all that it is judged by.
            let left = dataplane.forget(table, &gone, Entry::MEMBER)?;
            if left.is_empty() {
                break;
            }
            looks += 1;
            if looks == LOOKS {
                return Err(ApplyError::Busy {
                    map: table.name(),
                    left: left.len(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
