//! `/api/v1/denies`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::model::denied as from;
use crate::model::protection;

/// All that is denied at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Denies {
    /// First what all services deny, then by service, and in the order of the prefixes.
    pub denies: Vec<Deny>,
    /// Names of services that only count what they would refuse, since their enforcement is `observe`.
    pub observed_by: Vec<String>,
    /// As in the status: while it is there, a restart of the daemon may forget what was wanted, or has.
    pub overrides_fault: Option<String>,
}

/// A prefix that is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Deny {
    /// Such as `198.51.100.0/24`; without bits behind its length.
    pub prefix: String,
    /// Name of the service that denies it; `null`: all do.
    pub service: Option<String>,
    /// Until when, in seconds since 1970; `null`: for ever.
    pub until: Option<u64>,
    /// False: the file does not have the service, so nobody denies it until the service comes back.
    pub in_effect: bool,
}

/// For how long a prefix is to be denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DenyPut {
    /// From now on, in seconds; not given: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<NonZeroU32>,
}

/// A prefix is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Denied {
    /// What is so now.
    pub deny: Deny,
    /// It was denied before, by the same, and this counts instead.
    pub replaced: bool,
    /// Until when it was denied before; `null`: for ever, or not at all.
    pub until_before: Option<u64>,
    /// Names of services that deny it and only count what they would refuse, since their enforcement is `observe`.
    pub observed_by: Vec<String>,
    /// As in the status: while it is there, the kernel may not be as wanted yet.
    pub fault: Option<String>,
    /// As in the status: while it is there, a restart of the daemon may forget what was wanted.
    pub overrides_fault: Option<String>,
}

/// A prefix is denied no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Undenied {
    /// What was removed.
    pub deny: Deny,
    /// The longest prefix by which all of it is denied still; `null`: there is none.
    pub still: Option<Deny>,
    /// As in the status: while it is there, the kernel may not be as wanted yet.
    pub fault: Option<String>,
    /// As in the status: while it is there, a restart of the daemon may forget what was wanted.
    pub overrides_fault: Option<String>,
}

impl Deny {
    #[expect(clippy::needless_pass_by_value, reason = "who has it has no more need of it")]
    fn new(deny: protection::Deny, in_effect: bool) -> Self {
        Self {
            prefix: deny.prefix.to_string(),
            service: deny.service.as_deref().map(str::to_owned),
            until: deny.until.map(seconds),
            in_effect,
        }
    }
}

impl From<from::DeniedList> for Denies {
    fn from(list: from::DeniedList) -> Self {
        let known = |from::Known { deny, in_effect }| Deny::new(deny, in_effect);
        Self {
            denies: list.denies.into_iter().map(known).collect(),
            observed_by: names(&list.observed_by),
            overrides_fault: list.overrides_fault,
        }
    }
}

impl From<from::Denied> for Denied {
    fn from(denied: from::Denied) -> Self {
        Self {
            // It was refused otherwise.
            deny: Deny::new(denied.deny, true),
            replaced: denied.before.is_some(),
            until_before: denied.before.flatten().map(seconds),
            observed_by: names(&denied.observed_by),
            fault: denied.fault,
            overrides_fault: denied.overrides_fault,
        }
    }
}

impl From<from::Undenied> for Undenied {
    fn from(undenied: from::Undenied) -> Self {
        let still = undenied
            .still
            .map(|from::Known { deny, in_effect }| Deny::new(deny, in_effect));
        let from::Known { deny, in_effect } = undenied.removed;
        Self {
            deny: Deny::new(deny, in_effect),
            still,
            fault: undenied.fault,
            overrides_fault: undenied.overrides_fault,
        }
    }
}

fn names(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
