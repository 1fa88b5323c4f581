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

use lb_common::id::MemberId;
use lb_common::nat::{NatKey, Translation};
use lb_common::select::Tables;
use lb_common::stats::{Counters, DropReason};

pub use error::ApplyError;
pub use kernel::{AttachError, Attachment};

use crate::model::status::NatUsage;
use crate::model::{Interface, XdpMode};
use crate::plan::{MapOp, Snapshot};

/// The maps of one program. One owner at a time writes them.
pub trait Dataplane: Send {
    /// Reads everything back.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn installed(&self) -> Result<Snapshot, ApplyError>;

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

    /// Counters of a member, summed over CPUs.
    ///
    /// # Errors
    /// When the kernel refuses a read.
    fn counters(&self, id: MemberId) -> Result<Counters, ApplyError>;

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
}

#[cfg(test)]
mod tests;
