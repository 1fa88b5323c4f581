//! What is logged, as others may ask and set it while the daemon runs. Whoever writes the log gives the daemon a switch.

use std::fmt;

/// Switches what is logged. Levels are words such as `info,lb_user::health=debug`; what is set lasts until the process
/// ends.
pub trait Levels: fmt::Debug + Send + Sync {
    /// What is logged now.
    fn get(&self) -> String;

    /// Changes that.
    ///
    /// # Errors
    /// What is wrong with `levels`, for people; then nothing has changed.
    fn set(&self, levels: &str) -> Result<(), String>;
}

/// Nothing is logged, and that stays so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silent;

impl Levels for Silent {
    fn get(&self) -> String {
        "off".to_owned()
    }

    fn set(&self, _: &str) -> Result<(), String> {
        Err("this process writes no log".to_owned())
    }
}
