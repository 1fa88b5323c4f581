//! Tracing packets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use lb_common::stats::DropReason;
use lb_common::trace::Sample;

use super::Prefix;

/// Samples in a second on each CPU, unless told otherwise.
pub const RATE: u32 = 1_000;

/// Most of them: what lies in the ring buffer until somebody looks.
pub const MAX_RATE: u32 = 20_000;

/// Which packets are wanted: those that pass all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Of this service, and answers of its backends that pass through the node.
    pub service: Option<String>,
    /// From here.
    pub source: Option<Prefix>,
    /// Dropped for one of these reasons; all packets, dropped or not, when there is none.
    pub reasons: BTreeSet<DropReason>,
    /// Those, too, that concern no VIP.
    pub foreign: bool,
    /// Most in a second on each CPU.
    pub rate: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            service: None,
            source: None,
            reasons: BTreeSet::new(),
            foreign: false,
            rate: RATE,
        }
    }
}

/// A packet that was traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// When it came.
    pub at: SystemTime,
    /// Name of the interface that it came in on; `None` when that is gone.
    pub interface: Option<String>,
    /// Its service.
    pub service: Option<Arc<str>>,
    /// The backend that it was sent to, or came from.
    pub backend: Option<Arc<str>>,
    /// What the program said.
    pub sample: Sample,
}
