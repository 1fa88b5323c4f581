//! What commands have said of who may come, as they are answered.

use std::sync::Arc;
use std::time::SystemTime;

use super::protection::Deny;

/// All that is denied at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeniedList {
    /// First what all services deny, then by service, and in the order of the prefixes.
    pub denies: Vec<Known>,
    /// As [`Denied::observed_by`], of all services.
    pub observed_by: Vec<Arc<str>>,
    /// As [`Status::overrides_fault`](super::status::Status::overrides_fault).
    pub overrides_fault: Option<String>,
}

/// A prefix that is denied, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What a command has said.
    pub deny: Deny,
    /// False: the file does not have the service, so nobody denies anything until it comes back.
    pub in_effect: bool,
}

/// A prefix is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What is so now.
    pub deny: Deny,
    /// It was denied before, until then; the inner `None` for ever.
    pub before: Option<Option<SystemTime>>,
    /// Services that it is denied to, and that only count what they would refuse: enforcement is `observe`.
    pub observed_by: Vec<Arc<str>>,
    /// As [`Status::fault`](super::status::Status::fault): while it is there, the maps may not be as commanded yet.
    pub fault: Option<String>,
    /// As [`Status::overrides_fault`](super::status::Status::overrides_fault).
    pub overrides_fault: Option<String>,
}

/// A prefix is denied no more, or not by this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undenied {
    /// What was removed.
    pub removed: Known,
    /// The longest prefix by which all of it is denied still.
    pub still: Option<Known>,
    /// As [`Denied::fault`].
    pub fault: Option<String>,
    /// As [`Denied::overrides_fault`].
    pub overrides_fault: Option<String>,
}
