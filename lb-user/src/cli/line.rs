//! Progress on standard output, where somebody waits.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

/// Between two looks at what is waited for.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// A line that is written anew on a terminal; elsewhere one line after the other, when there is news.
pub(super) struct Line {
    silent: bool,
    terminal: bool,
    shown: String,
}

impl Line {
    pub(super) fn new(silent: bool) -> Self {
        Self {
            silent,
            terminal: io::stdout().is_terminal(),
            shown: String::new(),
        }
    }

    pub(super) fn print(&mut self, text: &str) -> Result<()> {
        if self.silent || self.shown == text {
            return Ok(());
        }
        text.clone_into(&mut self.shown);
        if !self.terminal {
            return super::print(&format!("{text}\n"));
        }
        super::print(&format!("\r\x1b[K{text}"))?;
        Ok(io::stdout().flush()?)
    }

    /// What follows begins at the left.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.silent || !self.terminal || self.shown.is_empty() {
            return Ok(());
        }
        super::print("\r\x1b[K")?;
        Ok(io::stdout().flush()?)
    }
}

/// Says how waiting has ended: as JSON, which is `waited`, or as a text for people.
///
/// # Errors
/// The text, when what was waited for has not come.
pub(super) fn conclude(json: bool, waited: &impl Serialize, has_come: bool, text: &str) -> Result<()> {
    if json || has_come {
        super::show(json, waited, |_| format!("{text}\n"))?;
    }
    if !has_come {
        bail!("{text}");
    }
    Ok(())
}
