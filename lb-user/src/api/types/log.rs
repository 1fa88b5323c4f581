//! `GET` and `POST /api/v1/log-level`.

use serde::{Deserialize, Serialize};

/// What the daemon logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogLevels {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, also for a part, as in `info,lb_user::health=debug`.
    pub levels: String,
}
