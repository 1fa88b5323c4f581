//! `GET` and `PATCH /api/v1/services/{service}/backends/{backend}`, and `POST /api/v1/reload`.

use serde::{Deserialize, Serialize};

use super::{AdminState, BackendStatus};
use crate::control;
use crate::model::status as from;

/// One backend at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Backend {
    /// Name of the service.
    pub service: String,
    /// The backend.
    pub backend: BackendStatus,
}

/// What is wanted of a backend; what is not named stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BackendPatch {
    /// Instead of the file's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AdminState>,
    /// Instead of the file's weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// What has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Overridden {
    /// Name of the service.
    pub service: String,
    /// The backend, afterwards.
    pub backend: BackendStatus,
    /// As in the status: while it is there, the kernel may not be as wanted yet.
    pub fault: Option<String>,
    /// As in the status: while it is there, a restart of the daemon may forget what was wanted.
    pub overrides_fault: Option<String>,
}

/// A configuration that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reloaded {
    /// Does it say anything new?
    pub changed: bool,
    /// As in the status: while it is there, the kernel may not be as the file says yet.
    pub fault: Option<String>,
}

impl From<BackendPatch> for control::Override {
    fn from(patch: BackendPatch) -> Self {
        Self {
            state: patch.state.map(Into::into),
            weight: patch.weight,
        }
    }
}

impl From<from::OneBackend> for Backend {
    fn from(one: from::OneBackend) -> Self {
        Self {
            service: one.service.as_ref().to_owned(),
            backend: one.backend.into(),
        }
    }
}

impl From<from::Overridden> for Overridden {
    fn from(done: from::Overridden) -> Self {
        Self {
            service: done.service.as_ref().to_owned(),
            backend: done.backend.into(),
            fault: done.fault,
            overrides_fault: done.overrides_fault,
        }
    }
}

impl From<control::Reloaded> for Reloaded {
    fn from(control::Reloaded { changed, fault }: control::Reloaded) -> Self {
        Self { changed, fault }
    }
}
